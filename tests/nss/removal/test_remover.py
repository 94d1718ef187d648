"""From image to cut-out: on a network without weights, and on the real U²-Netp against ONNX Runtime."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import engine
import nss
from nss.errors import ImageError, ModelUnavailableError, UsageError
from nss.interfaces.interface import complete
from nss.models import catalogue, resolve
from nss.removal import preprocess
from tests.project import ROOT

EXAMPLES = ROOT / "examples"
STAGES = ["decode", "load_model", "preprocess", "infer", "postprocess"]


def session_giving(output: np.ndarray, **changes: object) -> type:
    """A stand-in for ``engine.Session`` whose every run gives ``output``."""

    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            self.inputs = [SimpleNamespace(name="x", dtype=np.dtype(np.float32), shape=(1, 3, 320, 320))]
            self.outputs = [SimpleNamespace(name="y", dtype=output.dtype, shape=output.shape)]
            self.info = SimpleNamespace(backend="numpy", device="no device", reason="asked for", precision="f32")
            vars(self).update(changes)

        def close(self) -> None: ...

        def run(self, _: dict[str, np.ndarray], **__: Any) -> dict[str, np.ndarray]:
            return {"y": output}

    return Session


def use(monkeypatch: pytest.MonkeyPatch, session: object) -> None:
    monkeypatch.setitem(vars(engine), "Session", session)


@pytest.mark.usefixtures("network")
def test_remove_gives_a_mask_at_the_photos_size(photo: Path, rgb: np.ndarray) -> None:
    cutout = nss.remove(photo, model="u2netp")
    assert isinstance(cutout, nss.Cutout)
    assert cutout.mask.shape == rgb.shape[:2]
    assert cutout.mask.dtype == np.float32
    assert 0 <= cutout.mask.min() < cutout.mask.max() <= 1
    assert np.array_equal(cutout.rgba[..., :3], rgb)
    assert cutout.path == photo
    assert cutout.info.model == "u2netp"
    assert cutout.info.model_sha256 == catalogue.CATALOGUE["u2netp"].sha256
    assert cutout.info.device == "no device"
    assert list(cutout.info.milliseconds) == STAGES


def test_a_remover_opens_its_model_once(network: type, rgb: np.ndarray) -> None:
    remover = nss.Remover()
    first, second = remover.remove(rgb), remover.remove(rgb)
    assert len(network.opened) == 1  # type: ignore[attr-defined]
    assert first.info.milliseconds["load_model"] == remover.load_milliseconds > 0
    assert second.info.milliseconds["load_model"] == 0
    assert np.array_equal(first.mask, second.mask)


@pytest.mark.usefixtures("network")
def test_an_image_without_contrast_gives_a_constant_mask() -> None:
    cutout = nss.Remover(stretch=True).remove(np.full((9, 7), 128, np.uint8))
    assert np.ptp(cutout.mask) == 0


@pytest.mark.usefixtures("network")
def test_own_alpha_reaches_the_cut_out(rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, 30:] = 0  # where the network sees something brighter than the rest
    cutout = nss.remove(np.dstack([rgb, alpha]))
    assert cutout.mask.max() == 1
    assert cutout.rgba[:, 30:, 3].max() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_mask_that_is_not_finite_is_an_error(monkeypatch: pytest.MonkeyPatch, rgb: np.ndarray, bad: float) -> None:
    output = np.zeros((1, 1, 320, 320), np.float32)
    output[0, 0, 5, 5] = bad
    use(monkeypatch, session_giving(output))
    with pytest.raises(ImageError, match="gave NaN or infinite values"):
        nss.remove(rgb, model="u2netp")


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((1, 10), "not one mask of the photo's height and width; say by 'output' which output is the mask"),
        ((1, 1, 1, 8), "not one mask of the photo's height and width; say by 'output' which output is the mask"),
        ((7,), "not one mask of height and width; say by 'output' which output is the mask"),
        ((), "not one mask of height and width; say by 'output' which output is the mask"),
        ((2, 1, 8, 8), "2 masks and not one; say by 'output' which output is the mask"),
    ],
)
def test_an_output_that_is_no_mask_is_refused_when_opening(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], why: str
) -> None:
    closings = []
    session = session_giving(np.zeros(shape, np.float32), close=lambda: closings.append(True))
    use(monkeypatch, session)
    expected = re.escape(f"u2netp.onnx: gives y of float32{list(shape)}, {why}")
    with pytest.raises(ModelUnavailableError, match=expected):
        nss.Remover("u2netp")
    assert closings == [True]


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (1, 1, 8, 8), (1, 8, 8, 1)])
@pytest.mark.parametrize(("peak", "has_note"), [(1.0, False), (1.005, False), (1.02, True), (-0.02, True)])
def test_a_mask_that_leaves_its_range_is_noted(
    monkeypatch: pytest.MonkeyPatch, rgb: np.ndarray, shape: tuple[int, ...], peak: float, has_note: bool
) -> None:
    use(monkeypatch, session_giving(np.full(shape, peak, np.float32)))
    cutout = nss.remove(rgb, model="u2netp")
    assert ("the model's output is no mask in 0..1; clipped" in cutout.notes) == has_note
    assert 0 <= cutout.mask.min() <= cutout.mask.max() <= 1


@pytest.mark.usefixtures("network")
def test_a_closed_remover_says_so(rgb: np.ndarray) -> None:
    with nss.Remover() as remover:
        remover.remove(rgb)
    with pytest.raises(UsageError, match="this Remover is closed"):
        remover.remove(rgb)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (engine.BackendError("backend 'webgpu' is not available"), UsageError),
        (engine.ModelError("not an ONNX file"), ModelUnavailableError),
        (engine.UnsupportedError("cannot run Loop (opset 11), 1 node"), ModelUnavailableError),
    ],
)
def test_what_the_engine_refuses(monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    use(monkeypatch, refuse)
    with pytest.raises(expected, match=str(error).split()[0]):
        nss.Remover("u2netp")


def test_a_run_that_fails_names_the_image(monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    session = session_giving(np.zeros((1, 1, 8, 8), np.float32))

    def fail(*_: object) -> None:
        raise engine.InputError("x has the wrong shape")

    session.run = fail  # type: ignore[attr-defined]
    use(monkeypatch, session)
    with pytest.raises(ImageError, match=r"photo\.png: x has the wrong shape"):
        nss.remove(photo, model="u2netp")


def test_a_file_with_open_dimensions_gets_1024_pixels_a_side(tmp_path: Path, rgb: np.ndarray) -> None:
    dimensions = [1, 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]), helper.make_node("Sigmoid", ["mean"], ["y"])],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dimensions)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, *dimensions[2:]])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "open.onnx")
    cutout = nss.remove(rgb, model=tmp_path / "open.onnx")
    # what is guessed
    network_input = preprocess.prepare(rgb, complete(catalogue.CATALOGUE["rmbg-2.0"].interface)).mean(axis=1)[0]
    expected = preprocess.mask_to_photo(1 / (1 + np.exp(-network_input)), rgb.shape[:2])
    assert np.abs(cutout.mask - expected).max() <= 1e-5


def test_import_is_light() -> None:
    script = "import sys, nss; print(*sorted({'numpy', 'PIL', 'onnx', 'typer', 'rich', 'engine'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == ""


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nss.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_the_real_network_agrees_with_onnxruntime(name: str) -> None:
    import onnxruntime
    from PIL import Image

    cutout = nss.remove(EXAMPLES / f"{name}.png", model="u2netp", backend="numpy")
    interface = complete(catalogue.CATALOGUE["u2netp"].interface)
    rgb = np.asarray(Image.open(EXAMPLES / f"{name}.png").convert("RGB"))
    path = resolve.resolve("u2netp", allow_fetch=False).path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (raw,) = session.run([str(interface.output)], {interface.input: preprocess.prepare(rgb, interface)})
    expected = preprocess.mask_to_photo(raw[0, 0], rgb.shape[:2])
    assert np.abs(cutout.mask - expected).max() <= 1e-4
    assert cutout.info.backend == "numpy"
    # the middle of both photos is foreground, their upper right corner background
    height, width = rgb.shape[:2]
    assert cutout.mask[height // 2, width // 2] > 0.95
    assert cutout.mask[:20, -20:].max() < 0.05
