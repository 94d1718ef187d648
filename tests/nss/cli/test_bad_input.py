"""Bad input through the command: one line, the right exit status, nothing lost, and the other images go on."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.masks.sanity import NOTHING
from tests.engine.models import model as onnx_model
from tests.engine.models import node
from tests.nss.conftest import Outcome
from tests.project import ROOT

EXAMPLES = ROOT / "examples"
Command = Callable[..., Any]
Listing = Callable[[Path], list[str]]

MODES = {
    "1x1": Image.new("RGB", (1, 1), "red"),
    "1x5000": Image.new("RGB", (1, 5000), "red"),
    "5000x1": Image.new("RGB", (5000, 1), "red"),
    "CMYK": Image.new("CMYK", (20, 10), (10, 200, 30, 5)),
    "palette": Image.new("RGB", (20, 10), "red").quantize(4),
    "16-bit": Image.fromarray(np.linspace(0, 65535, 200).astype(np.uint16).reshape(10, 20)),
    "greyscale": Image.new("L", (20, 10), 90),
    "1-bit": Image.new("1", (20, 10), 1),
    "alpha": Image.new("RGBA", (20, 10), (1, 2, 3, 77)),
    "greyscale alpha": Image.new("LA", (20, 10), (200, 77)),
    "float": Image.fromarray(np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)),
}


def bomb() -> bytes:
    """A small PNG whose header claims 3.6 gigapixels."""
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


@pytest.mark.parametrize("kind", MODES)
def test_unusual_images_are_done(command: Command, tmp_path: Path, kind: str) -> None:
    source = tmp_path / ("in.tif" if kind in ("CMYK", "float") else "in.png")
    MODES[kind].save(source)
    outcome = command("remove", source, "--model", "u2netp")
    assert outcome.status == 0, outcome.err
    image = Image.open(tmp_path / "in.cutout.png")
    assert image.mode == "RGBA"
    assert image.size == MODES[kind].size
    notices = [line for line in outcome.err if NOTHING not in line]
    assert len(notices) == (kind in ("CMYK", "16-bit", "float"))  # what was done to the pixels is said
    if kind.endswith("alpha"):
        assert np.asarray(image)[..., 3].max() <= 77


def test_an_animation_gives_its_first_frame_and_says_so(command: Command, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    outcome = command("remove", tmp_path / "in.gif", "--model", "u2netp")
    assert outcome.status == 0
    assert outcome.err[0] == f"nss-wgpu: {tmp_path / 'in.gif'}: animated: first frame used"
    assert (np.asarray(Image.open(tmp_path / "in.cutout.png"))[..., :3] == (255, 0, 0)).all()


def test_a_wrong_extension_does_not_matter(command: Command, photo: Path, rgb: np.ndarray) -> None:
    liar = photo.rename(photo.with_suffix(".jpg"))
    assert command("remove", liar).status == 0
    assert np.array_equal(np.asarray(Image.open(photo.with_name("photo.cutout.png")))[..., :3], rgb)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("no images", "no images in this directory"),
        ("text", "is not an image"),
        ("empty", "the file is empty (0 bytes)"),
        ("truncated", "truncated or damaged PNG image"),
        ("bomb", "more than 300 megapixels"),
        ("unreadable", "permission denied"),
        ("device", "not a regular file"),
        ("dangling link", "no such file"),
    ],
)
def test_a_bad_image_is_one_line_and_the_next_is_done(
    command: Command,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listing: Listing,
    kind: str,
    message: str,
) -> None:
    bad = tmp_path / "bad.png"
    contents = {"text": b"hello", "empty": b"", "truncated": photo.read_bytes()[:-900], "bomb": bomb()}
    if kind in contents:
        bad.write_bytes(contents[kind])
    elif kind == "no images":
        bad.mkdir()
        (bad / "notes.txt").touch()
    elif kind == "device":
        bad.symlink_to(os.devnull)
    elif kind == "dangling link":
        bad.symlink_to("nowhere.png")
    elif kind == "unreadable":
        bad.write_bytes(photo.read_bytes())
        bad.chmod(0)
        if os.access(bad, os.R_OK):  # root may read anything
            path_open = Path.open

            def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
                if path == bad:
                    raise PermissionError(errno.EACCES, "Permission denied")
                return path_open(path, *arguments, **options)

            access = os.access
            monkeypatch.setattr(Path, "open", refuse)
            monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != bad and access(path, *_, **__))
    before = listing(tmp_path)
    outcome = command("remove", bad, photo, "--model", "u2netp")
    assert outcome.status == 1
    line, summary = outcome.err
    assert summary.startswith("nss-wgpu: 2 images: 1 written, 0 skipped, 1 failed, in ")
    assert line.startswith(f"nss-wgpu: {bad}: ")
    assert message in line
    assert len(outcome.out) == 1
    assert listing(photo.parent) == ["photo.cutout.png", "photo.png"]
    assert listing(tmp_path) == before


def test_an_existing_output_is_refused_before_the_network_runs(command: Command, photo: Path, network: type) -> None:
    target = photo.with_name("photo.cutout.png")
    target.write_bytes(b"precious")
    outcome = command("remove", photo)
    assert outcome.status == 1
    assert outcome.err == [f"nss-wgpu: {target}: exists already; pass --exists overwrite to replace it"]
    assert target.read_bytes() == b"precious"
    assert network.opened == []  # type: ignore[attr-defined]
    assert command("remove", photo, "--overwrite").status == 0
    assert Image.open(target).mode == "RGBA"


def test_an_output_directory_that_is_not_writable(
    command: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: Listing
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.access(locked, os.W_OK):  # root may write anywhere
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    outcome = command("remove", photo, "-o", locked)
    assert outcome.status == 1
    assert outcome.err == [f"nss-wgpu: {locked / 'photo.cutout.png'}: the directory {locked} is not writable"]
    assert listing(locked) == []


def test_a_full_disk(command: Command, photo: Path, monkeypatch: pytest.MonkeyPatch, listing: Listing) -> None:
    second = photo.with_name("second.png")
    second.write_bytes(photo.read_bytes())
    fsync, calls = os.fsync, []

    def full_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_once)
    outcome = command("remove", photo, second, "--model", "u2netp", "--jobs", 1)
    assert outcome.status == 1
    target = photo.with_name("photo.cutout.png")
    assert outcome.err[:-1] == [f"nss-wgpu: {target}: cannot be written: No space left on device"]
    assert listing(photo.parent) == ["photo.png", "second.cutout.png", "second.png"]


def test_the_input_is_never_the_output(command: Command, photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    link = tmp_path / "link.png"
    link.hardlink_to(photo)
    for target in (photo, link):
        outcome = command("remove", photo, "-o", target, "--overwrite")
        assert outcome.status == 2
        assert len(outcome.err) == 1
        assert "never overwritten" in outcome.err[0]
    # neither when it is only the input of another image
    cutout = photo.with_name("photo.cutout.png")
    cutout.write_bytes(before)
    assert command("remove", photo, cutout, "--overwrite").status == 2
    assert photo.read_bytes() == cutout.read_bytes() == before


def test_a_mask_of_nan(command: Command, photo: Path, network: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "run", lambda *_, **__: {"1959": np.full((1, 1, 320, 320), np.nan, np.float32)})
    outcome = command("remove", photo, "--model", "u2netp")
    assert outcome.status == 1
    reason = "the network gave NaN or infinite values for this photo; a photo of one colour can do that"
    assert outcome.err == [f"nss-wgpu: {photo}: {reason}"]


def test_a_file_name_that_cannot_be_printed(command: Command, photo: Path) -> None:
    odd = photo.rename(photo.with_name(os.fsdecode(b"new\nline \xff.png")))
    outcome = command("remove", odd, "--model", "u2netp")
    assert outcome.status == 0
    (line,) = outcome.out
    assert f"{odd.parent}{os.sep}new\\nline " in line
    outcome = command("remove", odd, "--quiet")
    assert outcome.status == 1
    assert len(outcome.err) == 1


def run(
    *arguments: object, cwd: Path, environment: dict[str, str] | None = None, stdout: Any = subprocess.PIPE, **more: int
) -> subprocess.Popen[str]:
    """The real command on the real engine, in a process of its own."""
    models = str(cwd / "no models")
    offline = {"NSS_MODEL_DIR": models, "HF_HOME": models, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nss", *map(str, arguments)]
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, **offline, **(environment or {})}, text=True, **pipes)


KINDS = ["missing", "no ONNX", "empty", "truncated", "directory", "unknown name", "too large", "for no machine"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_none(
    command_on_the_engine: Command, photo: Path, tmp_path: Path, kind: str, listing: Listing
) -> None:
    model = tmp_path / "model.onnx"
    if kind == "no ONNX":
        model.write_bytes(b"these are not the bytes you are looking for")
    elif kind == "empty":
        model.touch()
    elif kind == "truncated":
        model.write_bytes((ROOT / "nss/models/weights/u2netp.onnx").read_bytes()[:1_000_000])
    elif kind == "directory":
        model.mkdir()
    elif kind in ("too large", "for no machine"):
        # 16 TB and 16 EB of one mask
        side = 2_000_000 if kind == "too large" else 2_000_000_000
        nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Resize", "m - - s", "y")]
        sizes = {"s": np.array([1, 1, side, side])}
        model.write_bytes(onnx_model(nodes, {"x": [1, 3, 64, 64]}, "y", sizes).SerializeToString())
    name = "u2net-extra-fine" if kind == "unknown name" else model
    outcome = command_on_the_engine("remove", photo, "--model", name)
    assert (outcome.status, outcome.out) == (3, [])
    (line,) = outcome.err
    assert line.startswith("nss-wgpu: ")
    assert str(name) in line
    assert listing(photo.parent) == ["photo.png"]


@pytest.mark.parametrize(
    ("name", "status", "word"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "terminated")],
)
def test_a_signal_leaves_whole_files_only(
    tmp_path: Path, listing: Listing, small: Path, name: str, status: int, word: str
) -> None:
    # whoever reads no further line of so long names holds the batch up
    photos, out, count = tmp_path / ("photos" * 20), tmp_path / ("out" * 40), 99
    photos.mkdir()
    out.mkdir()
    (photos / "00.png").write_bytes((EXAMPLES / "chelsea.png").read_bytes())
    for number in range(1, count):
        (photos / f"{number:02}.png").hardlink_to(photos / "00.png")
    process = run("remove", photos, "-o", out, "--model", small, "--backend=numpy", cwd=tmp_path, pipesize=4096)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert "00.png -> " in first
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    (line,) = err.splitlines()
    assert line.startswith(f"nss-wgpu: {word}: ")
    names = listing(out)
    assert 1 <= len(names) < count
    rest = f"run it again with --exists skip for the other {count - len(names)}"
    assert line == f"nss-wgpu: {word}: {len(names)} of {count} images written; {rest}"
    for file in names:
        assert file.endswith(".cutout.png")
        Image.open(out / file).load()
    assert len(listing(photos)) == count


def test_a_reader_that_stops_reading_is_no_traceback(tmp_path: Path, small: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.png").write_bytes((EXAMPLES / "chelsea.png").read_bytes())
    process = run("remove", photos, "--model", small, "--backend", "numpy", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["models", "list"], ["remove", "photo.png"]])
def test_standard_output_on_a_full_disk(photo: Path, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = run(*arguments, cwd=photo.parent, stdout=full)
    _, err = process.communicate(timeout=60)
    (line,) = [line for line in err.splitlines() if NOTHING not in line]
    assert line == "nss-wgpu: cannot write to standard output: No space left on device"
    assert process.returncode == 1


@pytest.mark.parametrize("missing", ["stdout", "stderr"])
def test_a_missing_stream_is_none_to_write_to(photo: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from nss.cli.main import main

    monkeypatch.setattr(sys, missing, None)
    assert main(["remove", str(photo), "--model", "u2netp"]) == 0
    assert main(["remove", str(photo), "--model", "u2netp"]) == 1  # it exists now


@pytest.mark.parametrize(
    ("model", "environment", "message"),
    [
        ("~nosuchuser/x.onnx", {}, "no model file ~nosuchuser/x.onnx: "),
        ("x" * 300, {}, f"no model file {'x' * 300}: File name too long; pass an ONNX file"),
        ("auto", {"NSS_MODEL_DIR": "~nosuchuser/x"}, "NSS_MODEL_DIR=~nosuchuser/x: there is no such home directory"),
        ("auto", {"NSS_MODEL_DIR": "x" * 300}, "cannot look for "),
    ],
)
def test_a_model_that_cannot_be_looked_for(
    command_on_the_engine: Command,
    monkeypatch: pytest.MonkeyPatch,
    photo: Path,
    listing: Listing,
    model: str,
    environment: dict[str, str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = command_on_the_engine("remove", photo, "--model", model)
    assert (outcome.status, outcome.out) == (3, [])
    (line,) = outcome.err
    assert line.startswith(f"nss-wgpu: {message}")
    assert listing(photo.parent) == ["photo.png"]


@pytest.mark.parametrize(
    ("model", "environment", "message"),
    [
        ("rmbg-1.4", {"HF_HUB_ETAG_TIMEOUT": "abc"}, "HF_HUB_ETAG_TIMEOUT=abc is no number of seconds"),
        ("rmbg-1.4", {"HF_HUB_ETAG_TIMEOUT": "0.5"}, "huggingface_hub cannot make sense of its settings ("),
    ],
)
def test_a_wrong_setting_of_another_library_is_named(
    photo: Path, model: str, environment: dict[str, str], message: str, listing: Listing
) -> None:
    process = run("remove", photo, "--model", model, cwd=photo.parent, environment=environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    (line,) = err.splitlines()
    assert line.startswith(f"nss-wgpu: {message}")
    assert listing(photo.parent) == ["photo.png"]


def test_a_model_too_large_for_the_memory(
    command: Command, photo: Path, network: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(network, "__init__", fail)
    outcome = command("remove", photo, "--model", "u2netp", "--json")
    assert outcome.status == 3
    (line,) = outcome.err
    assert line.endswith("u2netp.onnx: not enough memory to open this model")
    assert line == f"nss-wgpu: {json.loads(outcome.out[0])['error']}"


def test_an_address_is_no_file(command: Callable[..., Outcome]) -> None:
    outcome = command("remove", "https://example.org/a.jpg")
    assert outcome.status == 1
    assert outcome.err == [
        "nss-wgpu: https://example.org/a.jpg: is an address, and nothing is fetched; save the photo, and name its file"
    ]
