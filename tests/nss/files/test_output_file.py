"""Where a file goes: whole under its name, through a link, into a device; never onto a file that is read."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import nss
from nss.cutouts.compose import Composition
from nss.errors import ImageError, UsageError
from nss.files import export, output_file
from nss.files.formats import Encoding
from nss.files.output_file import ExistsError, InputFiles, check, place
from nss.files.picture import Picture

Listing = Callable[[Path], list[str]]
Node = Callable[[str, int], Path]

PICTURE = Picture(np.random.default_rng(5).integers(0, 256, (33, 47, 4), dtype=np.uint8))
PNG = Encoding("png")


def fill(file: IO[bytes]) -> None:
    file.write(b"new")
    output_file.sync(file)


def reader(fifo: Path) -> tuple[threading.Thread, list[bytes]]:
    """A thread that reads a fifo to its end, and what it has read."""
    contents: list[bytes] = []
    thread = threading.Thread(target=lambda: contents.append(fifo.read_bytes()), daemon=True)
    thread.start()
    return thread, contents


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no fifos on this system")
    os.mkfifo(tmp_path / "fifo.png")
    return tmp_path / "fifo.png"


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_is_written_through(device_node: Node, tmp_path: Path, linked: bool, overwrite: bool) -> None:
    device = target = device_node("null", 3)
    if linked:
        target = tmp_path / "link"
        target.symlink_to(device)
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208 - names, not paths
    assert export.write(PICTURE, target, encoding=PNG, overwrite=overwrite) == target
    assert export.write_bytes(b"record", target, overwrite=overwrite) == target
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert target.is_symlink() == linked
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208


def test_a_device_that_is_full_says_so(device_node: Node) -> None:
    device = device_node("full", 7)
    with pytest.raises(ImageError) as failure:
        export.write(PICTURE, device, encoding=PNG)
    assert str(failure.value) == f"{device}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert stat.S_ISCHR(device.lstat().st_mode)


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_gets_the_verified_bytes(fifo: Path, tmp_path: Path, linked: bool) -> None:
    target = fifo
    if linked:
        target = tmp_path / "link.png"
        target.symlink_to(fifo)
    thread, contents = reader(fifo)
    export.write(PICTURE, target)
    thread.join(30)
    assert contents == [export.encode(PICTURE, PNG)]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


def test_nothing_goes_through_that_does_not_decode(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ImageError("not what it should be")

    monkeypatch.setattr(export, "verify_file", refuse)
    monkeypatch.setattr(output_file, "write_through", lambda *_: pytest.fail("written"))
    with pytest.raises(ImageError, match="not what it should be"):
        export.write(PICTURE, fifo)


def test_a_socket_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no sockets in the file system here")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for overwrite in (False, True):
            with pytest.raises(ImageError, match=r"socket\.png: is a socket, which takes no file"):
                place(fill, Path("socket.png"), overwrite=overwrite)
        assert stat.S_ISSOCK(Path("socket.png").lstat().st_mode)


def test_what_becomes_a_file_before_it_is_opened_is_kept(fifo: Path) -> None:
    fifo.unlink()
    fifo.write_bytes(b"precious")
    with pytest.raises(ExistsError):
        output_file.write_through(b"new", fifo)
    assert fifo.read_bytes() == b"precious"


def test_what_becomes_a_device_while_the_file_is_made_is_not_replaced(tmp_path: Path, listing: Listing) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def replace(file: IO[bytes]) -> None:
        fill(file)
        target.unlink()
        os.mkfifo(target)

    with pytest.raises(ImageError, match="is no regular file any more"):
        place(replace, target, overwrite=True)
    assert stat.S_ISFIFO(target.lstat().st_mode)
    assert listing(tmp_path) == ["out.png"]


@pytest.mark.skipif(os.name != "posix", reason="descriptors have no names on this system")
@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_an_open_descriptor_is_written_where_it_stands(tmp_path: Path, folder: str) -> None:
    if not Path(folder).is_dir():
        pytest.skip(f"no {folder} on this system")
    file = tmp_path / "out.bin"
    with file.open("wb") as sink:
        sink.write(b"before ")
        sink.flush()
        (tmp_path / "link").symlink_to(f"{folder}/{sink.fileno()}")
        assert output_file.descriptor_of(tmp_path / "link") == sink.fileno()
        place(fill, Path(folder) / str(sink.fileno()))
        place(fill, tmp_path / "link")
    assert file.read_bytes() == b"before newnew"
    with file.open("rb") as source, pytest.raises(ImageError, match="cannot be written: Bad file descriptor"):
        place(fill, Path(folder) / str(source.fileno()))


def test_a_number_is_no_descriptor(tmp_path: Path) -> None:
    assert place(fill, tmp_path / "1").read_bytes() == b"new"


@pytest.mark.parametrize("relative", [False, True])
def test_a_link_is_kept_and_what_it_leads_to_replaced(tmp_path: Path, listing: Listing, relative: bool) -> None:
    (tmp_path / "far").mkdir()
    file, link, second = tmp_path / "far" / "file.png", tmp_path / "link.png", tmp_path / "second.png"
    link.symlink_to(Path("far") / "file.png" if relative else file)
    second.symlink_to(link)
    file.write_bytes(b"old")
    for name in (link, second):
        with pytest.raises(ExistsError, match=f"{name}: exists already"):
            place(fill, name)
    assert file.read_bytes() == b"old"
    assert place(fill, second, overwrite=True) == second
    assert file.read_bytes() == b"new"
    assert link.is_symlink()
    assert second.is_symlink()
    assert listing(tmp_path / "far") == ["file.png"]
    assert listing(tmp_path) == ["far", "link.png", "second.png"]


def test_a_link_that_leads_nowhere(tmp_path: Path, listing: Listing) -> None:
    link, nowhere, circle = tmp_path / "link", tmp_path / "nowhere", tmp_path / "circle"
    link.symlink_to("file")
    nowhere.symlink_to("missing/file")
    circle.symlink_to("circle")
    with pytest.raises(ExistsError):
        place(fill, link)
    place(fill, link, overwrite=True)
    assert (tmp_path / "file").read_bytes() == b"new"
    for target, message in ((nowhere, "missing does not exist"), (circle, "cannot be written: ")):
        with pytest.raises(ImageError, match=message):
            place(fill, target, overwrite=True)
    assert listing(tmp_path) == ["circle", "file", "link", "nowhere"]
    assert all(path.is_symlink() for path in (link, nowhere, circle))


def test_alternatives_are_taken_in_their_order(tmp_path: Path, listing: Listing) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"old")
    names: Iterator[Path] = iter([tmp_path / "b", tmp_path / "c", tmp_path / "d"])
    assert place(fill, tmp_path / "a", alternatives=names) == tmp_path / "c"
    assert listing(tmp_path) == ["a", "b", "c"]
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"old", b"old", b"new"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_renamed_meanwhile_gets_nothing(tmp_path: Path, listing: Listing, overwrite: bool) -> None:
    if os.link not in os.supports_dir_fd:
        pytest.skip("this system has no descriptors of directories")
    (tmp_path / "out").mkdir()

    def rename(file: IO[bytes]) -> None:
        fill(file)
        (tmp_path / "out").rename(tmp_path / "moved")

    with pytest.raises(ImageError) as failure:
        place(rename, tmp_path / "out" / "x.png", overwrite=overwrite)
    directory = tmp_path / "out"
    assert str(failure.value) == f"{directory / 'x.png'}: the directory {directory} was moved or removed meanwhile"
    assert listing(tmp_path) == ["moved"]
    assert listing(tmp_path / "moved") == []


def test_systems_without_descriptors_of_directories(
    tmp_path: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())
    place(fill, tmp_path / "a")
    place(fill, tmp_path / "a", overwrite=True)
    with pytest.raises(ExistsError):
        place(fill, tmp_path / "a")
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    place(fill, tmp_path / "b")
    with pytest.raises(ExistsError):
        place(fill, tmp_path / "b")
    assert listing(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("kind", ["itself", "link", "hard link", "dots", "relative", "descriptor"])
def test_inputs_are_known_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / "in").mkdir()
    file, target = tmp_path / "in" / "file", tmp_path / "other"
    file.write_bytes(b"precious")
    monkeypatch.chdir(tmp_path)
    if kind == "itself":
        target = file
    elif kind == "link":
        target.symlink_to(file)
    elif kind == "hard link":
        target.hardlink_to(file)
    elif kind == "dots":
        target = tmp_path / "in" / ".." / "in" / "file"
    elif kind == "relative":
        target = Path("in/file")
    with file.open("rb") as handle:
        inputs = InputFiles([handle.fileno()] if kind == "descriptor" else [tmp_path / "missing", file])
        target = file if kind == "descriptor" else target
        for refusal in (
            lambda: check(target, inputs=inputs, may_exist=True),
            lambda: place(fill, target, inputs=inputs),
        ):
            with pytest.raises(UsageError, match="is the input itself, which is never overwritten"):
                refusal()
    assert file.read_bytes() == b"precious"
    assert tmp_path / "missing" not in inputs


def test_a_cut_out_overwrites_nothing_that_it_was_made_of(photo: Path, tmp_path: Path, rgb: np.ndarray) -> None:
    mask, background = tmp_path / "mask.png", tmp_path / "background.png"
    export.write(Picture(rgb[..., 0]), mask)
    export.write(Picture(rgb), background)
    cutout = nss.apply_mask(photo, mask)
    for path in (photo, mask, background):
        before = path.read_bytes()
        with pytest.raises(UsageError, match="never overwritten"):
            cutout.save(path, composition=Composition(background=str(background)), overwrite=True)
        assert path.read_bytes() == before
    cutout.save(background, overwrite=True)  # of another composition
