"""Where a model's interface is learnt from: each source in its turn, and what is said of what had to be guessed."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import nss
from nss.errors import ModelUnavailableError
from nss.interfaces import model_metadata, preprocessor_config
from nss.interfaces.interface import USUAL, EdgeSize, FixedSize
from nss.models import catalogue, resolve
from nss.models.weights import model_store
from nss.removal import description
from nss.removal.resolved_interface import ResolvedInterface
from tests.engine.models import U2NETP, node
from tests.nss.tiny_models import SIDE, open_model, probability, rename_tensors, save_model

IMAGENET = [(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)]
"""Mean and deviation."""
OPEN = {"x": [1, 3, "h", "w"]}
MASK = {"y": [1, 1, "h", "w"]}


def interface_of(path: Path, **keys: Any) -> ResolvedInterface:
    return description.interface_of(*open_model(path), keys)  # type: ignore[arg-type]


def everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave_out: int) -> ResolvedInterface:
    """A file of which each source says another mean, but for the first ``leave_out`` in their order."""
    speaking = [number >= leave_out for number in range(5)]
    metadata = {"mean": "0.3"} if speaking[2] else {}
    inside = [node("Sub", "x c", "s"), node("Div", "s c", "n")] if speaking[4] else [node("Identity", "x", "n")]
    path = save_model(
        tmp_path / "m.onnx",
        [*inside, *probability("n")],
        MASK,
        OPEN,
        constants={"c": np.float32(127.5)},
        metadata=metadata,
    )
    if speaking[3]:
        (tmp_path / preprocessor_config.NAME).write_text(json.dumps({"image_mean": 0.4, "image_std": 0.4}))
    if speaking[1]:
        spec = replace(
            catalogue.CATALOGUE["u2netp"],
            name="mine",
            sha256=model_store.hash_file(path),
            size=path.stat().st_size,
            interface={**USUAL, "input": "x", "mean": (0.2,), "size": FixedSize(64, 64), "output": "y"},
        )
        monkeypatch.setitem(catalogue.CATALOGUE, "mine", spec)
    return interface_of(path, **({"mean": (0.1,)} if speaking[0] else {}))


@pytest.mark.parametrize(
    ("leave_out", "mean", "origin"),
    [
        (0, (0.1,), "option"),
        (1, (0.2,), "catalogue (hash)"),
        (2, (0.3,), "metadata"),
        (3, (0.4,), "preprocessor_config.json"),
        (4, (0.0,), "graph"),
        (5, (0.485, 0.456, 0.406), "guess"),
    ],
)
def test_the_first_source_to_speak_wins(
    leave_out: int, mean: tuple[float, ...], origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = everywhere(tmp_path, monkeypatch, leave_out)
    assert (result.interface.mean, result.origins["mean"]) == (mean, origin)
    assert set(result.origins) == set(vars(result.interface))


def test_the_built_in_model_is_known_wholly() -> None:
    result = description.interface_of(*open_model(U2NETP))
    assert result.guesses == ()
    assert not result.used_trial
    assert set(result.origins.values()) == {"catalogue (hash)"}
    keys = description.interface_of(*open_model(U2NETP), {"mean": (0.5,)})
    assert (keys.interface.mean, keys.interface.std) == ((0.5,), result.interface.std)


def test_a_known_network_under_other_names_is_prepared_as_it_is(tmp_path: Path) -> None:
    proto = onnx.load(U2NETP)
    proto.producer_name += "!"
    onnx.save(proto, tmp_path / "same.onnx")
    result, same = interface_of(U2NETP), interface_of(tmp_path / "same.onnx")
    assert (same.interface, same.guesses) == (result.interface, ())
    assert same.origins["mean"] == "catalogue (names)"
    rename_tensors(proto)
    onnx.save(proto, tmp_path / "other.onnx")
    other = interface_of(tmp_path / "other.onnx")
    assert other.interface == replace(result.interface, input="t_input.1", output="t_1959")
    assert (other.origins["mean"], other.origins["activation"]) == ("catalogue (graph)", "graph")
    assert other.guesses == (
        "other.onnx: is a U²-Netp by its graph, and is given the mean, std, filter of U²-Netp; settle it with 'mean', "
        "'std', 'filter'",
    )
    keys = interface_of(tmp_path / "other.onnx", mean=(0.5,), std=(0.5,), filter="nearest")
    assert (keys.interface.mean, keys.guesses) == ((0.5,), ())


def test_the_names_of_another_model_do_not_outweigh_the_graph(tmp_path: Path) -> None:
    """RMBG-1.4 and MODNet have tensors of these names."""
    proto = onnx.load(U2NETP)
    rename_tensors(proto, {"input.1": "input", "1959": "output"})
    onnx.save(proto, tmp_path / "m.onnx")
    result, usual = interface_of(tmp_path / "m.onnx"), interface_of(U2NETP).interface
    assert (result.interface.mean, result.interface.std, result.interface.size) == (usual.mean, usual.std, usual.size)
    assert result.origins["mean"] == "catalogue (graph)"


def test_names_alone_say_nothing(tmp_path: Path) -> None:
    nodes = probability("input", "output")
    path = save_model(tmp_path / "m.onnx", nodes, {"output": [1, 1, 1024, 1024]}, {"input": [1, 3, 1024, 1024]})
    assert interface_of(path).origins["mean"] == "guess"


def test_a_name_that_two_families_have_says_nothing_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RMBG-1.4, an IS-Net, has "input" and "output" too, and another mean."""
    monkeypatch.setattr(description.Signs, "family", lambda _: "BiRefNet")
    nodes = probability("input", "output")
    path = save_model(tmp_path / "m.onnx", nodes, {"output": [1, 1, 1024, 1024]}, {"input": [1, 3, 1024, 1024]})
    result = interface_of(path)
    assert result.interface.mean == catalogue.CATALOGUE["rmbg-2.0"].interface["mean"]
    assert result.origins["mean"] == "catalogue (graph)"
    assert "is a BiRefNet by its graph, and is given" in result.guesses[0]


def test_a_guess_is_one_line_that_names_the_keys(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", probability(), MASK, OPEN)
    (line,) = interface_of(path).guesses
    assert line == (
        "m.onnx: nothing says how it wants its photo; guessed RGB, ImageNet's mean and deviation, bilinear-antialias, "
        "1024x1024; settle it with 'channels', 'scale', 'mean', 'std', 'filter', 'size'"
    )
    size = {"size": FixedSize(64, 64), "mean": (0.5,), "std": (0.5,)}
    (line,) = interface_of(path, **size).guesses
    assert line.startswith("m.onnx: nothing says its channels, filter; guessed RGB, bilinear-antialias; settle")
    assert interface_of(path, **size, channels="RGB", filter="nearest").guesses == ()
    (line,) = interface_of(path, size=FixedSize(64, 64), mean=(0.5,), channels="RGB", filter="nearest").guesses
    assert line == "m.onnx: nothing says its std; guessed ImageNet's deviation; settle it with 'std'"


def test_remover_says_them_once_and_keeps_them(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", probability(), {"y": [1, 1, SIDE, SIDE]})
    lines: list[str] = []
    photo = np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)
    with nss.Remover(path, backend="numpy", notify=lines.append, model_config={"mean": 0.5, "std": 0.5}) as remover:
        info = [remover.remove(photo).info for _ in range(2)][1]
    assert len(lines) == 1
    assert info.model_config is not None
    assert info.model_config["values"]["mean"] == [0.5]
    assert (
        info.model_config["origins"] | {"mean": "option", "size": "file", "filter": "guess"}
        == (info.model_config["origins"])
    )
    lines.clear()
    nss.Remover(path, backend="numpy", quiet=True, notify=lines.append).close()
    assert lines == []


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"x": [1, 3, 48, 64]}, ("NCHW", "RGB", FixedSize(48, 64))),
        ({"x": ["n", 48, 64, 3]}, ("NHWC", "RGB", FixedSize(48, 64))),
        ({"x": [1, 4, 48, 64]}, ("NCHW", "RGBA", FixedSize(48, 64))),
        ({"x": [1, 48, 64, 1]}, ("NHWC", "grey", FixedSize(48, 64))),
        ({"x": [3, 48, 64]}, ("NCHW", "RGB", FixedSize(48, 64))),
        ({"x": [1, 3, 48, "w"]}, ("NCHW", "RGB", FixedSize(48, 1024))),
        ({"x": ["n", "c", "h", "w"]}, ("NCHW", "RGB", FixedSize(1024, 1024))),
        ({"x": ["n", "h", "w", "c"]}, ("NHWC", "RGB", FixedSize(1024, 1024))),
        ({"x": [1, "c", 48, 64]}, ("NCHW", "RGB", FixedSize(48, 64))),
    ],
)
def test_what_the_shape_says(inputs: dict[str, Any], expected: tuple[object, ...], tmp_path: Path) -> None:
    dims = inputs["x"]
    transposed = expected[0] == "NHWC"
    channels = next((dim for dim in dims if dim in (1, 3, 4) and dim is not dims[0]), 3) if len(dims) == 4 else 3
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2])] if transposed else [node("Identity", "x", "t")]
    constants = {"w": np.ones((1, channels, 1, 1), np.float32)}
    result = interface_of(
        save_model(tmp_path / "m.onnx", [*nodes, *probability("t")], {"y": [1, 1, 9, 9]}, inputs, constants=constants)
    )
    assert (result.interface.layout, result.interface.channels, result.interface.size) == expected
    mean, std = result.interface.mean, result.interface.std
    usual = {"RGB": IMAGENET, "RGBA": [(*IMAGENET[0], 0.0), (*IMAGENET[1], 1.0)], "grey": [(0.449,), (0.226,)]}
    assert [pytest.approx(numbers) for numbers in usual[result.interface.channels]] == [mean, std]


def test_bytes_want_no_normalisation(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "f", to=1), *probability("f")]
    result = interface_of(save_model(tmp_path / "m.onnx", nodes, MASK, {"x": (np.uint8, [1, 3, SIDE, SIDE])}))
    interface = result.interface
    assert (interface.dtype, interface.scale, interface.mean, interface.std) == ("uint8", 1.0, (0.0,), (1.0,))
    assert result.origins["scale"] == "file"


def test_means_of_pixels_imply_their_scale(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", probability(), MASK, metadata={"mean": "127.5", "std": "127.5"})
    assert interface_of(path).interface.scale == 1.0
    assert interface_of(path, mean=(0.5,)).interface.scale == 1 / 255


@pytest.mark.parametrize(
    "keys",
    [
        {"size": FixedSize(64, 64)},
        {"size": EdgeSize("shortest", 32)},
        {"channels": "grey"},
        {"dtype": "uint8"},
        {"input": "z"},
        {"inputs": {"z": 0.0}},
        {"output": "z"},
        {"output": 1},
        {"layout": "NHWC"},
        {"mean": (1.0, 2.0, 3.0, 4.0)},
    ],
)
def test_what_is_asked_for_stands_whatever_the_file_says(keys: dict[str, Any], tmp_path: Path) -> None:
    """Whoever opens the model refuses it."""
    path = save_model(tmp_path / "m.onnx", [node("Conv", "x w", "y")], MASK)
    interface = interface_of(path, **keys).interface
    assert {key: getattr(interface, key) for key in keys} == keys


def test_what_others_say_gives_way_to_the_file(tmp_path: Path) -> None:
    own = {"size": 64, "channels": "grey", "dtype": "uint8", "layout": "NHWC", "input": "a", "output": "b", "std": [1]}
    path = save_model(tmp_path / "m.onnx", probability(), MASK, metadata={model_metadata.KEY: json.dumps(own)})
    result = interface_of(path)
    interface = result.interface
    assert (interface.size, interface.channels, interface.dtype) == (FixedSize(SIDE, SIDE), "RGB", "float32")
    assert (interface.layout, interface.input, interface.output) == ("NCHW", "x", "y")
    assert result.origins["size"] == "file"
    assert ["input a" in result.guesses[0], "output b" in result.guesses[1]] == [True, True]


def test_numbers_for_other_channels_than_the_file_takes_are_none(tmp_path: Path) -> None:
    own = {"mean": [0.1] * 4, "std": [0.2] * 4, "scale": 1.0}
    result = interface_of(
        save_model(tmp_path / "m.onnx", probability(), MASK, metadata={model_metadata.KEY: json.dumps(own)})
    )
    assert [result.origins[key] for key in ("mean", "std", "scale")] == ["guess", "guess", "metadata"]


def test_the_photo_is_found_beside_other_inputs(tmp_path: Path) -> None:
    inputs = {"trimap": [1, 1, SIDE, SIDE], "x": [1, 3, SIDE, SIDE]}
    path = save_model(tmp_path / "m.onnx", [*probability(output="p"), node("Mul", "p trimap", "y")], MASK, inputs)
    assert (interface_of(path).interface.input, interface_of(path).interface.inputs) == ("x", {})
    result = interface_of(path, inputs={"trimap": 1.0})
    assert (result.interface.input, result.interface.inputs) == ("x", {"trimap": 1.0})
    two = save_model(tmp_path / "two.onnx", [node("MatMul", "a b", "y")], inputs={"a": [1, 10], "b": [10, 4]})
    with pytest.raises(ModelUnavailableError, match=r"takes a of float\[1, 10\], .* none of them a photo; .*'input'"):
        interface_of(two)


def test_a_damaged_configuration_is_said_and_passed_over(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", probability(), MASK)
    (tmp_path / preprocessor_config.NAME).write_text("{")
    result = interface_of(path)
    assert f"{preprocessor_config.NAME}: ignored" in result.guesses[0]
    assert result.origins["mean"] == "guess"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nothing_is_read_beside_a_pipe(tmp_path: Path) -> None:
    content = save_model(tmp_path / "elsewhere" / "m.onnx", probability(), MASK).read_bytes()
    (tmp_path / preprocessor_config.NAME).write_text(json.dumps({"image_mean": [0.5], "image_std": [0.5]}))
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(content,))
    writer.start()
    resolved = resolve.resolve(fifo, allow_fetch=False, quiet=True)
    writer.join()
    file, _ = open_model(tmp_path / "elsewhere" / "m.onnx")
    assert description.interface_of(file, resolved).origins["mean"] == "guess"
    beside = save_model(tmp_path / "m.onnx", probability(), MASK)
    assert interface_of(beside).origins["mean"] == preprocessor_config.NAME
