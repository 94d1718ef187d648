"""A header that says what cannot be is refused, with the field or the command that is wrong, before a byte is used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.compiled import header as headers
from engine.compiled.reader import load_compiled
from engine.compiled.writer import save_compiled
from tests.engine.compiled.models import WGSL, document, gpu_model, numpy_model, rewrite, sign

Edit = Callable[[dict[str, Any]], object]


def at(path: str, value: object) -> Edit:
    """Put a value at ``a.b.0.c``."""

    def edit(header: dict[str, Any]) -> None:
        place: Any = header
        *steps, last = [int(step) if step.isdecimal() else step for step in path.split(".")]
        for step in steps:
            place = place[step]
        place[last] = value

    return edit


def command(**changes: object) -> Edit:
    return lambda header: header["plan"]["commands"][0].update(changes)


def wgsl(old: str, new: str) -> Edit:
    assert old in WGSL
    return at("plan.programs.0.wgsl", WGSL.replace(old, new))


def both(one: Edit, other: Edit) -> Edit:
    return lambda header: (one(header), other(header))


X, W, Y = [2, 256, 800], [0, 0, 800], [3, 0, 800]
FAR = 2**53 - 1

WRONG: dict[str, tuple[Edit, str]] = {
    "format as text": (at("format", "2"), "format is no integer"),
    "format as a fraction": (at("format", 2.5), "format is no integer"),
    "no format": (lambda header: header.pop("format"), "format is no integer"),
    "no engine": (lambda header: header.pop("engine"), "it has no 'engine'"),
    "an unknown field": (at("comment", ""), "it has an unknown 'comment'"),
    "an unknown field of a command": (command(entry="main2"), "commands[0] has an unknown 'entry'"),
    "engine as a number": (at("engine", 1), "engine is no string"),
    "another backend": (at("backend", "cuda"), "backend is 'cuda', none of webgpu, numpy"),
    "the other backend": (at("backend", "numpy"), "storage is 'f32', none of float32"),
    "another precision": (at("precision", "f64"), "precision is 'f64'"),
    "origin as a list": (at("origin", []), "origin is no object"),
    "metadata as text": (at("metadata", "{}"), "metadata is no object"),
    "inputs as an object": (at("inputs", {}), "inputs is no array"),
    "an input twice": (lambda header: header["inputs"].append(header["inputs"][0]), "two inputs have one name"),
    "no output": (at("outputs", []), "it has no output"),
    "a type of NumPy's that the engine lacks": (at("inputs.0.dtype", "complex64"), "inputs[0].dtype is 'complex64'"),
    "an output of four bits": (at("outputs.0.dtype", "int4"), "outputs[0].dtype is 'int4'"),
    "a Python object's type": (at("inputs.0.dtype", "object"), "inputs[0].dtype is 'object'"),
    "a negative extent": (at("inputs.0.shape", [-1, 200]), "inputs[0].shape is -1"),
    "an extent that is true": (at("inputs.0.shape", [True, 200]), "inputs[0].shape is no integer"),
    "33 axes": (at("inputs.0.shape", [1] * 33), "more than 32 axes"),
    "a shape beyond all numbers": (at("inputs.0.shape", [FAR, FAR]), "more bytes than anyone can count"),
    "an input of f64": (at("inputs.0.storage", "f64"), "inputs[0].storage is 'f64'"),
    "an input that is too large": (at("inputs.0.shape", [1, 257]), "'x' goes beyond buffer 2"),
    "an input beyond its buffer": (at("inputs.0.offset", 1024), "'x' goes beyond buffer 2"),
    "an input within a word": (at("inputs.0.offset", 2), "'x' begins within a word"),
    "an input in no buffer that exists": (at("inputs.0.buffer", 4), "buffer 4, which does not exist"),
    "an input among the constants": (both(at("inputs.0.buffer", 0), at("inputs.0.offset", 0)), "a buffer of constants"),
    "an output in no buffer": (at("outputs.0.buffer", None), "output 'y' lies in no buffer"),
    "negative counts": (at("counts.loaded", -1), "counts.loaded is -1"),
    "counts of passes as text": (at("counts.passes", {"fold": "1"}), "counts.passes.fold is no integer"),
    "a shard that is a path": (at("weights.shards.0.sha256", "../../secret"), "no SHA-256"),
    "a shard in capitals": (at("weights.shards.0.sha256", "AB" * 32), "no SHA-256"),
    "a shard with a line break": (at("weights.shards.0.sha256", "ab" * 32 + "\n"), "no SHA-256"),
    "a shard of nothing": (at("weights.shards.0.bytes", 0), "weights.shards[0].bytes is 0"),
    "shards that end within units": (
        at("weights.shards", [{"sha256": "ab" * 32, "bytes": nbytes} for nbytes in (256, 100, 1692)]),
        "weights.shards[1] ends within a unit",
    ),
    "fewer shards": (at("weights.shards", []), "its shards have 0 bytes, and its segments take 2,048"),
    "more shards": (
        lambda header: header["weights"]["shards"].extend(header["weights"]["shards"] * 9),
        "its shards have 20,480 bytes, and its segments take 2,048",
    ),
    "weights of version 1": (at("weights", []), "weights is no object"),
    "weights without segments": (lambda header: header["weights"].pop("segments"), "weights has no 'segments'"),
    "a segment as an object": (at("weights.segments.0", {}), "weights.segments[0] is no array"),
    "a segment of one value": (at("weights.segments.0", ["raw"]), "weights.segments[0] is no array of [encoding, un"),
    "an encoding of nobody's": (at("weights.segments.0.0", "q4"), "segments[0] has none of the encodings raw, f16, q8"),
    "an encoding as a list": (at("weights.segments.0.0", ["raw"]), "segments[0] has none of the encodings"),
    "a segment of nothing": (at("weights.segments.0.1", 0), "weights.segments[0] is 0"),
    "units as a fraction": (at("weights.segments.0.1", 8.5), "weights.segments[0] is no integer"),
    "fewer units": (at("weights.segments.0.1", 7), "its segments cover 1,792 bytes, and its buffers have 2,048"),
    "more units": (at("weights.segments.0.1", FAR), "and its buffers have 2,048"),
    "no segments": (at("weights.segments", []), "its segments cover 0 bytes, and its buffers have 2,048"),
    "units that are stored otherwise": (
        at("weights.segments", [["raw", 4], ["q8", 4]]),
        "its shards have 2,048 bytes, and its segments take 1,296",
    ),
    "buffers as text": (at("plan.buffers", ["1024"] * 4), "plan.buffers is no integer"),
    "a buffer of part of a word": (at("plan.buffers.3", 1023), "buffer 3 has 1,023 bytes: no whole words"),
    "a buffer beyond what is needed": (at("plan.buffers.3", 257 << 20), "buffer 3 has 269,484,032 bytes"),
    "a number of 100 digits": (at("plan.buffers.3", 10**100), "plan.buffers is huge"),
    "more constant buffers than buffers": (at("plan.constant_buffers", 5), "more than there are buffers"),
    "limits as a list": (at("plan.needs.limits", [1]), "plan.needs.limits is no object"),
    "features as text": (at("plan.needs.features", "shader-f16"), "plan.needs.features is no array"),
    "features as numbers": (at("plan.needs.features", [1]), "no array of strings"),
    "uniforms that are no base64": (at("plan.uniforms", "!!!!"), "plan.uniforms is no base64"),
    "uniforms beyond ASCII": (at("plan.uniforms", "ü"), "plan.uniforms is no base64"),
    "fewer uniforms": (at("plan.uniforms", "AAAA"), "its uniform goes beyond the uniforms"),
    "trusted as a number": (at("plan.programs.0.trusted", 1), "trusted is neither true nor false"),
    "a NUL in a shader": (at("plan.programs.0.wgsl", WGSL + "\0"), "wgsl holds a NUL"),
    "another program": (command(program=1), "command 0 ('Mul 'product''): program 1 does not exist"),
    "a program before the first": (command(program=-1), "program is -1"),
    "a uniform that is not aligned": (command(uniform=4), "its uniform is not aligned"),
    "a uniform of no bytes": (command(uniform_bytes=0), "uniform_bytes is 0"),
    "a uniform beyond the uniforms": (command(uniform=512), "its uniform goes beyond the uniforms"),
    "a uniform beyond what is needed": (
        both(command(uniform=0, uniform_bytes=65540), at("plan.uniforms", "A" * 4 * 21852)),
        "its uniform of 65540 bytes is more than it needs",
    ),
    "fewer bindings": (command(bindings=[X, W]), "2 bindings, where its program declares 3"),
    "more bindings": (command(bindings=[X, W, Y, Y]), "4 bindings, where its program declares 3"),
    "more bindings than are needed": (
        at("plan.needs.limits", {"max-storage-buffers-per-shader-stage": 2}),
        "3 bindings are more than it needs",
    ),
    "a binding that is no array": (command(bindings=[2, W, Y]), "bindings is no array"),
    "a binding of two numbers": (command(bindings=[[2, 256], W, Y]), "no array of [buffer, offset, size]"),
    "a binding of a buffer that does not exist": (command(bindings=[[4, 0, 4], W, Y]), "buffer 4 does not exist"),
    "a binding that is not aligned": (command(bindings=[[2, 4, 4], W, Y]), "is not aligned"),
    "a binding of part of a word": (command(bindings=[[2, 0, 7], W, Y]), "is not aligned"),
    "a binding beyond its buffer": (command(bindings=[[2, 1024, 260], W, Y]), "goes beyond buffer 2"),
    "a binding that wraps around": (command(bindings=[[2, FAR - 255, 800], W, Y]), "goes beyond buffer 2"),
    "a binding beyond what is needed": (
        both(at("plan.buffers.2", 136 << 20), command(bindings=[[2, 0, 129 << 20], W, Y])),
        "is more than it needs",
    ),
    "a buffer both read and written": (command(bindings=[X, W, [2, 0, 256]]), "it reads and writes buffer 2"),
    "constants that are written": (command(bindings=[X, [1, 0, 800], W]), "writes buffer 0, which holds constants"),
    "a grid of two": (command(grid=[1, 1]), "grid has 2 extents"),
    "a grid of nothing": (command(grid=[0, 1, 1]), "grid is 0"),
    "a grid beyond what is needed": (command(grid=[1, 65536, 1]), "not within 1 and 65535"),
    "a grid as fractions": (command(grid=[1.5, 1, 1]), "grid is no integer"),
    "a label as a number": (command(label=7), "label is no string"),
    "a binding that the shader lacks": (wgsl("@binding(3)", "@binding(4)"), "are not declared in order"),
    "a binding declared twice": (wgsl("@binding(2)", "@binding(1)"), "are not declared in order"),
    "a binding of another group": (wgsl("@group(0) @binding(3)", "@group(1) @binding(3)"), "are not declared in order"),
    "a shader without a uniform": (wgsl("var<uniform>", "var<storage, read>"), "are not a uniform and then storage"),
}
"""What is changed in a header that is right, and what is said of it."""


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    edit, message = WRONG[name]
    save_compiled(gpu_model(), tmp_path / "a")
    load_compiled(tmp_path / "a")
    rewrite(tmp_path / "a", edit)
    with pytest.raises(engine.ModelError, match=re.escape(message)) as raised:
        load_compiled(tmp_path / "a")
    assert str(raised.value).startswith(f"{tmp_path / 'a'}: is no compiled model that can be used: ")
    assert "\n" not in str(raised.value)


STRANGE = [None, True, -1, 0, 3, 2**31, 2**53, 10**400, 0.5, "", "x", "a" * 64, "\0", [], [[]], [0] * 40, {}, {"x": 1}]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to everything within a document."""
    yield from [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def test_whatever_stands_in_a_header_it_is_loaded_or_refused_in_one_line(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    original = document(tmp_path / "a")
    loads, errors = 0, []
    for number, path in enumerate(leaves(original)):
        for value in STRANGE[number % 3 :: 3]:
            header = json.loads(json.dumps(original))
            place: Any = header
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            header.pop("sha256")
            sign(tmp_path / "a", json.dumps(header).encode())
            try:
                load_compiled(tmp_path / "a").weights.verify()
                loads += 1
            except engine.ModelError as error:
                errors.append(str(error))
    assert loads > 50
    assert len(errors) > 300
    assert all(error.count("; compile the model again") == 1 and "\n" not in error for error in errors)


def test_what_a_plan_needs_may_be_more_than_the_default(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    limits = {"max-compute-workgroups-per-dimension": 70000, "max-buffer-size": 1 << 30}
    rewrite(tmp_path / "a", both(at("plan.needs.limits", limits), at("plan.buffers.3", 1 << 30)))
    rewrite(tmp_path / "a", command(grid=[70000, 1, 1]))
    load_compiled(tmp_path / "a")


def test_what_is_exactly_at_its_limit_is_let_in(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    edge = both(at("plan.buffers.2", 128 << 20), command(bindings=[[2, 0, 128 << 20], W, Y], grid=[65535] * 3))
    rewrite(tmp_path / "a", both(edge, at("inputs.0.offset", (128 << 20) - 800)))
    load_compiled(tmp_path / "a")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 2', '"format": 2, "format": 2', "a name stands twice"),
        ('"format": 2', '"format": NaN', "not finite"),
        ('"format": 2', '"format": 2e999', "not finite"),
        ('"format": 2', f'"format": {"9" * 5000}', "is no JSON"),
        ('"format": 2', f'"format": {"[" * 100_000}', "is no JSON"),
        ('"format": 2', '"format": 2,', "is no JSON"),
        ('"metadata": {', '"metadata": {"a": ' + "9" * 400 + ", ", "not finite"),
        ('"product"', '"\\ud800"', "is no JSON: .*surrogates"),
        ('"product"', '"\udc80"', "is no JSON: .*utf-8"),
    ],
)
def test_json_that_readers_take_differently_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    header = document(tmp_path / "a")
    del header["sha256"]
    text = json.dumps(header)
    assert text.count(old) == 1
    sign(tmp_path / "a", text.replace(old, new).encode("utf-8", "surrogateescape"))
    with pytest.raises(engine.ModelError, match=message):
        load_compiled(tmp_path / "a")


@pytest.mark.parametrize("text", ["2.0", "2e0", "0.2E+1"])
def test_a_number_without_a_fraction_is_an_integer_as_in_javascript(text: str, tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    header = document(tmp_path / "a")
    del header["sha256"]
    sign(tmp_path / "a", json.dumps(header).replace('"format": 2', f'"format": {text}').encode())
    load_compiled(tmp_path / "a")


@pytest.mark.parametrize("blank", ["\u00a0", "\ufeff", "\u0085", "\x1c"])
def test_declarations_have_no_blanks_that_readers_take_differently(blank: str, tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    rewrite(tmp_path / "a", wgsl("@group(0) @binding(1)", f"@group(0){blank}@binding(1)"))
    with pytest.raises(engine.ModelError, match="not declared in order"):
        load_compiled(tmp_path / "a")


@pytest.mark.parametrize("word", ["a\nb", "\x1b[31m", "\u2028", "a" * 10_000])
def test_what_a_file_says_makes_no_other_line_of_a_message(word: str, tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    rewrite(tmp_path / "a", at(word, 1))
    with pytest.raises(engine.ModelError, match="it has an unknown") as raised:
        load_compiled(tmp_path / "a")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600 + len(str(tmp_path))


def test_a_header_has_a_largest_size_for_reader_and_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    size = (tmp_path / "a" / "model.json").stat().st_size
    monkeypatch.setattr(headers, "MAX_BYTES", size)
    save_compiled(gpu_model(), tmp_path / "b")
    load_compiled(tmp_path / "b")
    monkeypatch.setattr(headers, "MAX_BYTES", size - 1)
    with pytest.raises(engine.ModelError, match=r"model\.json is larger than"):
        load_compiled(tmp_path / "a")
    with pytest.raises(engine.ModelError, match=rf"its header would have {size:,} bytes"):
        save_compiled(gpu_model(), tmp_path / "c")


def test_places_of_numpy_need_no_buffer(tmp_path: Path) -> None:
    save_compiled(numpy_model(), tmp_path / "a")
    load_compiled(tmp_path / "a")
    rewrite(tmp_path / "a", at("plan.graph", []))
    with pytest.raises(engine.ModelError, match=r"plan\.graph is no object"):
        load_compiled(tmp_path / "a")
