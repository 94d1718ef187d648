"""--image-backend: where photos and masks are resized, by threads and by processes, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.batch.processes import VARIABLE
from nss.workers import process
from tests.engine.gpu.gpu import device
from tests.nss.conftest import Outcome
from tests.nss.tiny_models import probability, save_model

Command = Callable[..., Outcome]


@pytest.fixture
def real(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, on the engine itself."""
    from nss.cli.main import main

    def run(*arguments: object) -> Outcome:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out.splitlines(), captured.err.splitlines())

    return run


@pytest.fixture
def photos(tmp_path: Path, rgb: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.roll(rgb, 40 * number, axis=1)[: 150 - number]).save(folder / f"{number}.png")
    transparent = Image.fromarray(rgb)
    transparent.putalpha(Image.fromarray(np.where(rgb[..., 0] > 200, 255, 100).astype(np.uint8)))
    transparent.save(folder / "transparent.png")
    return folder


def run(real: Command, photos: Path, out: Path, image_backend: str, *options: object) -> list[dict[str, object]]:
    model = save_model(out.with_name("tiny.onnx"), probability())
    out.mkdir()
    words = ["--model", model, "--model-size", 32, "--backend", "webgpu", "--device", device().adapter.index]
    words += ["--model-mean", 0.4, "--model-std", 0.1, "--image-backend", image_backend, "--json", "-q", "-j", 2]
    outcome = real("remove", photos, "-o", out, *words, *options)
    assert (outcome.status, outcome.err) == (0, [])
    return [json.loads(line) for line in outcome.out]


HOWS = ["threads", *(["processes"] if process.supported() else [])]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("options", "steps"),
    [((), {}), (("--feather", 2, "--mask-only", "--mask-bits", 16), {"feather": "webgpu"})],
    ids=["cut-outs", "masks"],
)
def test_folders(
    real: Command,
    monkeypatch: pytest.MonkeyPatch,
    photos: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    steps: dict[str, str],
    how: str,
) -> None:
    monkeypatch.setenv(VARIABLE, how)
    lines = run(real, photos, tmp_path / "gpu", "webgpu", *options, "--sidecar")
    assert len(lines) == 5
    for line in lines:
        places = {"preprocess": "webgpu", "postprocess": "webgpu", **steps}
        if "transparent" in str(line["input"]):
            places = {"preprocess": "webgpu", "postprocess": "numpy", **dict.fromkeys(steps, "numpy")}
        assert line["stages"] == places
        (record,) = (tmp_path / "gpu").glob(f"{Path(str(line['output'])).stem}*.json")
        assert json.loads(record.read_text("utf-8"))["stages"] == places
    numpy_lines = run(real, photos, tmp_path / "numpy", "numpy", *options)
    assert all(set(line["stages"].values()) == {"numpy"} for line in numpy_lines)  # type: ignore[attr-defined]
    for path in (tmp_path / "numpy").glob("*.png"):
        with Image.open(path) as one, Image.open(tmp_path / "gpu" / path.name) as two:
            away = np.abs(np.asarray(one).astype(int) - np.asarray(two))
        assert away.max() <= (7 if "--mask-bits" in options else 1)


def test_pictures_that_take_more_than_levels(real: Command, photos: Path, tmp_path: Path) -> None:
    for options in (("--format", "jpeg"), ("--background", "red"), ("--crop", 2), ("--decontaminate", 0.5)):
        for line in run(real, photos, tmp_path / str(options[0]), "webgpu", *options):
            assert line["stages"] == {"preprocess": "webgpu", "postprocess": "numpy"}


def test_what_is_none_is_refused(real: Command, photos: Path) -> None:
    outcome = real("remove", photos, "--image-backend", "gpu")
    assert outcome.status == 2
    assert any("--image-backend" in line for line in outcome.err)
    outcome = real("remove", photos, "--backend", "numpy", "--image-backend", "webgpu")
    assert (outcome.status, outcome.err) == (
        2,
        [
            "nss-wgpu: --image-backend webgpu is the GPU that the network runs on, and --backend numpy has none; "
            "leave one of them out"
        ],
    )
