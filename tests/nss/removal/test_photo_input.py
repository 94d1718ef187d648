"""Photos that the GPU takes as they are: a Remover with its stages there against one with NumPy's; each way back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from onnx import TensorProto

import engine
from engine.compiled.model import CompiledProgram
from engine.gpu.device.device import Device
from nss.arrays.filters import Filter
from nss.cutouts.compose import Composition
from nss.errors import ImageError, UsageError
from nss.interfaces.interface import FixedSize, complete
from nss.masks.refine import Refinement
from nss.removal import gpu_stages
from nss.removal.host_stages import HostStages
from nss.removal.photo_input import FEWEST_PIXELS, fewest_pixels, takes_photos
from nss.removal.remover import Remover
from tests.engine.gpu.gpu import device
from tests.engine.models import node
from tests.nss.tiny_models import probability, save_model

ON_GPU = {"preprocess": "webgpu", "postprocess": "webgpu"}
ON_NUMPY = {"preprocess": "numpy", "postprocess": "numpy"}
USUAL = {"mean": 0.4, "std": 0.1}
"""Logits of both signs."""


def photo(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """A photo with soft areas and some noise."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:height, :width]
    soft = 128 + 90 * np.sin(row / max(4, height / 5)) * np.cos(column / max(4, width / 7))
    pixels = soft[..., None] + rng.normal(0, 20, (height, width, channels))
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny.onnx", probability())


def remover(path: Path, image_backend: str, backend: str = "webgpu", **settings: Any) -> Remover:
    config = {"size": 32, **USUAL, **settings.pop("config", {})}
    number = device().adapter.index if backend == "webgpu" else None
    return Remover(
        path, backend=backend, device=number, quiet=True, model_config=config, image_backend=image_backend, **settings
    )


@pytest.fixture(scope="module")
def pair(path: Path) -> Iterator[tuple[Remover, Remover]]:
    """One with its stages on the GPU, and one with NumPy's."""
    with remover(path, "webgpu") as gpu, remover(path, "numpy") as numpy:
        yield gpu, numpy


def check(gpu: Remover, numpy: Remover, image: np.ndarray, places: dict[str, str] | None = None, **asked: Any) -> None:
    """Cut-outs, masks, notes and findings agree: 1/255, and 1e-4."""
    ours, theirs = gpu.remove(image, **asked), numpy.remove(image, **asked)
    assert dict(ours.info.stages) == (ON_GPU if places is None else places)
    assert set(theirs.info.stages.values()) == {"numpy"}
    one, two = np.asarray(ours), np.asarray(theirs)
    assert one.dtype == two.dtype
    tolerance = 1 if one.dtype == np.uint8 else 7
    assert np.abs(one.astype(int) - two).max() <= tolerance
    assert (one != two).mean() < (0.01 if one.dtype == np.uint8 else 0.2)
    np.testing.assert_allclose(ours.mask, theirs.mask, rtol=0, atol=1e-4)
    assert abs(ours.coverage - theirs.coverage) < 1 / 510  # of levels, and of the mask
    assert ours.notes == theirs.notes
    assert ours.nothing_found == theirs.nothing_found


SIZES = [(1, 50), (50, 1), (3, 2), (31, 33), (32, 32), (97, 61), (61, 203), (400, 301), (4501, 37), (40, 5003)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(pair: tuple[Remover, Remover], size: tuple[int, int]) -> None:
    check(*pair, photo(*size))


@pytest.mark.parametrize("method", get_args(Filter))
def test_filters(path: Path, method: Filter) -> None:
    config = {"config": {"filter": method}}
    with remover(path, "webgpu", **config) as gpu, remover(path, "numpy", **config) as numpy:
        for size in [(90, 71), (20, 25), (4300, 60)]:
            check(gpu, numpy, photo(*size))


REFINEMENTS = {
    "levels": Refinement(black=0.2, white=0.9),
    "smooth": Refinement(smooth=2.5),
    "expand": Refinement(expand=3.4),
    "contract": Refinement(expand=-1.7),
    "feather": Refinement(feather=2),
    "all": Refinement(black=0.1, white=0.95, smooth=1.5, expand=1.2, feather=0.8),
}


@pytest.mark.parametrize("name", REFINEMENTS)
def test_refinements(pair: tuple[Remover, Remover], name: str) -> None:
    refinement = REFINEMENTS[name]
    steps = {**ON_GPU, **dict.fromkeys(refinement.steps, "webgpu")}
    assert len(steps) > 2
    for size in [(97, 61), (28, 30)]:
        check(*pair, photo(*size), steps, refinement=refinement)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("invert", [False, True])
def test_masks(pair: tuple[Remover, Remover], bits: int, invert: bool) -> None:
    composition = Composition(mask_only=True, mask_bits=bits, invert=invert)
    check(*pair, photo(83, 64), composition=composition)
    steps = {**ON_GPU, "feather": "webgpu"}
    check(*pair, photo(83, 64), steps, composition=composition, refinement=Refinement(feather=1.5))


FORMS: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    "softmax": ([node("Conv", "l w2", "y")], {}, {"activation": "softmax", "channel": 1}),
    "sigmoid, channels last": ([node("Transpose", "l", "y", perm=[0, 2, 3, 1])], {}, {"activation": "sigmoid"}),
    "classes": (
        [node("Conv", "l w3", "s"), node("ArgMax", "s", "y", axis=1, keepdims=0)],
        {},
        {"channel": 1},
    ),
    "0..255 as uint8": (
        [node("Sigmoid", "l", "p"), node("Mul", "p white", "q"), node("Cast", "q", "y", to=TensorProto.UINT8)],
        {},
        {"range": 255},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_output(tmp_path: Path, form: str) -> None:
    nodes, inputs, config = FORMS[form]
    nodes = [node("Conv", "x w", "l"), *nodes]
    constants = {"white": np.float32(255)}
    outputs: dict[str, Any] = {"y": None}
    path = save_model(tmp_path / "m.onnx", nodes, outputs, inputs or None, constants)
    with remover(path, "webgpu", config=config) as gpu, remover(path, "numpy", config=config) as numpy:
        for size in [(50, 70), (21, 16)]:
            image = photo(*size)
            ours, theirs = gpu.remove(image), numpy.remove(image)
            assert dict(ours.info.stages) == ON_GPU
            # a logit that is nearly at a step may fall to the other side of it
            assert (np.abs(ours.rgba.astype(int) - theirs.rgba).max(axis=2) <= 1).mean() > 0.99


INPUTS: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any]]] = {
    "BGR": ([], {}, {"channels": "BGR"}),
    "uint8 NHWC": (
        [node("Cast", "i", "a", to=TensorProto.FLOAT), node("Transpose", "a", "x", perm=[0, 3, 1, 2])],
        {"i": (np.uint8, [1, 32, 32, 3])},
        {"dtype": "uint8", "layout": "NHWC", "scale": 1, "mean": 100, "std": 1},
    ),
    "float16": (
        [node("Cast", "i", "x", to=TensorProto.FLOAT)],
        {"i": (np.float16, [1, 3, 32, 32])},
        {"dtype": "float16"},
    ),
    "no batch": ([node("Unsqueeze", "i zero", "x")], {"i": [3, 32, 32]}, {}),
    "size by the photo": (
        [],
        {"x": [1, 3, "h", "w"]},
        {"size": {"longest_edge": 40, "multiple_of": 8}},
    ),
}


@pytest.mark.parametrize("form", INPUTS)
def test_forms_of_input(tmp_path: Path, form: str) -> None:
    nodes, inputs, config = INPUTS[form]
    constants = {"zero": np.array([0])}
    path = save_model(tmp_path / "m.onnx", [*nodes, *probability()], None, inputs or None, constants)
    with remover(path, "webgpu", config=config) as gpu, remover(path, "numpy", config=config) as numpy:
        for size in [(50, 70), (70, 50)]:
            image = photo(*size)
            ours, theirs = gpu.remove(image), numpy.remove(image)
            assert dict(ours.info.stages) == ON_GPU
            # a number of a narrow type may be rounded to the other side
            near = 1 if "uint8" not in form else 24
            assert np.abs(ours.rgba.astype(int) - theirs.rgba).max() <= near
            assert (ours.rgba != theirs.rgba).mean() < 0.02


@pytest.mark.parametrize(
    ("asked", "places"),
    [
        ({"refinement": Refinement(guided=3)}, {"guided": "numpy"}),
        ({"refinement": Refinement(drop_islands=9, feather=1)}, {"drop_islands": "numpy", "feather": "numpy"}),
        ({"refinement": Refinement(black=0.5, white=0.5)}, {"levels": "numpy"}),
        ({"composition": Composition(background="red")}, {}),
        ({"composition": Composition(decontaminate=0.5)}, {}),
        ({"composition": Composition(crop=2)}, {}),
    ],
)
def test_masks_that_numpy_makes(pair: tuple[Remover, Remover], asked: dict[str, Any], places: dict[str, str]) -> None:
    gpu, numpy = pair
    image = photo(83, 64)
    ours, theirs = gpu.remove(image, **asked), numpy.remove(image, **asked)
    assert dict(ours.info.stages) == {"preprocess": "webgpu", "postprocess": "numpy", **places}
    one, two = np.asarray(ours), np.asarray(theirs)
    assert one.shape == two.shape
    assert (np.abs(one.astype(int) - two) > 1).mean() < 1e-3


def test_a_transparent_photo(pair: tuple[Remover, Remover]) -> None:
    image = photo(70, 60, channels=4)
    image[..., 3] = np.where(np.arange(60) < 20, 0, 255)
    check(*pair, image, {"preprocess": "webgpu", "postprocess": "numpy"})


def test_stretch(path: Path) -> None:
    with remover(path, "webgpu", stretch=True) as gpu, remover(path, "numpy", stretch=True) as numpy:
        check(gpu, numpy, photo(70, 60), {"preprocess": "webgpu", "postprocess": "numpy"})


def test_nothing_found_and_no_structure(pair: tuple[Remover, Remover]) -> None:
    dark = (photo(80, 70) // 12).astype(np.uint8)
    ours = pair[0].remove(dark)
    assert ours.nothing_found
    check(*pair, dark)
    with pytest.raises(ImageError, match="no structure"):
        pair[0].remove(np.full((40, 40, 3), 107, np.uint8))
    with pytest.raises(ImageError, match="no structure"):
        pair[0].remove(photo(1, 1))


def test_a_network_that_gives_nan(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "l"), node("Log", "l", "y")]
    with (
        remover(save_model(tmp_path / "m.onnx", nodes), "webgpu") as gpu,
        pytest.raises(ImageError, match="NaN or infinite"),
    ):
        gpu.remove(photo(80, 70))


def test_a_mask_for_one_refinement_is_refined_anew_for_another(pair: tuple[Remover, Remover]) -> None:
    image = photo(83, 64)
    ours, theirs = (
        one.finish(one.infer(one.prepare(image, refinement=Refinement(feather=2), mask_bits=8))) for one in pair
    )
    assert np.abs(ours.rgba.astype(int) - theirs.rgba).max() <= 1
    for refinement in (Refinement(feather=2), Refinement(feather=3), Refinement(smooth=2)):
        one, two = (each.refined(refinement) for each in (ours, theirs))
        assert np.abs(one.rgba.astype(int) - two.rgba).max() <= 1
        place = "webgpu" if refinement.feather == 2 else "numpy"
        assert one.info.stages[refinement.steps[0]] == place


def test_an_input_that_numpy_has_made_is_taken(pair: tuple[Remover, Remover]) -> None:
    gpu, numpy = pair
    prepared = replace(numpy.prepare(photo(83, 64)), mask_bits=8)
    assert prepared.network_input is not None
    assert gpu.prepare(photo(83, 64)).network_input is None
    cutout = gpu.finish(gpu.infer(prepared))
    assert dict(cutout.info.stages) == {"preprocess": "numpy", "postprocess": "webgpu"}
    assert np.abs(cutout.rgba.astype(int) - numpy.remove(photo(83, 64)).rgba).max() <= 1


@pytest.mark.parametrize(
    ("label", "places"),
    [
        ("input", {"preprocess": "numpy", "postprocess": "webgpu"}),
        ("output", {"preprocess": "webgpu", "postprocess": "numpy"}),
        ("both", ON_NUMPY),
    ],
)
def test_what_fails_on_the_gpu_numpy_does(
    pair: tuple[Remover, Remover],
    label: str,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from engine.gpu.images.runner import ImageStages

    def full(*_: object) -> None:
        raise engine.TooLargeError("allocating 7 bytes (pictures): the adapter is out of memory")

    for stage in ("input", "output"):
        if label in (stage, "both"):
            monkeypatch.setattr(ImageStages, stage, full)
    with caplog.at_level(logging.WARNING, "nss"):
        check(*pair, photo(83, 64), places)
    assert any("out of memory; done by NumPy" in message for message in caplog.messages)


def test_a_run_that_fails_is_computed_once_more(
    pair: tuple[Remover, Remover], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise engine.BackendError("running the model: out of luck")

    monkeypatch.setattr(engine.ImageHandle, "result", fail)
    with caplog.at_level(logging.WARNING, "nss"):
        check(*pair, photo(83, 64), ON_NUMPY)
    assert any("out of luck; done by NumPy" in message for message in caplog.messages)


def test_a_lost_device_is_opened_anew(path: Path, pair: tuple[Remover, Remover]) -> None:
    with remover(path, "webgpu") as gpu, remover(path, "numpy", "numpy") as numpy:
        device().lose("a test took it away")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gpu._network, "_notify", lambda _: None)
            cutout = gpu.remove(photo(83, 64))
        assert cutout.notes == ("the GPU was lost; computed on a new device",)
        assert dict(cutout.info.stages) == ON_GPU
        assert np.abs(cutout.rgba.astype(int) - numpy.remove(photo(83, 64)).rgba).max() <= 1
    for other in pair:  # which had the same device, for the tests behind this one
        other.remove(photo(83, 64))


def test_what_photos_need_is_compiled_when_the_model_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels: list[str] = []
    true_compile = Device.compile

    def compile_(self: Device, program: CompiledProgram, *, trusted: bool) -> Future[Any]:
        kernels.append(program.kernel)
        return true_compile(self, program, trusted=trusted)

    monkeypatch.setattr(Device, "compile", compile_)
    with remover(path, "webgpu") as gpu:
        ahead = [kernel for kernel in kernels if kernel.startswith("images/")]
        assert ahead == ["images/network_input", "images/mask_plane", "images/enlarge"]
        gpu.remove(photo(50, 40))
    kernels.clear()
    with remover(path, "numpy"):
        assert not any(kernel.startswith("images/") for kernel in kernels)
    # one that cannot be asked ahead is asked when a photo comes
    config = {"size": {"longest_edge": 40, "multiple_of": 8}}
    either = save_model(path.with_name("either.onnx"), probability(), None, {"x": [1, 3, "h", "w"]})
    with remover(either, "webgpu", config=config) as gpu:
        assert dict(gpu.remove(photo(50, 40)).info.stages) == ON_GPU


def test_which_networks_take_photos(path: Path) -> None:
    software = device().adapter.software
    with remover(path, "auto") as auto, remover(path, "webgpu", "numpy") as numpy:
        assert takes_photos(auto._network.session, "auto") is not software
        assert takes_photos(auto._network.session, "webgpu")
        assert fewest_pixels(auto._network.session, "auto") == (None if software else FEWEST_PIXELS)
        assert fewest_pixels(auto._network.session, "webgpu") == 0
        assert not takes_photos(auto._network.session, "numpy")
        assert not takes_photos(numpy._network.session, "webgpu")
        assert dict(numpy.remove(photo(40, 50)).info.stages) == ON_NUMPY
    with pytest.raises(UsageError, match=r"'image_backend' \"gpu\": one of auto, numpy, webgpu is possible"):
        remover(path, "gpu")


def test_a_photo_too_large_for_the_model_fails_at_once(path: Path) -> None:
    config = {"size": {"shortest_edge": 3000}}
    path = save_model(path.with_name("open.onnx"), probability(), None, {"x": [1, 3, "h", "w"]})
    with remover(path, "webgpu", config=config) as gpu, pytest.raises(ImageError, match="too large"):
        gpu.prepare(np.zeros((1, 4000, 3), np.uint8))


def test_the_points_that_are_near_each_other(pair: tuple[Remover, Remover]) -> None:
    least = Refinement(black=0.5, white=0.5 + gpu_stages.LEAST_SPAN)
    check(*pair, photo(83, 64), {**ON_GPU, "levels": "webgpu"}, refinement=least)


@pytest.mark.parametrize(("width", "goes"), [(19, False), (20, True)])
def test_a_photo_with_too_few_pixels_is_made_ready_by_numpy(width: int, goes: bool) -> None:
    stages = HostStages(complete({"input": "x", "output": "y", "size": FixedSize(8, 8)}), fewest_gpu_pixels=200)
    prepared = stages.prepare(np.zeros((10, width, 3), np.uint8), mask_bits=8)
    assert (prepared.network_input is None) is goes
    assert prepared.mask_bits == (8 if goes else None)
