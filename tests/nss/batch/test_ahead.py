"""The first photo is decoded while the model is opened, and everything is said as though it were not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import engine
from nss.batch import ahead
from nss.batch.ahead import FirstPhoto
from nss.errors import ImageError
from nss.photos import codec_messages, image_io
from tests.nss.conftest import BrightnessSession, Outcome


def job(source: Path | None, *, error: Exception | None = None, skipped: bool = False) -> Any:
    return SimpleNamespace(source=source, name=str(source), error=error, skipped=skipped)


def test_the_first_that_is_worked_on_is_decoded_once(photo: Path, rgb: np.ndarray) -> None:
    failed, skipped, first = job(photo, error=ImageError("no")), job(photo, skipped=True), job(photo)
    jobs = [failed, skipped, first, job(photo)]
    early = FirstPhoto(jobs, 10_000)
    assert [early.take(other) for other in (failed, skipped, jobs[3])] == [None] * 3
    taken = early.take(first)
    assert taken is not None
    assert np.array_equal(taken[0].rgb, rgb)
    assert taken[1] > 0
    assert early.take(first) is None


def test_what_is_wrong_is_said_where_it_is_taken(tmp_path: Path, photo: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:100])
    for path, limit in ((broken, 10_000), (photo, 10)):
        with pytest.raises(ImageError) as late:
            image_io.load(path, max_pixels=limit)
        early = FirstPhoto([it := job(path)], limit)
        with pytest.raises(ImageError) as failure:
            early.take(it)
        assert str(failure.value) == str(late.value)


def test_only_files_whose_decoders_are_silent_are_read_early(
    tmp_path: Path, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    monkeypatch.setattr(image_io, "load", lambda path, *_, **__: reads.append(Path(path).suffix))
    paths = [tmp_path / f"a{suffix}" for suffix in (".png", ".jpg", ".tif", ".webp")]
    for path in paths:
        Image.fromarray(rgb).save(path)
    (tmp_path / "tiff.png").write_bytes(paths[2].read_bytes())
    os.mkfifo(tmp_path / "pipe.png")
    others = [tmp_path / name for name in ("tiff.png", "pipe.png", "missing.png")]
    for path in [*paths, *others, tmp_path, None]:
        FirstPhoto([it := job(path)], 10_000).take(it)
    assert reads == [".png", ".jpg"]


def test_the_model_is_opened_meanwhile(
    command: Callable[..., Outcome],
    network: type[BrightnessSession],
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = threading.Event()
    plain, seen = image_io.load, []

    def load(*arguments: Any, **options: Any) -> Any:
        seen.append(opened.wait(60))  # never, if the photo came first
        return plain(*arguments, **options)

    class Session(network):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.set()

    monkeypatch.setitem(vars(engine), "Session", Session)
    monkeypatch.setattr(image_io, "load", load)
    outcome = command("remove", photo, "--model", "u2netp", "-v")
    assert (outcome.status, seen) == (0, [True])
    assert any("decode" in line for line in outcome.err)


def test_what_is_said_before_a_photo_is_decoded_is_said_once(
    command: Callable[..., Outcome], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = image_io.load

    def load(path: Path, *arguments: Any, **options: Any) -> Any:
        codec_messages.tell(str(path), "is a large one")
        loaded = plain(path, *arguments, **options)
        return replace(loaded, notes=("is a large one",))

    monkeypatch.setattr(image_io, "load", load)
    outcome = command("remove", photo, "--model", "u2netp")
    assert [line for line in outcome.err if "large" in line] == [f"nss-wgpu: {photo}: is a large one"]


def test_a_model_that_fails_comes_before_a_photo_that_fails(command: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = command("remove", tmp_path / "broken.png", "--model", tmp_path / "no.onnx")
    assert outcome.status == 3
    assert len(outcome.err) == 1
    assert "no model file" in outcome.err[0]


def test_the_gpu_is_made_ready_unless_numpy_is_asked_for(
    command: Callable[..., Outcome], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(ahead, "make_gpu_ready", lambda **options: calls.append(options))
    command("remove", photo, "--model", "u2netp", "--backend", "numpy", "--overwrite")
    command("remove", photo, "--model", "u2netp", "--overwrite", "--dry-run")
    command("remove", photo, "--mask", photo, "--overwrite")
    assert calls == []
    command("remove", photo, "--model", "u2netp", "--overwrite", "--device", "dawn", "--precision", "f16")
    assert calls == [{"backend": "auto", "device": "dawn", "precision": "f16"}]
