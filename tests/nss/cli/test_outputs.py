"""Where the results of the command go: devices, pipes, links, new directories, and never onto what it reads."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.nss.conftest import Outcome
from tests.project import ROOT

Command = Callable[..., Outcome]
Listing = Callable[[Path], list[str]]
Node = Callable[[str, int], Path]
EXISTS = [(), ("--overwrite",), ("--skip-existing",), ("--rename",)]


@pytest.fixture
def mask(tmp_path: Path, rgb: np.ndarray) -> Path:
    """A mask of the photo."""
    Image.fromarray(rgb[..., 0]).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "nss", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("exists", EXISTS)
def test_a_device_is_never_replaced(
    command: Command, photo: Path, mask: Path, device_node: Node, exists: tuple[str, ...]
) -> None:
    device = device_node("null", 3)
    outcome = command("remove", photo, "--mask", mask, "-o", device, *exists)
    assert (outcome.status, outcome.err) == (0, [])
    assert outcome.out[0].startswith(f"{photo} -> {device} (")
    assert json.loads(command("remove", photo, "--mask", mask, "-o", device, "--json", *exists).out[0])[
        "output"
    ] == str(device)
    assert stat.S_ISCHR(device.lstat().st_mode)


def test_a_link_to_a_device_among_the_outputs(
    command: Command, photo: Path, mask: Path, tmp_path: Path, device_node: Node, listing: Listing
) -> None:
    device, out = device_node("null", 3), tmp_path / "out"
    out.mkdir()
    (out / "photo.cutout.png").symlink_to(device)
    (out / "photo.preview.png").symlink_to(device)
    for name in ("remove", "preview"):
        outcome = command(name, photo, "--mask", mask, "-o", out, "--overwrite")
        assert (outcome.status, outcome.err) == (0, [])
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert all(path.is_symlink() for path in out.iterdir())
    outcome = command("remove", photo, "--mask", mask, "-o", out, "--sidecar")
    assert outcome.status == 2
    assert outcome.err == [
        f"nss-wgpu: --sidecar is for regular files, and {out / 'photo.cutout.png'} is none; leave it out"
    ]
    (out / "second.png.json").symlink_to(device)
    outcome = command("remove", photo, "--mask", mask, "-o", out / "second.png", "--sidecar")
    assert (outcome.status, len(outcome.err)) == (2, 1)
    (out / "second.png.json").unlink()
    assert listing(out) == ["photo.cutout.png", "photo.preview.png"]


def test_a_full_device_is_one_line(command: Command, photo: Path, mask: Path, device_node: Node) -> None:
    device = device_node("full", 7)
    outcome = command("remove", photo, "--mask", mask, "-o", device)
    assert (outcome.status, outcome.out) == (1, [])
    assert outcome.err == [f"nss-wgpu: {device}: cannot be written: {os.strerror(errno.ENOSPC)}"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no fifos on this system")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fifo_gets_the_picture(command: Command, photo: Path, mask: Path, tmp_path: Path, jobs: int) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    contents: list[bytes] = []
    reader = threading.Thread(target=lambda: contents.append(fifo.read_bytes()), daemon=True)
    reader.start()
    outcome = command("remove", photo, "--mask", mask, "-o", fifo, "--jobs", jobs)
    assert (outcome.status, outcome.err) == (0, [])
    reader.join(30)
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    with Image.open(io.BytesIO(contents[0])) as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no fifos on this system")
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_ctrl_c_ends_the_wait_for_the_reader_of_a_fifo(photo: Path, mask: Path, tmp_path: Path, jobs: int) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    script = """
        import sys
        from nss.files import output_file
        from nss.cli.main import main

        opened = output_file._open

        def tell(target):
            print("opening", file=sys.stderr, flush=True)
            return opened(target)

        output_file._open = tell
        sys.exit(main(sys.argv[1:]))
    """
    arguments = ["remove", str(photo), "--mask", str(mask), "-o", str(fifo), "--jobs", str(jobs)]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "opening\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "nss-wgpu: interrupted: 0 of 1 images written\n")
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system here")
def test_a_socket_is_one_line(
    command: Command, photo: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        outcome = command("remove", photo, "--mask", mask, "-o", "socket.png", "--overwrite")
        assert outcome.status == 1
        assert outcome.err == ["nss-wgpu: socket.png: is a socket, which takes no file; give the output another name"]
        assert stat.S_ISSOCK(Path("socket.png").lstat().st_mode)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="standard output has no name on this system")
def test_names_of_standard_output_are_standard_output(
    command: Command, photo: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("remove", photo, "--mask", mask, "-o", "/dev/stdout", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    with Image.open(io.BytesIO(out)) as image:
        assert image.format == "PNG"
    assert out.endswith(b"IEND\xaeB`\x82")  # and no line of text
    outcome = command("remove", photo, "--mask", mask, "-o", "/dev/stdout", "--json")
    assert outcome.status == 2
    assert "cannot share standard output" in outcome.err[0]
    monkeypatch.chdir(tmp_path)
    assert command("preview", photo, "--mask", mask, "-o", "/dev/stdout").status == 2


def test_standard_streams_that_are_the_input(photo: Path, mask: Path) -> None:
    before = photo.read_bytes()
    with photo.open("rb") as source:
        process = start("remove", "-", "--mask", mask, "-o", photo, "--overwrite", stdin=source)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.decode() == f"nss-wgpu: {photo}: is an input itself, which is never overwritten; give another output\n"
    with photo.open("ab") as sink:
        process = start("remove", photo, "--mask", mask, "-o", "-", stdout=sink)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.decode() == "nss-wgpu: standard output goes to a file that is read, which is never overwritten\n"
    assert photo.read_bytes() == before


@pytest.mark.parametrize("kind", ["mask", "mask directory", "background", "model", "hard link", "record"])
def test_nothing_that_is_read_is_overwritten(
    command: Command, photo: Path, mask: Path, tmp_path: Path, small: Path, listing: Listing, kind: str
) -> None:
    source, options = mask, ["--mask", str(mask)]
    output = mask
    if kind == "mask directory":
        source = output = tmp_path / "masks" / "photo.mask.png"
        source.parent.mkdir()
        shutil.copy(mask, source)
        options = ["--mask", str(source.parent), "--mask-only"]
    elif kind == "background":
        source = output = tmp_path / "background.png"
        shutil.copy(photo, source)
        options += ["--background", str(source)]
    elif kind == "model":
        source = output = small
        options = ["--model", str(small), "--format", "png"]
    elif kind == "hard link":
        output = tmp_path / "link.png"
        output.hardlink_to(mask)
    elif kind == "record":
        source = tmp_path / "out.png.json"
        shutil.copy(mask, source)
        output, options = tmp_path / "out.png", ["--mask", str(source), "--sidecar"]
    names, before = listing(tmp_path), source.read_bytes()
    outcome = command("remove", photo, *options, "-o", output, "--overwrite")
    (line,) = outcome.err
    assert outcome.status == 2, line
    assert "is an input itself, which is never overwritten" in line
    assert source.read_bytes() == before
    assert listing(tmp_path) == names


def test_a_model_of_the_catalogue_is_not_overwritten(
    command: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nss.models import local_models

    model = tmp_path / "hub" / "weights.onnx"
    model.parent.mkdir()
    shutil.copy(ROOT / "nss" / "models" / "weights" / "u2netp.onnx", model)
    monkeypatch.setattr(local_models, "locate", lambda _: ("builtin", model))
    before = model.read_bytes()
    outcome = command("remove", photo, "--model", "u2netp", "-o", model, "--format", "png", "--overwrite")
    assert outcome.status == 1
    assert (
        outcome.err[0]
        == f"nss-wgpu: {model}: is the input itself, which is never overwritten; give the output another name"
    )
    assert model.read_bytes() == before


def test_a_link_is_kept_and_its_file_replaced(command: Command, photo: Path, mask: Path, tmp_path: Path) -> None:
    file, link = tmp_path / "file.png", tmp_path / "link.png"
    link.symlink_to(file)
    file.write_bytes(b"old")
    arguments = ["remove", photo, "--mask", mask, "-o", link]
    assert command(*arguments).status == 1
    assert file.read_bytes() == b"old"
    assert command(*arguments, "--rename").status == 0
    assert (tmp_path / "link-2.png").is_file()
    assert command(*arguments, "--overwrite").status == 0
    assert link.is_symlink()
    assert Image.open(file).mode == "RGBA"


def test_a_trace_replaces_no_model(command: Command, small: Path) -> None:
    before = small.read_bytes()
    outcome = command("bench", small, "--backend", "numpy", "--runs", 1, "--trace", small)
    assert (outcome.status, outcome.out) == (2, [])
    assert small.read_bytes() == before


@pytest.mark.parametrize("name", ["remove", "preview"])
def test_new_directories(command: Command, photo: Path, mask: Path, tmp_path: Path, name: str) -> None:
    kind = {"remove": "cutout", "preview": "preview"}[name]
    second = photo.with_name("second.png")
    second.write_bytes(photo.read_bytes())
    arguments = [name, "--mask", mask]
    out = tmp_path / "new" / "out"
    assert command(*arguments, photo, "-o", out / "x.png").status == 2
    outcome = command(*arguments, photo, second, "-o", out)
    assert outcome.status == 2
    assert outcome.err[0].endswith(f"{out}{os.sep} has it made")
    assert not out.parent.exists()
    assert command(*arguments, photo, "-o", f"{out}{os.sep}").status == 0
    assert command(*arguments, photo, second, "-o", tmp_path / "b" / "out", "--parents").status == 0
    assert command(*arguments, photo.parent, "-o", tmp_path / "c" / "out", "--parents").status == 0
    assert command(*arguments, photo, "-o", tmp_path / "d" / "x.webp", "--parents").status == 0
    outputs = sorted(
        p.relative_to(tmp_path).as_posix()
        for folder in ("new", "b", "c", "d")
        for p in (tmp_path / folder).rglob("*.*")
    )
    assert outputs == [
        *(f"{folder}/out/{photo}.{kind}.png" for folder in "bc" for photo in ("photo", "second")),
        "d/x.webp",
        f"new/out/photo.{kind}.png",
    ]


def test_a_dry_run_makes_no_directory(command: Command, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    outcome = command("remove", photo, "-o", f"{out}{os.sep}", "--dry-run")
    assert outcome.out == [f"{photo} -> {out / 'photo.cutout.png'}"]
    assert not out.parent.exists()
    outcome = command("remove", "-", "-o", f"{out}{os.sep}")
    assert outcome.status == 2
    assert "standard input has no name to use" in outcome.err[0]


def test_an_output_without_o_says_what_to_write(
    command: Command, photo: Path, tmp_path: Path, listing: Listing
) -> None:
    output = tmp_path / "out.WebP"
    outcome = command("remove", photo, output)
    assert outcome.status == 2
    assert outcome.err == [f"nss-wgpu: {output}: no such file; if it is to be the output, write -o {output}"]
    assert listing(photo.parent) == ["photo.png"]
    # in this situation alone
    for others in ([output, tmp_path / "third.png"], [tmp_path / "missing.txt"]):
        outcome = command("remove", photo, *others, "--overwrite")
        assert outcome.status == 1
        assert outcome.err[0] == f"nss-wgpu: {others[0]}: no such file"
        assert photo.with_name("photo.cutout.png").is_file()


def test_records_in_directories_that_are_still_to_be_made(command: Command, photo: Path, tmp_path: Path) -> None:
    deeper = photo.parent / "a" / "b"
    deeper.mkdir(parents=True)
    shutil.copy(photo, deeper / "second.png")
    (tmp_path / "out").mkdir()
    outcome = command("remove", "-r", photo.parent, "-o", tmp_path / "out", "--sidecar")
    assert outcome.status == 0, outcome.err
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert files == [
        *("a/b/second.cutout.png", "a/b/second.cutout.png.json"),
        *("photo.cutout.png", "photo.cutout.png.json"),
    ]


def test_names_that_were_changed_are_said(command: Command, photo: Path, mask: Path) -> None:
    long = photo.with_name("n" * 250 + ".png")
    photo.rename(long)
    outcome = command("remove", long, "--mask", mask, "--sidecar")
    assert outcome.status == 0
    (output,) = photo.parent.glob("*.cutout.png")
    (line,) = outcome.err
    assert line.startswith(f"nss-wgpu: {long}: its name and .cutout.png are longer than the file system takes: ")
    assert line.endswith(f"shortened to {output.name}")
    assert output.with_name(f"{output.name}.json").is_file()
    record = json.loads(command("remove", long, "--mask", mask, "--json", "--quiet", "--rename").out[0])
    assert record["output"].endswith(".cutout-2.png")
    assert "shortened to" in record["notes"][0]
    assert command("remove", long, "--mask", mask, "--skip-existing").out[0].endswith(f"{output} exists")


def test_photos_of_one_stem_are_done_and_that_is_said_once(
    command: Command, photo: Path, mask: Path, listing: Listing
) -> None:
    for name in ("photo.jpg", "a.png", "a.bmp", "other.png"):
        shutil.copy(photo, photo.with_name(name))
    outcome = command("remove", photo.parent, "--mask", mask)
    assert outcome.status == 0
    assert len(outcome.err) == 2
    assert outcome.err[0].startswith("nss-wgpu: 4 photos have the stem of another one, and keep their extension: ")
    assert [name for name in listing(photo.parent) if "cutout" in name] == [
        *("a.bmp.cutout.png", "a.png.cutout.png", "other.cutout.png", "photo.jpg.cutout.png", "photo.png.cutout.png"),
    ]
    assert command("remove", photo.parent, "--mask", mask, "--quiet", "--overwrite").err == []
