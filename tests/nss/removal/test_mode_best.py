"""``--mode best`` from the command to the mask, with a stand-in for RMBG-2.0; and files that end in logits.

The oracle is Pillow's resampling in float and NumPy in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nss
from nss.models import catalogue
from nss.models.weights import model_store
from tests.engine.models import model, node
from tests.nss.conftest import Outcome
from tests.nss.fake_hub import FILE, REPO, FakeHub, isolate

MIX = np.array([1.5, -2.0, 1.25])
SIDE = 1024
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def stand_in(names: tuple[str, str], sides: tuple[int | str, int | str], *, sigmoid: bool = True) -> bytes:
    """A network that mixes the channels of each pixel; its input and output have the names of the real one's."""
    nodes = [node("Conv", f"{names[0]} w", "logits"), node("Sigmoid", "logits", names[1])]
    if not sigmoid:
        nodes = [node("Conv", f"{names[0]} w", "y"), node("Identity", "y", names[1])]
    weights = MIX.astype(np.float32).reshape(1, 3, 1, 1)
    return model(nodes, {names[0]: [1, 3, *sides]}, names[1], {"w": weights}, opset=14).SerializeToString()


RMBG_2 = stand_in(("pixel_values", "alphas"), ("height", "width"))


def expected(rgb: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The mask of the stand-in, at the photo's size, float64."""

    def resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        picture = Image.fromarray(plane.astype(np.float32), "F").resize(size, Image.Resampling.BILINEAR)
        return np.asarray(picture, np.float64)

    planes = np.stack([resize(rgb[..., channel], (side, side)) for channel in range(3)], axis=-1)
    logits = ((planes / 255 - MEAN) / STD) @ MIX
    return resize(1 / (1 + np.exp(-logits)), (rgb.shape[1], rgb.shape[0]))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that holds the stand-in as RMBG-2.0, behind its licence; the catalogue names its size and hash."""
    with FakeHub(RMBG_2) as server:
        isolate(monkeypatch, tmp_path, server.url)
        server.valid_token = "hf_right"
        entry = catalogue.CATALOGUE["rmbg-2.0"]
        spec = replace(entry, size=len(RMBG_2), sha256=server.sha256, repo=REPO, filename=FILE)
        monkeypatch.setitem(catalogue.CATALOGUE, "rmbg-2.0", spec)
        yield server


@pytest.fixture
def remove(capsys: pytest.CaptureFixture[str], photo: Path) -> Callable[..., Outcome]:
    """Run ``nss-wgpu remove`` on the photo in this process, for a mask of 16 bits beside it."""
    from nss.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        options = ["--mask-only", "--mask-bits", 16, "--backend", "numpy", "-o", photo.with_name("mask.png")]
        status = main(["remove", *map(str, [photo, *options, *arguments])])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out.splitlines(), captured.err.splitlines())

    return run


def mask_beside(photo: Path) -> np.ndarray:
    return np.asarray(Image.open(photo.with_name("mask.png")), np.float64) / 65535


def test_from_the_gated_hub_to_the_mask(
    hub: FakeHub, remove: Callable[..., Outcome], photo: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    licence = "licence of BRIA RMBG-2.0: CC BY-NC 4.0; commercial use needs an agreement with its owner"
    for token, reason in ((None, "no token is set"), ("hf_wrong", "the token in use has no access")):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        failure = remove("--mode", "best")
        assert failure.status == 3
        assert licence in failure.err[0]
        assert failure.err[1].endswith(f" to fetch from {REPO} on the hub")
        assert failure.err[2:] == [
            f"nss-wgpu: rmbg-2.0 is gated and {reason}: accept its licence (CC BY-NC 4.0) at {hub.url}/{REPO} with "
            "your account, then set HF_TOKEN to a token of that account"
        ]
        assert not photo.with_name("mask.png").exists()
    assert hub.transfers == []

    monkeypatch.setenv("HF_TOKEN", "hf_right")
    outcome = remove("--mode", "best")
    assert outcome.status == 0, outcome.err
    assert [licence in line for line in outcome.err] == [True, False]
    mask = expected(rgb)
    assert 0.05 < mask.min() < mask.max() < 0.95  # neither clipped nor stretched
    assert np.abs(mask_beside(photo) - mask).max() <= 1.5 / 65535

    again = remove("--mode", "best", "--overwrite")
    assert (again.status, again.err, len(hub.transfers)) == (0, [], 1)


def test_from_the_model_folder(hub: FakeHub, remove: Callable[..., Outcome], photo: Path, rgb: np.ndarray) -> None:
    model_store.model_dir().mkdir(parents=True)
    (model_store.model_dir() / "rmbg-2.0.onnx").write_bytes(RMBG_2)
    assert remove("--mode", "best").status == 0
    assert np.abs(mask_beside(photo) - expected(rgb)).max() <= 1.5 / 65535
    assert hub.requests == []


def test_a_file_cut_short_is_not_best(hub: FakeHub, remove: Callable[..., Outcome]) -> None:
    model_store.model_dir().mkdir(parents=True)
    path = model_store.model_dir() / "rmbg-2.0.onnx"
    path.write_bytes(RMBG_2[:-9])
    outcome = remove("--mode", "best")
    remedy = "delete it, or pass its path to use it as it is"
    sizes = f"{len(RMBG_2) - 9:,} bytes instead of {len(RMBG_2):,}"
    assert (outcome.status, outcome.err) == (3, [f"nss-wgpu: {path} is not rmbg-2.0: {sizes}; {remedy}"])
    outcome = remove("--model", path)
    assert (outcome.status, outcome.err) == (
        3,
        [f"nss-wgpu: model '{path}' is not an ONNX file, or is cut short; fetch it again"],
    )
    assert hub.requests == []


@pytest.mark.parametrize("sigmoid", [False, True])
def test_an_export_of_another_kind(
    sigmoid: bool, remove: Callable[..., Outcome], photo: Path, rgb: np.ndarray, tmp_path: Path
) -> None:
    """BiRefNet as others publish it: other names, a fixed size, and logits."""
    path = tmp_path / "birefnet.onnx"
    path.write_bytes(stand_in(("input_image", "output_image"), (32, 48), sigmoid=sigmoid))
    outcome = remove("--model", path)
    guesses = ["guessed RGB, ImageNet's mean and deviation", *([] if sigmoid else ["a trial on two synthetic photos"])]
    assert outcome.status == 0
    assert [guess in line for guess, line in zip(guesses, outcome.err, strict=True)] == [True] * len(guesses)
    cutout = nss.remove(rgb, model=path, backend="numpy")
    assert [guess in note for guess, note in zip(guesses, cutout.notes, strict=True)] == [True] * len(guesses)
    assert np.abs(mask_beside(photo) - cutout.mask).max() <= 1 / 65535


def test_logits_become_a_mask(rgb: np.ndarray, tmp_path: Path) -> None:
    for sigmoid in (False, True):
        path = tmp_path / f"{sigmoid}.onnx"
        path.write_bytes(stand_in(("input_image", "output_image"), (SIDE, SIDE), sigmoid=sigmoid))
        assert np.abs(nss.remove(rgb, model=path, backend="numpy").mask - expected(rgb)).max() <= 2e-6


def test_another_size_than_the_file_was_exported_with(remove: Callable[..., Outcome], tmp_path: Path) -> None:
    """A size that the file does not declare is guessed, and the line says so where the file runs at another alone."""
    nodes = [
        node("Split", "pixel_values sizes", "top bottom", axis=2, name="/decoder/Split_64"),
        node("Add", "top bottom", "a"),
        node("ReduceMean", "a", "m", axes=[1]),
        node("Sigmoid", "m", "alphas"),
    ]
    proto = model(
        nodes, {"pixel_values": [1, 3, "height", "width"]}, "alphas", {"sizes": np.array([256, 256])}, opset=14
    )
    path = tmp_path / "small.onnx"
    onnx.save(proto, path)
    outcome = remove("--model", path)
    assert outcome.status == 3
    assert outcome.err == [
        f"nss-wgpu: {path}: input 'pixel_values' bound to [1, 3, 1024, 1024]: Split '/decoder/Split_64': inputs "
        "(float32[1,3,1024,1024], int64[2]) do not fit the operator: 2 parts of 512 in all do not make up extent 1024 "
        "of axis 2; the file may hold sizes of the shape that it was exported with: bind that one; "
        "1024x1024 is a guess: say by --model-size what the model was made for"
    ]
    assert remove("--model", path, "--model-size", 512).status == 0
