"""Models whose weights are stored as float16 or int8: which are, where they stand, and that they keep their numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.compiled import shards
from engine.compiled.cache import ModelCache
from engine.compiled.model import CompiledModel, GpuPlan, Piece
from engine.compiled.reader import load_compiled
from engine.compiled.writer import save_compiled
from tests.engine.compiled.models import KEY, ListWeights, document, files, gpu_model, rewrite
from tests.engine.compiled.replay import content
from tests.project import output_of

SIZES = (57_576, 71_424)
"""Bytes of the two buffers of constants: 225 units, and 279."""

LARGE = 4557
"""Elements of a constant that ends within its 72nd unit."""

BOUNDS = {"f32": 0.0, "f16": 2.0**-11, "int8": 1.001 / 254}
"""How far a number may be off, as a part of the largest one of its unit."""

SEGMENTS: dict[str, list[list[Any]]] = {
    "f32": [["raw", 504]],
    "f16": [["raw", 2], ["f16", 144], ["raw", 294], ["f16", 64]],
    "int8": [["raw", 2], ["q8", 144], ["raw", 1], ["q8", 71], ["raw", 222], ["q8", 64]],
}
NARROW = ["f16", "int8"]


def numbers(seed: int, elements: int = LARGE) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(elements).astype(np.float32)


def piece(buffer: int, unit: int, values: np.ndarray, shift: int = 0) -> Piece:
    return Piece(buffer, 256 * unit + shift, values.view(np.uint8), values.dtype.name)


def pieces() -> list[Piece]:
    """Small and large constants, of float32 and of others, one behind the other and with a gap between."""
    overflowing, infinite = numbers(3), numbers(4)
    overflowing[9], infinite[-1] = 70_000, -np.inf
    return [
        piece(0, 0, numbers(0, 100)),
        piece(0, 2, numbers(1)),
        piece(0, 74, numbers(2)),
        piece(0, 146, overflowing),
        piece(0, 221, numbers(5, 250)),
        piece(1, 0, infinite),
        piece(1, 72, np.arange(5000, dtype=np.uint32)),
        piece(1, 151, numbers(6, 4095)),
        piece(1, 215, numbers(7, 4096)),
    ]


def model(content: list[Piece] | None = None) -> CompiledModel:
    plan = gpu_model().plan
    assert isinstance(plan, GpuPlan)
    plan = dataclasses.replace(plan, buffers=(*SIZES, 1280, 1024))
    return dataclasses.replace(gpu_model(), plan=plan, weights=ListWeights(pieces() if content is None else content))


def buffers_of(compiled: CompiledModel) -> list[np.ndarray]:
    """The content of each buffer of constants."""
    return [compiled.weights.array(index, 0, size) for index, size in enumerate(SIZES)]


def shard_files(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in files(folder).items() if name != "model.json"}


@pytest.mark.parametrize("weights", SEGMENTS)
@pytest.mark.parametrize("shard", [256, 1024, 20_224, 64 << 20])
def test_large_constants_of_finite_float32_are_stored_narrow(weights: Any, shard: int, tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", shard=shard, weights=weights)
    header = document(tmp_path / "a")
    assert header["weights"]["segments"] == SEGMENTS[weights]
    assert all(size["bytes"] <= shard and size["bytes"] % 4 == 0 for size in header["weights"]["shards"])
    loaded = load_compiled(tmp_path / "a")
    loaded.weights.verify()
    for own, exact in zip(buffers_of(loaded), buffers_of(model()), strict=True):
        units = np.concatenate([exact, np.zeros(-exact.size % 256, np.uint8)]).view(np.float32).reshape(-1, 64)
        largest = np.repeat(np.abs(units).max(1), 64)[: exact.size // 4]
        changed = own.reshape(-1, 4) != exact.reshape(-1, 4)
        changed = changed.any(1)
        off = np.abs(own.view(np.float32)[changed] - exact.view(np.float32)[changed])
        assert (off <= BOUNDS[weights] * largest[changed]).all()
    # and what is not narrow is what it was
    constants = {number: (array.buffer, array.offset, array.data) for number, array in enumerate(pieces())}
    narrow = {"f32": set(), "f16": {1, 2, 8}, "int8": {1, 2, 3, 8}}[weights]
    for number, (buffer, offset, exact) in constants.items():
        own = loaded.weights.array(buffer, offset, exact.size)
        assert np.array_equal(own, exact) == (number not in narrow)


@pytest.mark.parametrize("weights", SEGMENTS)
def test_a_reader_that_goes_by_the_page_has_the_same_numbers(weights: Any, tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", shard=5120, weights=weights)
    own = buffers_of(load_compiled(tmp_path / "a"))
    assert (
        content(tmp_path / "a", document(tmp_path / "a")["weights"]) == own[0].tobytes() + bytes(24) + own[1].tobytes()
    )


@pytest.mark.parametrize("weights", SEGMENTS)
@pytest.mark.parametrize("widened", [1 << 14, 1 << 15, 4 << 20])
def test_what_is_loaded_and_saved_again_has_the_same_bytes(
    weights: Any, widened: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "WIDENED", widened)
    save_compiled(model(), tmp_path / "a", shard=5120, weights=weights)
    loaded = load_compiled(tmp_path / "a", trust=True)
    save_compiled(loaded, tmp_path / "b", shard=5120, weights=weights)
    assert files(tmp_path / "b") == files(tmp_path / "a")
    save_compiled(loaded, tmp_path / "c", shard=5120)
    assert document(tmp_path / "c")["weights"]["segments"] == [["raw", 504]]
    for one, other in zip(buffers_of(load_compiled(tmp_path / "c")), buffers_of(loaded), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_processes_narrow_to_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.engine.compiled.test_narrow import *\n"
        "for weights in NARROW: save_compiled(model(), f'{sys.argv[1]}-{weights}', weights=weights)"
    )
    for seed in ("1", "2"):
        output_of(script, str(tmp_path / seed), PYTHONHASHSEED=seed)
    for weights in NARROW:
        assert files(tmp_path / f"1-{weights}") == files(tmp_path / f"2-{weights}")


@pytest.mark.parametrize("weights", NARROW)
def test_any_range_is_what_the_whole_has_there(weights: Any, tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", shard=1024, weights=weights)
    loaded = load_compiled(tmp_path / "a").weights
    rng = np.random.default_rng(1)
    for buffer, whole in enumerate(buffers_of(load_compiled(tmp_path / "a"))):
        parts = np.full_like(whole, 0xEE)
        for each in loaded.pieces():
            if each.buffer == buffer:
                parts[each.offset : each.offset + each.data.size] = each.data
        np.testing.assert_array_equal(parts, whole)
        for first, last in np.sort(rng.integers(0, whole.size, (200, 2)), axis=1):
            np.testing.assert_array_equal(loaded.array(buffer, int(first), int(last - first)), whole[first:last])


@pytest.mark.parametrize("weights", NARROW)
def test_what_is_widened_comes_in_pieces_that_may_be_narrow_again(
    weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "WIDENED", 1 << 14)
    save_compiled(model(), tmp_path / "a", shard=1024, weights=weights)
    pieces_read = list(load_compiled(tmp_path / "a").weights.pieces())
    widened = [each for each in pieces_read if each.narrow]
    assert [each.data.size // 256 for each in widened] == {"f16": [64, 64, 16, 64], "int8": [64, 64, 16, 64, 7, 64]}[
        weights
    ]
    assert {(each.dtype, each.offset % 256) for each in widened} == {("float32", 0)}
    assert {each.dtype for each in pieces_read if not each.narrow} == {""}


def test_what_is_not_where_units_begin_stays_as_it_is(tmp_path: Path) -> None:
    exact = numbers(3, 4096)
    columns = np.stack([exact.view(np.uint8)] * 2, axis=1)
    strided = Piece(0, 40_192, columns[:, 1], "float32")
    content = [piece(0, 0, numbers(1), shift=4), piece(0, 74, numbers(2)), strided]
    content[1] = dataclasses.replace(content[1], data=content[1].data[:-1])  # no whole numbers
    save_compiled(model(content), tmp_path / "a", weights="f16")
    assert document(tmp_path / "a")["weights"]["segments"] == [["raw", 157], ["f16", 64], ["raw", 283]]
    own = buffers_of(load_compiled(tmp_path / "a"))[0]
    np.testing.assert_array_equal(own[:40_192], buffers_of(model(content))[0][:40_192])
    np.testing.assert_array_equal(own[40_192:][: 4 * 4096].view(np.float32), exact.astype(np.float16))


def test_a_piece_in_the_last_unit_of_a_narrow_one_is_refused(tmp_path: Path) -> None:
    shared = [piece(0, 2, numbers(1)), piece(0, 73, numbers(2, 10), shift=160)]
    save_compiled(model(shared), tmp_path / "a")
    with pytest.raises(engine.ModelError, match="buffer 0 at 18848, is not behind the one before"):
        save_compiled(model(shared), tmp_path / "b", weights="f16")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_narrowed_of_what_nobody_knows_the_type_of(tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a")
    for weights in NARROW:
        with pytest.raises(
            engine.ModelError, match=f"b: the weights cannot be stored as '{weights}': .* compile the ONNX file again"
        ):
            save_compiled(load_compiled(tmp_path / "a"), tmp_path / "b", weights=weights)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    # where nothing is large, nothing is lost
    save_compiled(gpu_model(), tmp_path / "c")
    save_compiled(load_compiled(tmp_path / "c"), tmp_path / "d", weights="int8")
    assert shard_files(tmp_path / "d") == shard_files(tmp_path / "c")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match="weights 'int4': none of f32, f16, int8; give one of them"):
        save_compiled(model(), tmp_path / "a", weights="int4")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weights", NARROW)
def test_a_changed_byte_of_narrow_weights_is_noticed(weights: Any, tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", shard=20_224, weights=weights)
    for name, whole in shard_files(tmp_path / "a").items():
        path = tmp_path / "a" / name
        path.write_bytes(whole[:70] + bytes([whole[70] ^ 1]) + whole[71:])
        with pytest.raises(engine.ModelError, match=f"{name} is damaged"):
            load_compiled(tmp_path / "a").weights.verify()
        path.write_bytes(whole[:-68])
        with pytest.raises(engine.ModelError, match=f"{name} has .* bytes, not"):
            load_compiled(tmp_path / "a")
        path.write_bytes(whole)


def test_segments_that_say_anything_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", shard=4096, weights="int8")
    held = document(tmp_path / "a")["weights"]["segments"]
    rng = np.random.default_rng(2)
    loads, errors = 0, []
    for _ in range(150):
        cuts = np.sort(rng.integers(1, 504, rng.integers(1, 6)))
        units = [int(count) for count in np.diff([0, *cuts, 504])]
        segments = [[str(rng.choice(["raw", "f16", "q8"])), count] for count in units]
        if rng.random() < 0.5:  # as many bytes in another order, or in smaller segments
            segments = [[encoding, part] for encoding, count in held for part in (1, count - 1) if part]
            order = rng.permutation(len(segments)) if rng.random() < 0.7 else range(len(segments))
            segments = [segments[index] for index in order]
        rewrite(tmp_path / "a", lambda header, value=segments: header["weights"].update(segments=value))
        try:
            loaded = load_compiled(tmp_path / "a")
            assert [array.size for array in buffers_of(loaded)] == list(SIZES)
            assert sum(each.data.size for each in loaded.weights.pieces()) == sum(SIZES)
            loads += 1
        except engine.ModelError as error:
            errors.append(str(error))
    assert loads > 10
    assert len(errors) > 50
    assert all(error.count("; compile the model again") == 1 and "\n" not in error for error in errors)


@pytest.mark.parametrize("weights", NARROW)
def test_the_cache_keeps_what_was_widened(weights: Any, tmp_path: Path) -> None:
    save_compiled(model(), tmp_path / "a", weights=weights)
    loaded = load_compiled(tmp_path / "a", trust=True)
    cache = ModelCache(tmp_path / "cache", 1 << 20)
    assert cache.put(KEY, loaded)
    (entry,) = cache.folder.iterdir()
    assert document(entry)["weights"]["segments"] == [["raw", 504]]
    kept = cache.get(KEY)
    assert kept is not None
    for one, other in zip(buffers_of(kept), buffers_of(loaded), strict=True):
        np.testing.assert_array_equal(one, other)
