"""A file that takes its name only when it is whole, and nothing beside it when it does not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import nss
from nss import export
from nss.errors import ImageError, NssError, UsageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ROOT = Path(nss.__file__).parents[1]


@pytest.fixture
def rgba() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (33, 47, 4), dtype=np.uint8)


def fail_with(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("icc", [None, SRGB], ids=["no profile", "sRGB"])
def test_pixels_alpha_and_profile_come_back(rgba: np.ndarray, icc: bytes | None, tmp_path: Path) -> None:
    rgba[:5, :, 3] = 0  # colour under alpha 0 stays
    export.write(rgba, tmp_path / "out.PNG", icc=icc)
    written = Image.open(tmp_path / "out.PNG")
    assert written.format == "PNG"
    assert np.array_equal(np.asarray(written), rgba)
    assert written.info.get("icc_profile") == icc
    assert not written.getexif()


def test_only_png_so_far(rgba: np.ndarray, tmp_path: Path) -> None:
    for name in ("out.webp", "out.jpg", "out"):
        with pytest.raises(UsageError, match="only PNG"):
            export.write(rgba, tmp_path / name)


def test_an_existing_file_is_kept_unless_told_otherwise(rgba: np.ndarray, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    with pytest.raises(ImageError, match="exists already; pass --overwrite"):
        export.write(rgba, target)
    assert target.read_bytes() == b"precious"
    export.write(rgba, target, overwrite=True)
    assert np.array_equal(np.asarray(Image.open(target)), rgba)
    (tmp_path / "link.png").symlink_to("nowhere")
    with pytest.raises(ImageError, match="exists already"):
        export.write(rgba, tmp_path / "link.png")


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(
    rgba: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hard_links: bool,
    listing: Callable[[Path], list[str]],
) -> None:
    target = tmp_path / "out.png"
    if not hard_links:
        monkeypatch.setattr(os, "link", fail_with(OSError(errno.EPERM, "Operation not permitted")))
    monkeypatch.setattr(os, "fsync", lambda _: target.write_bytes(b"precious"))
    with pytest.raises(ImageError, match="exists already"):
        export.write(rgba, target)
    assert target.read_bytes() == b"precious"
    assert listing(tmp_path) == ["out.png"]


def test_file_systems_without_hard_links(
    rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: Callable[[Path], list[str]]
) -> None:
    monkeypatch.setattr(os, "link", fail_with(OSError(errno.EPERM, "Operation not permitted")))
    export.write(rgba, tmp_path / "out.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), rgba)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_with(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            export.write(rgba, tmp_path / "second.png")
    assert listing(tmp_path) == ["out.png"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ImageError),
        (OSError(errno.EIO, "Input/output error"), ImageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
    ids=["disk full", "disk error", "Ctrl-C", "memory"],
)
@pytest.mark.parametrize("where", ["Image.save", "os.fsync", "check_png"])
def test_nothing_is_left_by_a_failure(
    rgba: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listing: Callable[[Path], list[str]],
    overwrite: bool,
    failure: BaseException,
    raised: type[BaseException],
    where: str,
) -> None:
    target = tmp_path / "out.png"
    if overwrite:
        target.write_bytes(b"precious")
    owner, name = {"Image.save": (Image.Image, "save"), "os.fsync": (os, "fsync"), "check_png": (export, "check_png")}[
        where
    ]
    monkeypatch.setattr(owner, name, fail_with(failure))
    with pytest.raises(raised) as caught:
        export.write(rgba, target, overwrite=overwrite)
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{target}: cannot be written: {failure.strerror}"
    assert listing(tmp_path) == (["out.png"] if overwrite else [])
    assert not overwrite or target.read_bytes() == b"precious"


def test_a_write_that_the_system_cuts_short(tmp_path: Path, listing: Callable[[Path], list[str]]) -> None:
    """A real failing write, through Pillow's own file handling: no file may grow beyond 20 kB."""
    resource = pytest.importorskip("resource", reason="no file size limit on this system")
    script = f"""
        import resource, signal, numpy as np
        from nss import export, errors
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 4), dtype=np.uint8)
        try:
            export.write(noise, "out.png")
        except errors.ImageError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "out.png: cannot be written: File too large\n"
    assert done.stderr == ""
    assert listing(tmp_path) == []


@pytest.mark.parametrize("damage", ["pixel", "alpha", "size", "profile", "cut"])
def test_a_file_that_does_not_decode_to_what_was_meant_is_removed(
    rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, listing: Callable[[Path], list[str]]
) -> None:
    save = Image.Image.save

    def save_wrongly(image: Image.Image, file: object, *arguments: object, **options: object) -> None:
        pixels = np.asarray(image).copy()
        if damage == "pixel":
            pixels[3, 4, 0] ^= 1
        elif damage == "alpha":
            pixels[3, 4, 3] ^= 1
        elif damage == "size":
            pixels = pixels[:-1]
        elif damage == "profile":
            options["icc_profile"] = None
        save(Image.fromarray(pixels), file, *arguments, **options)
        if damage == "cut":
            file.truncate(1000)  # type: ignore[attr-defined]

    monkeypatch.setattr(Image.Image, "save", save_wrongly)
    with pytest.raises(ImageError, match="the written file was not what it should be"):
        export.write(rgba, tmp_path / "out.png", icc=SRGB)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "roundabout"])
def test_the_source_is_never_the_target(rgba: np.ndarray, photo: Path, kind: str) -> None:
    target = photo.with_name("other.png")
    if kind == "same":
        target = photo
    elif kind == "symbolic link":
        target.symlink_to(photo)
    elif kind == "hard link":
        target.hardlink_to(photo)
    else:
        target = photo.parent / ".." / photo.parent.name / photo.name
    before = photo.read_bytes()
    with pytest.raises(UsageError, match="is the input itself"):
        export.write(rgba, target, source=photo, overwrite=True)
    assert photo.read_bytes() == before


def test_targets_that_cannot_be(rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    for target, message in (
        (tmp_path / "missing" / "out.png", "does not exist; create it first"),
        (tmp_path / "folder.png", "is a directory"),
        (tmp_path / ("n" * 300 + ".png"), "cannot be written: File name too long"),
    ):
        with pytest.raises(ImageError, match=message):
            export.write(rgba, target, overwrite=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(NssError, match="is not writable"):
        export.write(rgba, tmp_path / "out.png")


def test_permissions_follow_the_umask(rgba: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    export.write(rgba, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
