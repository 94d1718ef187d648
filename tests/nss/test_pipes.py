"""Pipes in the place of files: each is read once, and everything is as it is with the file."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nss
from nss.errors import ModelUnavailableError
from nss.models import resolve
from nss.photos import image_io
from tests.nss.child import run_child
from tests.project import ROOT

Command = Callable[..., Any]
Pipe = Callable[[Path | bytes], Path]

# who reads a pipe a second time waits for ever
pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(os.name != "posix", reason="makes pipes with names")]


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    """A pipe that gives a file's content once."""
    count = iter(range(100))

    def make(content: Path | bytes) -> Path:
        data = content if isinstance(content, bytes) else content.read_bytes()
        name = tmp_path / f"pipe{next(count)}.bin"
        os.mkfifo(name)
        threading.Thread(target=name.write_bytes, args=(data,), daemon=True).start()
        return name

    return make


@pytest.fixture
def mask(photo: Path, tmp_path: Path) -> Path:
    height, width = image_io.load(photo).size
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
    Image.fromarray(ramp).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_a_photo(command: Command, pipe: Pipe, photo: Path, tmp_path: Path) -> None:
    assert command("remove", photo, "-o", tmp_path / "file.png").status == 0
    outcome = command("remove", pipe(photo), "-o", tmp_path / "out.png", "--sidecar")
    assert (outcome.status, len(outcome.out)) == (0, 1)
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "file.png").read_bytes()
    record = json.loads((tmp_path / "out.png.json").read_text())
    assert record["input"]["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()


def test_a_mask_and_a_background_for_many_photos(
    command: Command, pipe: Pipe, photo: Path, mask: Path, tmp_path: Path
) -> None:
    """Read once, used for each."""
    second, out, same = photo.with_name("second.png"), tmp_path / "out", tmp_path / "same"
    second.write_bytes(photo.read_bytes())
    out.mkdir()
    same.mkdir()
    assert command("remove", photo.parent, "-o", same, "--mask", mask, "--background", photo).status == 0
    behind, above = pipe(photo), pipe(mask)
    outcome = command("remove", photo.parent, "-o", out, "--mask", above, "--background", behind, "--sidecar")
    assert outcome.status == 0, outcome.err
    for name in ("photo", "second"):
        assert (out / f"{name}.cutout.png").read_bytes() == (same / f"{name}.cutout.png").read_bytes()
        record = json.loads((out / f"{name}.cutout.png.json").read_text())
        assert record["mask"] == {"path": str(above), "sha256": hashlib.sha256(mask.read_bytes()).hexdigest()}
        assert record["composition"] == {"background": str(behind)}


def test_what_is_checked_and_previewed(command: Command, pipe: Pipe, photo: Path, tmp_path: Path) -> None:
    outcome = command("check", pipe(photo), pipe(photo), "--photo", pipe(photo))
    assert (outcome.status, len(outcome.out), outcome.err) == (0, 2, [])
    assert command("preview", pipe(photo), "-o", tmp_path / "sheet.png").status == 0


def test_a_model(pipe: Pipe, small: Path, photo: Path) -> None:
    with nss.Remover(small, backend="numpy") as remover:
        expected = remover.remove(photo)
    with nss.Remover(pipe(small), backend="numpy") as remover:
        cutout = remover.remove(photo)
    assert np.array_equal(cutout.mask, expected.mask)
    assert cutout.info.model_sha256 == expected.info.model_sha256 == hashlib.sha256(small.read_bytes()).hexdigest()


def test_a_model_of_the_catalogue_is_known_again(pipe: Pipe) -> None:
    resolved = resolve.resolve(pipe(ROOT / "nss" / "models" / "weights" / "u2netp.onnx"), allow_fetch=False)
    assert resolved.spec.name == "u2netp"


def test_a_model_in_a_pipe_that_is_none(pipe: Pipe, photo: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"pipe0\.bin: the model given as bytes is a text file"):
        nss.remove(photo, model=pipe(b"Repository not found"))
    with pytest.raises(ModelUnavailableError, match=r"pipe1\.bin: the model given as bytes is empty"):
        nss.remove(photo, model=pipe(b""))
    with pytest.raises(ModelUnavailableError, match="is no file: pass an ONNX file"):
        nss.remove(photo, model=os.devnull)


def test_a_pipe_that_holds_no_image_is_one_line(command: Command, pipe: Pipe, photo: Path, tmp_path: Path) -> None:
    text, nothing = pipe(b"hello"), pipe(b"")
    outcome = command("remove", text, nothing, photo, "-o", tmp_path)
    assert outcome.status == 1
    assert outcome.err[0].startswith(f"nss-wgpu: {text}: is not an image")
    assert outcome.err[1] == f"nss-wgpu: {nothing}: the file is empty (0 bytes)"


@pytest.mark.parametrize("option", ["", "--model", "--mask", "--background"])
def test_a_signal_ends_the_wait_for_a_pipe(photo: Path, tmp_path: Path, option: str) -> None:
    name = tmp_path / "pipe"
    os.mkfifo(name)
    inputs = [name] if not option else [photo, option, name]
    command = [sys.executable, "-m", "nss", "remove", *inputs, "-o", tmp_path / "out.png", "--backend", "numpy"]
    environment = {"NSS_MODEL_DIR": str(tmp_path / "none"), "HF_HOME": str(tmp_path / "none"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env={**os.environ, **environment}, text=True, stderr=subprocess.PIPE)
    while True:
        try:
            writer = os.open(name, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError:  # no one reads it yet
            time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    os.close(writer)
    (line,) = err.splitlines()
    assert line.startswith("nss-wgpu: interrupted")
    assert process.returncode == 130
    assert not (tmp_path / "out.png").exists()


def test_the_library_takes_pipes_too(pipe: Pipe, photo: Path, mask: Path, rgb: np.ndarray) -> None:
    photo_ = image_io.load(pipe(photo))
    assert np.array_equal(photo_.rgb, rgb)
    cutout = nss.apply_mask(pipe(photo), pipe(mask))
    assert np.array_equal(cutout.mask, nss.apply_mask(photo, mask).mask)
    composition = nss.Composition(background=str(pipe(photo)))
    expected = cutout.composed(nss.Composition(background=str(photo))).picture.pixels
    assert np.array_equal(cutout.composed(composition).picture.pixels, expected)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_substitution_as_shells_make_it(small: Path, photo: Path, tmp_path: Path) -> None:
    """All of it through the real command: `remove <(cat photo) --model <(cat model)`."""

    def shell(script: str) -> subprocess.CompletedProcess[str]:
        return run_child(["bash", "-c", script, sys.executable], folder=photo.parent)

    outcome = shell(
        '"$0" -m nss remove <(cat photo.png) --model <(cat ../small.onnx) --background <(cat photo.png) -o ../out.png '
        "--sidecar --backend numpy --json"
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert json.loads(outcome.stdout)["model_sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert (tmp_path / "out.png").is_file()
    outcome = shell('"$0" -m nss remove <(cat photo.png)')
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(": is a pipe, and in no folder; give the output a name with -o\n")
