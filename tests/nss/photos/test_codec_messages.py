"""What decoders in C write to standard error: told with the file's name by a command, and left alone by the library."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.errors import ImageError
from nss.photos import codec_messages, image_io
from nss.photos.image_file import open_image
from tests.nss.child import run_child
from tests.project import ROOT

SAYS = "the codec says: Fax4Decode: "


def fax(path: Path, *, damaged: bool = True) -> Path:
    """A TIFF file of CCITT group 4, whose damage libtiff passes over with a line on standard error."""
    dots = np.random.default_rng(3).random((300, 400)) < 0.04
    file = io.BytesIO()
    Image.fromarray(dots).save(file, "TIFF", compression="group4")
    data = bytearray(file.getvalue())
    for offset in range(200, len(data) - 300, 37) if damaged else ():
        data[offset] ^= 0x5A
    path.write_bytes(data)
    return path


def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_child([sys.executable, "-m", "nss", *arguments], folder=folder, **environment)


@contextmanager
def standard_error(folder: Path) -> Iterator[Path]:
    """What is written to descriptor 2 of this process, in a file; no fixture, since pytest sets it for each phase."""
    descriptor, path = os.dup(2), folder / "standard error"
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield path
        finally:
            os.dup2(descriptor, 2)
            os.close(descriptor)


def test_the_command_names_the_file(tmp_path: Path) -> None:
    fax(tmp_path / "a.tif")
    fax(tmp_path / "b.tif", damaged=False)
    outcome = run("check", "a.tif", "b.tif", folder=tmp_path)
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"nss-wgpu: a.tif: {SAYS}")
    assert line.endswith(" more lines)")
    assert (outcome.returncode, len(outcome.stdout.splitlines())) == (0, 2)


def test_a_mask_and_a_photo_are_named_each(tmp_path: Path) -> None:
    fax(tmp_path / "photo.tif")
    fax(tmp_path / "mask.tif")
    arguments = ("remove", "photo.tif", "--mask", "mask.tif", "--overwrite")
    outcome = run(*arguments, folder=tmp_path)
    assert [line.split(SAYS)[0] for line in outcome.stderr.splitlines()] == [
        "nss-wgpu: photo.tif: ",
        "nss-wgpu: mask.tif: ",
    ]
    assert run(*arguments, "--quiet", folder=tmp_path).stderr == ""
    assert run(*arguments, "--quiet", folder=tmp_path, NSS_DEBUG="1").stderr.startswith("Fax4Decode: ")


def test_the_library_leaves_standard_error_alone(tmp_path: Path) -> None:
    with standard_error(tmp_path) as errors:
        image_io.load(fax(tmp_path / "a.tif"))
        assert os.path.samestat(os.fstat(2), errors.stat())
    assert errors.read_bytes().startswith(b"Fax4Decode: ")


@contextmanager
def captured_notes() -> Iterator[list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    with codec_messages.capture(lambda name, note: lines.append((name, note))):
        yield lines


def fail() -> None:
    os.write(2, b"why it is broken\n")
    raise ValueError("broken")


def test_it_is_part_of_the_error_where_the_file_cannot_be_read(tmp_path: Path) -> None:
    path = fax(tmp_path / "a.tif", damaged=False)
    with standard_error(tmp_path) as errors, captured_notes() as lines:
        with pytest.raises(ImageError) as failure, open_image(path):
            fail()
        assert os.path.samestat(os.fstat(2), errors.stat())
    expected = f"{path}: truncated or damaged TIFF image (broken; the codec says: why it is broken)"
    assert (str(failure.value), lines, errors.read_bytes()) == (expected, [], b"")


def test_all_are_named_where_several_are_read_at_a_time(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "d.png")
    with (
        standard_error(tmp_path) as errors,
        captured_notes() as lines,
        open_image(tmp_path / "d.png"),
    ):  # whose codec is silent
        with codec_messages.messages_of("b.tif", "TIFF"), codec_messages.messages_of("c.avif", "AVIF"):
            image_io.load(fax(tmp_path / "a.tif"))
        image_io.load(fax(tmp_path / "a.tif"))
    (name, first), (_, second) = lines
    assert name == str(tmp_path / "a.tif")
    assert first.startswith("the codec of this file or of b.tif, c.avif says: Fax4Decode: ")
    assert second.startswith(SAYS)
    assert errors.read_bytes() == b""


def test_from_many_threads_nothing_is_lost_and_standard_error_comes_back(tmp_path: Path) -> None:
    count, rounds = 6, 30

    def read_file(number: int) -> None:
        for turn in range(rounds):
            with codec_messages.messages_of(f"{number}", "TIFF") as messages:
                os.write(2, f"{number}:{turn}\n".encode())
                lines.extend(messages())

    lines: list[str] = []
    with standard_error(tmp_path) as errors, captured_notes():
        threads = [threading.Thread(target=read_file, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.write(2, b"not of a decoder\n")
    assert errors.read_bytes() == b"not of a decoder\n"
    first = [line.split(" says: ")[1].split(" (and ")[0] for line in lines]
    assert len(first) == len(set(first))
    more = sum(int(line.split(" (and ")[1].split()[0]) for line in lines if " (and " in line)
    assert len(first) + more == count * rounds


def test_what_is_said_while_messages_are_read_is_told_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_file = os.read

    def read_as_another_speaks(descriptor: int, size: int) -> bytes:
        data = read_file(descriptor, size)
        if data == b"first\n":
            os.write(2, b"second\n")
        return data

    with standard_error(tmp_path), captured_notes(), codec_messages.messages_of("a.tif", "TIFF") as messages:
        os.write(2, b"first\n")
        monkeypatch.setattr(os, "read", read_as_another_speaks)
        assert messages() == ["the codec says: first"]
        assert messages() == ["the codec says: second"]
        assert messages() == []


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_what_is_said_of_a_file_that_cannot_be_written_is_one_line(photo: Path) -> None:
    """libtiff has two lines of its own for a full disk."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(photo)
    Image.new("L", (300, 300), 9).save(photo.parent / "mask.png")
    script = (
        "import resource, signal, sys\nfrom nss.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (40960, 40960))\n"
        "sys.exit(main(['remove', 'photo.png', '--mask', 'mask.png', '--format', 'tiff']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=photo.parent, env=environment, capture_output=True, text=True, timeout=60
    )
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("nss-wgpu: photo.cutout.tif: cannot be written: ")
    assert outcome.returncode == 1


def test_what_pillow_logs_beside_its_error_is_no_line_of_its_own(tmp_path: Path) -> None:
    """A TIFF of 2,048 samples a pixel; in a process of its own, since pytest handles what is logged."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "TIFF")
    samples = (277).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    assert file.getvalue().count(samples) == 1
    damaged = file.getvalue().replace(samples + (3).to_bytes(2, "little"), samples + (2048).to_bytes(2, "little"))
    (tmp_path / "a.tif").write_bytes(damaged)
    outcome = run("check", "a.tif", folder=tmp_path)
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("nss-wgpu: a.tif: ")
    assert outcome.returncode == 1
