"""Frames by standard input and standard output are what `nss.Remover` makes of them, in order, or the film ends."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from nss.batch.frames import ByteStream, png_frames
from nss.cli.commands.stream import NOT_IN_A_STREAM
from nss.cli.main import main
from tests.project import ROOT

WIDTH, HEIGHT, COUNT = 64, 48, 10
FFMPEG = shutil.which("ffmpeg")
with_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg on this machine")
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals, and terminals that a program can make")


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    """uint8 NxHxWx3: a light disc that moves over noise."""
    rng = np.random.default_rng(3)
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    frames = rng.integers(0, 90, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[(x - 15 - 3 * i) ** 2 + (y - 24) ** 2 < 150] = 230
    return frames


@dataclass(frozen=True)
class Streamed:
    status: int
    out: bytes
    err: list[str]

    def raw(self, channels: int) -> np.ndarray:
        return np.frombuffer(self.out, np.uint8).reshape(-1, HEIGHT, WIDTH, channels)

    def pngs(self) -> list[np.ndarray]:
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as file:
            assert len(self.out) < 1 << 16, "more than a pipe holds"
            file.write(self.out)
        frames = list(png_frames(ByteStream(reader)))
        os.close(reader)
        return [np.asarray(Image.open(io.BytesIO(frame.content))) for frame in frames]


Stream = Callable[..., Streamed]


@pytest.fixture
def stream(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Stream:
    """Run ``nss-wgpu stream`` in this process with these bytes as standard input."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # which commands move

    def run(data: bytes, *arguments: str) -> Streamed:
        (tmp_path / "stdin").write_bytes(data)
        capsysbinary.readouterr()
        with (tmp_path / "stdin").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            status = main(["stream", "--model", str(small), "--backend", "numpy", *arguments])
        captured = capsysbinary.readouterr()
        lines = captured.err.decode().splitlines()
        assert not [line for line in lines if not line.startswith("nss-wgpu: ")]
        return Streamed(status, captured.out, [line.removeprefix("nss-wgpu: ") for line in lines])

    return run


def cutouts(small: Path, film: np.ndarray, refinement: nss.Refinement | None = None) -> list[nss.Cutout]:
    with nss.Remover(small, backend="numpy") as remover:
        return [remover.remove(frame, refinement=refinement) for frame in film]


def pngs(film: np.ndarray) -> bytes:
    file = io.BytesIO()
    for frame in film:
        Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


RAW = ("--stdin-format", "rgb24", "--size", f"{WIDTH}x{HEIGHT}")


def test_raw_frames_with_alpha(stream: Stream, film: np.ndarray, small: Path) -> None:
    outcome = stream(film.tobytes(), *RAW, "--stdout-format", "rgba", "--feather", "1")
    assert outcome.status == 0
    assert [line for line in outcome.err if line.startswith(f"{COUNT} frames in ")] == outcome.err[-1:]
    expected = [cutout.rgba for cutout in cutouts(small, film, nss.Refinement(feather=1))]
    np.testing.assert_array_equal(outcome.raw(4), expected)


def test_png_frames(stream: Stream, film: np.ndarray, small: Path) -> None:
    outcome = stream(pngs(film[:4]), "-q")
    assert (outcome.status, outcome.err) == (0, [])
    np.testing.assert_array_equal(outcome.pngs(), [cutout.rgba for cutout in cutouts(small, film[:4])])


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_masks_for_any_number_at_a_time(stream: Stream, film: np.ndarray, small: Path, jobs: str) -> None:
    outcome = stream(film.tobytes(), *RAW, "--stdout-format", "gray", "-j", jobs, "--memory", "1M")
    expected = [cutout.rgba[..., 3:] for cutout in cutouts(small, film)]
    np.testing.assert_array_equal(outcome.raw(1), expected)


def test_frames_on_a_background(stream: Stream, film: np.ndarray, small: Path) -> None:
    composition = nss.Composition(background="#204060")
    expected = [cutout.composed(composition).picture.pixels for cutout in cutouts(small, film[:2])]
    arguments = (*RAW, "--background", "#204060", "--stdout-format")
    np.testing.assert_array_equal(stream(film[:2].tobytes(), *arguments, "rgb24").raw(3), expected)
    opaque = stream(film[:2].tobytes(), *arguments, "rgba").raw(4)
    np.testing.assert_array_equal(opaque[..., :3], expected)
    assert (opaque[..., 3] == 255).all()


def test_frames_with_an_alpha_of_their_own(stream: Stream, film: np.ndarray, small: Path) -> None:
    alpha = np.full((2, HEIGHT, WIDTH, 1), 128, np.uint8)
    frames = np.concatenate([film[:2], alpha], axis=3)
    outcome = stream(
        frames.tobytes(), "--stdin-format", "rgba", "--size", f"{WIDTH}x{HEIGHT}", "--stdout-format", "rgba"
    )
    np.testing.assert_array_equal(outcome.raw(4), [cutout.rgba for cutout in cutouts(small, frames)])


def test_what_came_whole_is_written(stream: Stream, film: np.ndarray) -> None:
    outcome = stream(film.tobytes()[:-100], *RAW, "--stdout-format", "gray", "-q")
    assert outcome.status == 1
    assert len(outcome.out) == (COUNT - 1) * WIDTH * HEIGHT
    nbytes = WIDTH * HEIGHT * 3
    assert outcome.err == [
        f"<standard input>: ends within frame {COUNT}, after {nbytes - 100:,} of its {nbytes:,} bytes ({WIDTH} x "
        f"{HEIGHT} pixels of 3 bytes; does the size fit?)"
    ]


def test_a_damaged_frame_ends_the_film(stream: Stream, film: np.ndarray) -> None:
    good = pngs(film[:1])
    bad = bytearray(good)
    bad[41] = 0  # the first byte of the compressed pixels
    outcome = stream(good * 3 + bytes(bad) + good * 3, "-q")
    assert outcome.status == 1
    assert len(outcome.pngs()) == 3
    (line,) = outcome.err
    assert line.startswith("frame 4: truncated or damaged PNG image (")


def test_a_frame_that_the_network_fails_at_has_its_number(
    stream: Stream, film: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nss.masks import sanity

    calls = []

    def check(_: np.ndarray, name: str) -> None:
        calls.append(name)
        if len(calls) == 3:
            raise nss.ImageError(f"{name}: the model gave no mask")

    monkeypatch.setattr(sanity, "check_structure", check)
    outcome = stream(film.tobytes(), *RAW, "--stdout-format", "gray", "-q")
    assert (outcome.status, outcome.err) == (1, ["frame 3: the model gave no mask"])
    assert len(outcome.out) == 2 * WIDTH * HEIGHT


def test_raw_frames_of_two_sizes(stream: Stream, film: np.ndarray) -> None:
    frames = pngs(film[:2]) + pngs(film[:1, :20])
    assert stream(frames, "-q").status == 0
    outcome = stream(frames, "--stdout-format", "gray", "-q")
    assert (outcome.status, len(outcome.out)) == (1, 2 * WIDTH * HEIGHT)
    assert outcome.err == [
        "frame 3: is 64 x 20, and those before it 64 x 48; raw frames have one size, those of --stdout-format png may "
        "differ"
    ]


def test_a_note_is_said_of_one_frame(stream: Stream) -> None:
    grey = io.BytesIO()
    for _ in range(3):
        Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000).save(grey, "PNG")
    outcome = stream(grey.getvalue())
    notes = [line for line in outcome.err if "16-bit" in line]
    assert notes == ["frame 1: 16-bit reduced to 8 (of other frames this is not said)"]


def test_no_frames(stream: Stream) -> None:
    assert stream(b"", "-q") == Streamed(1, b"", ["<standard input>: is empty, and has no frames"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--size", "64x48"], "--size is for raw frames, and PNG files say theirs: leave it out"),
        (["--stdin-format", "rgb24"], "--stdin-format rgb24 wants --size, width and height as in 1920x1080"),
        (
            ["--stdin-format", "rgba", "--size", "64"],
            "--stdin-format rgba wants --size, width and height as in 1920x1080, and 64 is none",
        ),
        (["--stdin-format", "rgb24", "--size", "0x9"], "--stdin-format rgb24 wants --size"),
        (["--stdin-format", "rgb24", "--size", "99999x99999"], "--size: 99999 x 99999 pixels are more than 300 mega"),
        (["--stdout-format", "rgb24"], "--stdout-format rgb24 has no transparency; give a --background, or take rgba"),
        (["--stdout-format", "rgba", "--mask-only"], "--mask-only and --stdout-format rgba exclude each other"),
        (["--stdout-format", "gray", "--background", "red"], "a mask alone has no background"),
        (["--memory", "some"], "--memory some: is no size"),
        (["--crop", "3"], "--crop is not for stream: all frames of a film have one size"),
        (["--mask", "x.png"], "--mask is not for stream: a network makes the mask of each frame"),
    ],
)
def test_what_cannot_be(stream: Stream, arguments: list[str], line: str) -> None:
    outcome = stream(b"", *arguments)
    assert (outcome.status, outcome.out) == (2, b"")
    assert outcome.err[0].startswith(line)
    assert NOT_IN_A_STREAM


def process(folder: Path, small: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nss", "stream", "--model", small, "--backend", "numpy", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@posix
def test_frames_come_out_while_others_go_in_and_ctrl_c_ends_it(film: np.ndarray, small: Path, tmp_path: Path) -> None:
    child = process(tmp_path, small, *RAW, "--stdout-format", "gray", "-q")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(film.tobytes())
    child.stdin.flush()
    masks = child.stdout.read(COUNT * WIDTH * HEIGHT)  # though standard input has no end yet
    assert len(masks) == COUNT * WIDTH * HEIGHT
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, b"")
    assert err.decode().splitlines() == [f"nss-wgpu: interrupted: {COUNT} frames written"]


@posix
def test_ctrl_c_in_the_middle_leaves_whole_frames(film: np.ndarray, small: Path, tmp_path: Path) -> None:
    child = process(tmp_path, small, *RAW, "--stdout-format", "gray", "-q")
    assert child.stdin is not None
    assert child.stdout is not None
    stdin, nbytes = child.stdin, WIDTH * HEIGHT

    def send() -> None:
        with suppress(BrokenPipeError):
            while True:
                stdin.write(film.tobytes())

    sender = threading.Thread(target=send)
    sender.start()
    before = child.stdout.read(20 * nbytes)
    child.send_signal(signal.SIGINT)
    out = before + child.stdout.read()
    assert child.wait(60) == 130
    sender.join()
    with suppress(BrokenPipeError):
        stdin.close()
    assert child.stderr is not None
    lines = child.stderr.read().decode().splitlines()
    assert len(out) % nbytes == 0
    assert lines == [f"nss-wgpu: interrupted: {len(out) // nbytes} frames written"]
    np.testing.assert_array_equal(*(np.frombuffer(out, np.uint8)[i * COUNT * nbytes :][:nbytes] for i in (0, 1)))
    child.stdout.close()
    child.stderr.close()


@posix
def test_a_reader_that_goes_is_no_failure(film: np.ndarray, small: Path, tmp_path: Path) -> None:
    child = process(tmp_path, small, *RAW, "--stdout-format", "rgba", "-q")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.close()
    try:
        child.stdin.write(film.tobytes() * 40)
        child.stdin.close()
    except BrokenPipeError:
        pass  # it ended before all had come
    assert child.stderr is not None
    assert (child.wait(60), child.stderr.read()) == (141, b"")
    child.stderr.close()


@posix
def test_terminals_are_refused(tmp_path: Path) -> None:
    import pty

    leader, terminal = pty.openpty()
    try:
        for streams, word in (({"stdin": terminal}, "input"), ({"stdout": terminal}, "output")):
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **streams}
            command = [sys.executable, "-m", "nss", "stream"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            outcome = subprocess.run(
                command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, timeout=60, **pipes
            )
            assert outcome.returncode == 2
            assert outcome.stderr.startswith(f"nss-wgpu: standard {word} is a terminal")
    finally:
        os.close(leader)
        os.close(terminal)


def ffmpeg(*arguments: str, stdin: bytes | None = None) -> bytes:
    command = [str(FFMPEG), "-v", "error", "-nostdin" if stdin is None else "-y", *arguments]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, timeout=60).stdout


@with_ffmpeg
@pytest.mark.parametrize("kind", ["png", "raw"])
def test_between_two_ffmpegs(kind: str, stream: Stream, small: Path) -> None:
    """Each writes what the next one reads; decoded again, frames are those that `nss.Remover` makes."""
    test_film = ("-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=10", "-frames:v", str(COUNT))
    raw = ("-f", "rawvideo", "-pix_fmt")
    film = np.frombuffer(ffmpeg(*test_film, *raw, "rgb24", "-"), np.uint8).reshape(COUNT, HEIGHT, WIDTH, 3)
    if kind == "png":
        frames = ffmpeg(*test_film, "-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "png", "-")
        outcome = stream(frames, "-q")
        source = ("-f", "image2pipe", "-c:v", "png")
    else:
        outcome = stream(film.tobytes(), *RAW, "--stdout-format", "rgba", "-q")
        source = (*raw, "rgba", "-video_size", f"{WIDTH}x{HEIGHT}")
    assert (outcome.status, outcome.err) == (0, [])
    decoded = ffmpeg(*source, "-i", "-", *raw, "rgba", "-", stdin=outcome.out)
    cut_out = np.frombuffer(decoded, np.uint8).reshape(-1, HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(cut_out, [cutout.rgba for cutout in cutouts(small, film)])
