"""A Remover on models of any interface: what each gets, what is made of it, and what is refused by which key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto

import nss
from nss.errors import ImageError, ModelUnavailableError, NssError, UsageError
from nss.pipeline.lanes import Ready
from nss.removal.remover import Remover
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

PHOTO = np.random.default_rng(5).integers(0, 256, (24, 40, 3), np.uint8)
SHARES = np.array([0.2, 0.3, 0.5], np.float32)
UNIT = {"scale": 1 / 255, "mean": 0, "std": 1, "activation": "none"}
"""0..1 in, the mask out."""

EXPECTED = PHOTO @ SHARES / 255
"""What the models here make of the photo."""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path


def save_model(
    folder: Path, nodes: list[NodeProto], inputs: dict[str, Any], outputs: str = "y", **constants: Any
) -> Path:
    path = folder / "mine.onnx"
    onnx.save(model(nodes, inputs, outputs, {"w": SHARES.reshape(1, 3, 1, 1), **constants}), path)
    return path


def mask(path: Path, config: dict[str, Any], photo: np.ndarray = PHOTO, backend: str = "numpy") -> np.ndarray:
    number = device().adapter.index if backend == "webgpu" else None
    with Remover(path, backend=backend, device=number, quiet=True, model_config=config) as remover:
        return remover.remove(photo).mask


def refusal(path: Path, config: dict[str, Any], kind: type[NssError] = ModelUnavailableError) -> str:
    with pytest.raises(kind) as failure:
        Remover(path, backend="numpy", quiet=True, model_config={**UNIT, **config})
    assert "\n" not in str(failure.value)
    return str(failure.value)


CONV = node("Conv", "x w", "y")
FORMS: dict[str, tuple[list[NodeProto], dict[str, Any], dict[str, Any]]] = {
    "NCHW": ([CONV], {"x": [1, 3, 24, 40]}, {}),
    "open batch, height and width": ([CONV], {"x": ["n", 3, "h", "w"]}, {"size": [24, 40]}),
    "no batch": ([node("Unsqueeze", "i zero", "x"), CONV], {"i": [3, 24, 40]}, {}),
    "float16": (
        [node("Cast", "i", "x", to=TensorProto.FLOAT), CONV],
        {"i": (np.float16, [1, 3, 24, 40])},
        {"dtype": "float16"},
    ),
    "uint8 NHWC": (
        [
            node("Cast", "i", "a", to=TensorProto.FLOAT),
            node("Div", "a white", "b"),
            node("Transpose", "b", "x", perm=[0, 3, 1, 2]),
            CONV,
        ],
        {"i": (np.uint8, [1, 24, 40, 3])},
        {"dtype": "uint8", "layout": "NHWC", "scale": 1},
    ),
    "0..255 out as uint8, channels last": (
        [
            node("Conv", "x w", "a"),
            node("Mul", "a white", "b"),
            node("Transpose", "b", "c", perm=[0, 2, 3, 1]),
            node("Cast", "c", "y", to=TensorProto.UINT8),
        ],
        {"x": [1, 3, 24, 40]},
        {"range": 255},
    ),
    "BGR": ([node("Gather", "i turned", "x", axis=1), CONV], {"i": [1, 3, 24, 40]}, {"channels": "BGR"}),
}
CONSTANTS = {"white": np.float32(255), "turned": np.array([2, 1, 0]), "zero": np.array([0])}


@pytest.mark.parametrize("backend", ["numpy", "reference", "webgpu"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_input_and_output(folder: Path, form: str, backend: str) -> None:
    nodes, inputs, config = FORMS[form]
    path = save_model(folder, nodes, inputs, **CONSTANTS)
    result = mask(path, {**UNIT, **config}, backend=backend)
    tolerance = {"float16": 1e-3, "0..255 out as uint8, channels last": 1.01 / 255}.get(form, 1e-6)
    assert np.abs(result - EXPECTED).max() <= tolerance


def test_grey_and_rgba(folder: Path) -> None:
    grey = save_model(folder, [node("Identity", "x", "y")], {"x": [1, 1, 24, 40]})
    luma = PHOTO @ [0.299, 0.587, 0.114] / 255
    assert np.abs(mask(grey, {**UNIT, "channels": "grey"}) - luma).max() <= 1e-6
    share = np.array([0, 0, 0, 1], np.float32).reshape(1, 4, 1, 1)
    rgba = save_model(folder, [node("Conv", "x last", "y")], {"x": [1, 4, 24, 40]}, last=share)
    alpha = np.random.default_rng(6).integers(0, 256, (24, 40), np.uint8)
    with Remover(rgba, backend="numpy", quiet=True, model_config={**UNIT, "channels": "RGBA"}) as remover:
        inferred = remover.infer(remover.prepare(np.dstack([PHOTO, alpha])))
    assert np.abs(inferred.raw - alpha / np.float32(255)).max() <= 1e-6


def test_outputs_by_name_and_by_index(folder: Path) -> None:
    nodes = [node("AveragePool", "y", "coarse", kernel_shape=[8, 8], strides=[8, 8]), CONV]
    path = save_model(folder, nodes, {"x": [1, 3, 24, 40]}, "coarse y")
    for output in ("y", 1):
        assert np.abs(mask(path, {**UNIT, "output": output}) - EXPECTED).max() <= 1e-6
    assert np.abs(mask(path, {**UNIT, "output": 0}) - EXPECTED).max() > 0.1
    why = "it has 0 coarse, 1 y: say which one is the mask by 'output'"
    assert refusal(path, {"output": "z"}).endswith(f'mine.onnx: has no output "z", {why}')
    assert refusal(path, {"output": 2}).endswith(f"mine.onnx: has no output 2, {why}")


def test_several_channels_want_one_named(folder: Path) -> None:
    weights = np.concatenate([1 - SHARES, SHARES, SHARES * 0]).reshape(3, 3, 1, 1)
    path = save_model(folder, [node("Conv", "x three", "y")], {"x": [1, 3, 24, 40]}, three=weights)
    message = refusal(path, {})
    assert (
        message == f"{path}: gives y of float32[1, 3, 24, 40], 3 channels: say which one is the foreground by 'channel'"
    )
    assert "there is no 3; say" in refusal(path, {"channel": 3})
    logits = np.stack([PHOTO @ (1 - SHARES), PHOTO @ SHARES, PHOTO @ (SHARES * 0)]) / 255
    for channel in (0, 1, -1):
        assert np.abs(mask(path, {**UNIT, "channel": channel}) - logits[channel].clip(0, 1)).max() <= 1e-5
    exponentials = np.exp(logits)
    softmax = exponentials[1] / exponentials.sum(axis=0)
    assert np.abs(mask(path, {**UNIT, "channel": 1, "activation": "softmax"}) - softmax).max() <= 1e-6


MORE = [
    node("Conv", "x w", "a"),
    node("Mul", "a trimap", "b"),
    node("Cast", "count", "c", to=TensorProto.FLOAT),
    node("Mul", "b c", "d"),
    node("Add", "d shift", "y"),
]
MORE_INPUTS = {
    "trimap": [1, 1, "h", "w"],
    "x": [1, 3, 24, 40],
    "count": (np.int64, []),
    "shift": [1, 1, 24, 40],
}


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_other_inputs_are_constants(folder: Path, backend: str) -> None:
    path = save_model(folder, MORE, MORE_INPUTS, shift=np.zeros((1, 1, 24, 40), np.float32))
    config = {**UNIT, "input": "x", "inputs": {"trimap": 0.25, "count": 2}}
    assert np.abs(mask(path, config, backend=backend) - EXPECTED / 2).max() <= 1e-6
    rows = np.linspace(0, 0.5, 24)
    inputs = {"trimap": np.broadcast_to(rows[:, None], (1, 1, 24, 40)).tolist(), "count": 1, "shift": 0.25}
    result = mask(path, {**UNIT, "input": "x", "inputs": inputs}, backend=backend)  # the file's own shift gives way
    assert np.abs(result - (EXPECTED * rows[:, None] + 0.25)).max() <= 1e-6


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ({}, ModelUnavailableError, "takes trimap, count beside x, the photo: say by 'inputs' which value each has"),
        ({"trimap": 1}, ModelUnavailableError, "takes count beside x, the photo: say by 'inputs'"),
        (
            {"mask": 1},
            ModelUnavailableError,
            "'inputs' gives \"mask\" a value, and the model has only shift, trimap, x, count",
        ),
        ({"x": 1}, ModelUnavailableError, "'inputs' gives \"x\" a value, which takes the photo"),
        ({"count": 0.5}, ModelUnavailableError, "'inputs' gives count, int64[], a value that int64 does not have"),
        (
            {"trimap": 1e300},
            ModelUnavailableError,
            "gives trimap, float32[1, 1, h, w], a value that float32 does not have",
        ),
        ({"count": [1, 2], "trimap": 1}, ModelUnavailableError, "input 'count' has shape [], which [2] does not fit"),
        (
            {"trimap": [[1, 2], [3]]},
            UsageError,
            "'inputs' gives trimap, float32[1, 1, h, w], what is no array of numbers",
        ),
        ({"trimap": [[1, 2], [3, 4]]}, ModelUnavailableError, "trimap, float32[1, 1, h, w], an array of [2, 2]"),
        (
            {"shift": [[[[0.5]]]]},
            ModelUnavailableError,
            "'inputs' gives shift, float32[1, 1, 24, 40], an array of [1, 1, 1, 1]",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(
    folder: Path, inputs: dict[str, Any], kind: type[NssError], message: str
) -> None:
    path = save_model(folder, MORE, MORE_INPUTS, shift=np.zeros((1, 1, 24, 40), np.float32))
    assert message in refusal(path, {"input": "x", "inputs": inputs}, kind)


@pytest.mark.parametrize(
    ("dims", "config", "message"),
    [
        ([1, 3, 24, 40], {"input": "z"}, "has no input \"z\", it has x: say which one takes the photo by 'input'"),
        ([1, 3, 24, 40], {"dtype": "uint8"}, "takes x of float32[1, 3, 24, 40], which 'dtype' uint8 is not"),
        ([1, 3, 24, 40], {"size": 64}, "takes x of float32[1, 3, 24, 40], which 'size' 64x64 does not fit"),
        (
            ["n", 3, 24, "w"],
            {"size": "shortest:24"},
            "x of float32[n, 3, 24, w], which 'size' shortest:24 does not fit",
        ),
        ([1, 3, 24, 40], {"layout": "NHWC", "size": [3, 24]}, "not one image [1, height, width, 3] as 'layout' NHWC"),
        ([1, 3, 24, 40], {"channels": "grey"}, "not one image [1, 1, height, width] as 'layout'"),
        ([1, 3, 24, 40], {"channels": "grey", "mean": 0, "std": 1}, "not one image [1, 1, height, width] as 'layout'"),
        ([4, 3, 24, 40], {}, "4 images at a time; export it with a batch of 1"),
        ([1, 3], {"size": 8}, "takes x of float32[1, 3], not one image [1, 3, height, width]; say by 'input'"),
    ],
)
def test_an_interface_that_the_file_does_not_have_is_refused(
    folder: Path, dims: list[Any], config: dict[str, Any], message: str
) -> None:
    path = save_model(folder, [CONV], {"x": dims})
    assert message in refusal(path, config)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.UINT4])
def test_an_input_of_a_type_that_no_photo_has_is_refused_with_those_that_it_can_have(folder: Path, kind: int) -> None:
    nodes = [node("Cast", "x", "f", to=TensorProto.FLOAT), node("Conv", "f w", "y")]
    proto = onnx.load(save_model(folder, nodes, {"x": [1, 3, 8, 8]}))
    proto.graph.input[0].type.tensor_type.elem_type = kind
    onnx.save(proto, folder / "other.onnx")
    word = {TensorProto.DOUBLE: "float64", TensorProto.UINT4: "uint4"}[kind]
    message = f"takes x of {word}[1, 3, 8, 8], and a photo is given as float32, float16 or uint8; export it"
    assert message in refusal(folder / "other.onnx", {})


def test_another_input_of_four_bits_is_given_bytes(folder: Path) -> None:
    nodes = [node("Cast", "k", "f", to=TensorProto.FLOAT), node("Conv", "x w", "a"), node("Mul", "a f", "y")]
    proto = onnx.load(save_model(folder, nodes, {"x": [1, 3, 24, 40], "k": []}))
    proto.opset_import[0].version = 21
    proto.graph.input[1].type.tensor_type.elem_type = TensorProto.INT4
    onnx.save(proto, folder / "other.onnx")
    result = mask(folder / "other.onnx", {**UNIT, "input": "x", "inputs": {"k": 1}})
    assert np.abs(result - EXPECTED).max() <= 1e-6


def test_a_model_without_an_input_is_told_so(folder: Path) -> None:
    path = save_model(folder, [node("Relu", "w", "y")], {})
    assert "has no input, and so takes no photo" in refusal(path, {})


def test_mean_and_deviation_are_counted_when_the_model_is_opened(folder: Path) -> None:
    path = save_model(folder, [CONV], {"x": [1, 3, 24, 40]})
    assert "'mean' has 4 numbers" in refusal(path, {"mean": [1, 2, 3, 4]}, UsageError)


def test_what_is_asked_for_goes_before_the_catalogue() -> None:
    with Remover("u2netp", backend="numpy", quiet=True, model_config={"mean": 0.25, "filter": "nearest"}) as remover:
        config = remover.remove(PHOTO).info.model_config
    assert config is not None
    values = config["values"]
    assert (values["mean"], values["std"]) == ([0.25], [0.229, 0.224, 0.225])
    assert (values["filter"], values["input"]) == ("nearest", "input.1")
    origins = {key: config["origins"][key] for key in ("mean", "filter", "std", "output")}
    assert origins == {"mean": "option", "filter": "option", "std": "catalogue (hash)", "output": "catalogue (hash)"}


def test_a_configuration_may_be_a_file(folder: Path) -> None:
    path = save_model(
        folder, [node("Gather", "x turned", "i", axis=1), node("Conv", "i w", "y")], {"x": [1, 3, 24, 40]}, **CONSTANTS
    )
    config = folder / "model.json"
    config.write_text(json.dumps({**UNIT, "channels": "BGR"}), "utf-8-sig")
    for source in (config, str(config)):
        cutout = Remover(path, backend="numpy", quiet=True, model_config=source).remove(PHOTO)
        assert np.abs(cutout.mask - EXPECTED).max() <= 1e-6
    assert np.abs(mask(path, UNIT) - EXPECTED).max() > 0.01


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"{", "cannot be read: Expecting property name"),
        (b"\xff\xd8\xff\xe0", "cannot be read: it is no JSON text"),
        (b"[1]", "is a JSON object, and this is none"),
        (b'{"meen": 1}', '"meen" is no part of a model\'s interface; there are input, '),
        (b'{"std": 0}', "std 0: a number other than 0"),
    ],
)
def test_a_configuration_that_is_none_is_refused_by_its_name(folder: Path, content: bytes | None, message: str) -> None:
    config = folder / "model.json"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(UsageError) as failure:
        nss.Remover("u2netp", model_config=config)
    assert str(failure.value).startswith(f"{config}: ")
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_configuration_of_no_keys_is_the_programs_fault() -> None:
    with pytest.raises(UsageError, match='model_config: "sizes" is no part'):
        nss.Remover("u2netp", model_config={"sizes": 3})


def test_what_float16_does_not_hold_is_that_photos_failure_and_names_f32(folder: Path) -> None:
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    weights = {"up": np.full((3, 3, 1, 1), 1e4, np.float32), "down": np.full((1, 3, 1, 1), 1e-5, np.float32)}
    nodes = [node("Conv", "x up", "a"), node("Relu", "a", "b"), node("Neg", "b", "n"), node("Conv", "n down", "y")]
    path = folder / "mine.onnx"
    onnx.save(model(nodes, {"x": [1, 3, 24, 40]}, "y", weights), path)
    config = {**UNIT, "scale": 1.0}
    with (
        Remover(
            path, backend="webgpu", device=gpu.adapter.index, precision="f16", quiet=True, model_config=config
        ) as remover,
        pytest.raises(ImageError, match="beyond 65,504, where float16 ends; use precision 'f32'"),
    ):
        remover.remove(PHOTO)


def test_a_run_that_was_repeated_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, inputs, config = FORMS["NCHW"]
    path = save_model(folder, nodes, inputs)
    with Remover(path, backend="numpy", quiet=True, model_config={**UNIT, **config}) as remover:
        assert not any("computed twice" in note for note in remover.remove(PHOTO).notes)
        monkeypatch.setattr(Ready, "repeated", True)
        cutout = remover.remove(PHOTO)
    assert any("precision 'f32-strict'" in note for note in cutout.notes)
    assert cutout.info.precision == "f32"
