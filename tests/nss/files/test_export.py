"""A file that takes its name only when it is whole, and nothing beside it when it does not."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from nss.errors import ImageError, NssError, UsageError
from nss.files import export, png
from nss.files.formats import FORMATS, Encoding
from nss.files.output_file import InputFiles
from nss.files.picture import Picture
from tests.project import ROOT

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def write(pixels: np.ndarray, path: Path, *, icc: bytes | None = None, **options: Any) -> Path:
    return export.write(Picture(pixels, icc), path, **options)


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
    write(rgba, tmp_path / "out.PNG", icc=icc)
    image = Image.open(tmp_path / "out.PNG")
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), rgba)
    assert image.info.get("icc_profile") == icc
    assert not image.getexif()


def test_an_existing_file_is_kept_unless_told_otherwise(rgba: np.ndarray, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    with pytest.raises(ImageError, match="exists already; pass 'overwrite'"):
        write(rgba, target)
    assert target.read_bytes() == b"precious"
    write(rgba, target, overwrite=True)
    assert np.array_equal(np.asarray(Image.open(target)), rgba)
    (tmp_path / "link.png").symlink_to("nowhere")
    with pytest.raises(ImageError, match="exists already"):
        write(rgba, tmp_path / "link.png")


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
        write(rgba, target)
    assert target.read_bytes() == b"precious"
    assert listing(tmp_path) == ["out.png"]


def test_file_systems_without_hard_links(
    rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: Callable[[Path], list[str]]
) -> None:
    monkeypatch.setattr(os, "link", fail_with(OSError(errno.EPERM, "Operation not permitted")))
    write(rgba, tmp_path / "out.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), rgba)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail_with(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            write(rgba, tmp_path / "second.png")
    assert listing(tmp_path) == ["out.png"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ImageError),
        (OSError(errno.EIO, "Input/output error"), ImageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
    ids=["disk full", "disk error", "Ctrl-C", "memory"],
)
@pytest.mark.parametrize("where", ["png.write", "os.fsync", "verify_file"])
def test_nothing_is_left_by_a_failure(
    rgba: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listing: Callable[[Path], list[str]],
    overwrite: bool,
    failure: BaseException,
    kind: type[BaseException],
    where: str,
) -> None:
    target = tmp_path / "out.png"
    if overwrite:
        target.write_bytes(b"precious")
    owner, name = {
        "png.write": (png, "write"),
        "os.fsync": (os, "fsync"),
        "verify_file": (export, "verify_file"),
    }[where]
    monkeypatch.setattr(owner, name, fail_with(failure))
    with pytest.raises(kind) as error:
        write(rgba, target, overwrite=overwrite)
    if isinstance(failure, OSError):
        assert str(error.value) == f"{target}: cannot be written: {failure.strerror}"
    assert listing(tmp_path) == (["out.png"] if overwrite else [])
    assert not overwrite or target.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("out.png", "File too large"),
        ("out.webp", "File too large"),
        ("out.tif", "encoder error -2 when writing image file; is the disk full?"),
    ],
)
def test_a_write_that_the_system_cuts_short(
    tmp_path: Path, listing: Callable[[Path], list[str]], name: str, reason: str
) -> None:
    """A real failing write, through Pillow's own file handling: no file may grow beyond 20 kB."""
    resource = pytest.importorskip("resource", reason="no file size limit on this system")
    script = f"""
        import resource, signal, numpy as np
        from nss import errors
        from nss.files import export
        from nss.files.picture import Picture
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))
        noise = np.random.default_rng(0).integers(0, 256, (200, 200, 4), dtype=np.uint8)
        try:
            export.write(Picture(noise), "{name}")
        except errors.ImageError as error:
            print(error)
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == f"{name}: cannot be written: {reason}\n"
    assert process.stderr == "" or name == "out.tif"  # libtiff has its own say
    assert listing(tmp_path) == []


@pytest.mark.parametrize("damage", ["pixel", "alpha", "size", "profile", "cut"])
def test_a_file_that_does_not_decode_to_what_was_meant_is_removed(
    rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, listing: Callable[[Path], list[str]]
) -> None:
    write_png = png.write

    def write_wrongly(picture: Picture, file: IO[bytes], effort: int | None) -> None:
        pixels = picture.pixels.copy()
        if damage == "pixel":
            pixels[3, 4, 0] ^= 1
        elif damage == "alpha":
            pixels[3, 4, 3] ^= 1
        elif damage == "size":
            pixels = pixels[:-1]
        write_png(Picture(pixels, None if damage == "profile" else picture.icc), file, effort)
        if damage == "cut":
            file.truncate(1000)

    monkeypatch.setattr(png, "write", write_wrongly)
    with pytest.raises(ImageError, match="the written file was not what it should be"):
        write(rgba, tmp_path / "out.png", icc=SRGB)
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
        write(rgba, target, inputs=InputFiles([photo]), overwrite=True)
    assert photo.read_bytes() == before


def test_targets_that_cannot_be(rgba: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    for target, message in (
        (tmp_path / "missing" / "out.png", "does not exist; create it first"),
        (tmp_path / "folder.png", "is a directory"),
        (tmp_path / ("n" * 300 + ".png"), "cannot be written: File name too long"),
    ):
        with pytest.raises(ImageError, match=message):
            write(rgba, target, overwrite=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(NssError, match="is not writable"):
        write(rgba, tmp_path / "out.png")


def test_permissions_follow_the_umask(rgba: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(rgba, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_extension_decides_unless_the_encoding_does(rgba: np.ndarray, tmp_path: Path) -> None:
    write(rgba, tmp_path / "out.webp")
    assert Image.open(tmp_path / "out.webp").format == "WEBP"
    write(rgba, tmp_path / "noname", encoding=Encoding("tiff"))
    assert Image.open(tmp_path / "noname").format == "TIFF"
    with pytest.raises(UsageError, match="names no format"):
        write(rgba, tmp_path / "other")


@pytest.mark.parametrize("name", list(FORMATS))
def test_bytes_are_those_of_the_file(rgba: np.ndarray, tmp_path: Path, name: str) -> None:
    picture = Picture(rgba if FORMATS[name].alpha else rgba[..., :3], SRGB)
    path = export.write(picture, tmp_path / "out", encoding=Encoding(name))
    assert export.encode(picture, Encoding(name)) == path.read_bytes()


def test_bytes_are_verified_too(rgba: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "write", lambda _, file, __: file.write(b"nothing"))
    with pytest.raises(ImageError, match="<standard output>: the written file was not what it should be"):
        export.encode(Picture(rgba), Encoding("png"))


@pytest.mark.parametrize("layout", ["columns first", "every other", "part", "read only"])
def test_any_layout_of_memory(rgba: np.ndarray, layout: str) -> None:
    pixels = {
        "columns first": np.asfortranarray(rgba),
        "every other": rgba[::2, ::-3],
        "part": rgba[5:20, 7:40],
        "read only": rgba.copy(),
    }[layout]
    pixels.flags.writeable = layout != "read only"
    for reference in (pixels, pixels[..., :3], pixels[..., 3], pixels[..., 3] * np.uint16(257)):
        for name in ("png", "tiff"):
            result = np.asarray(Image.open(io.BytesIO(export.encode(Picture(reference), Encoding(name)))))
            assert np.array_equal(result, reference)


def test_what_a_format_cannot_hold(rgba: np.ndarray, tmp_path: Path, listing: Callable[[Path], list[str]]) -> None:
    with pytest.raises(ValueError, match="jpeg holds no alpha"):
        write(rgba, tmp_path / "out.jpg")
    for name in ("out.webp", "out.avif", "out.jpg"):
        with pytest.raises(UsageError, match="holds 8 bits; 16 need png and tiff"):
            write(rgba[..., 0].astype(np.uint16), tmp_path / name)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "width", "height", "message"),
    [
        ("webp", 16384, 1, "16384 x 1 pixels are more than webp can hold (16383 a side); choose png or tiff"),
        ("avif", 1, 32769, "1 x 32769 pixels are more than avif can hold (32768 a side); choose png or tiff"),
        ("jpeg", 65501, 1, "65501 x 1 pixels are more than jpeg can hold (65500 a side); choose png or tiff"),
        ("webp", 16000, 12000, "16000 x 12000 pixels are more than webp can hold (179 megapixels); choose png"),
        ("avif", 20000, 14000, "20000 x 14000 pixels are more than avif can hold (268 megapixels); choose png"),
        ("tiff", 16000, 12000, "16000 x 12000 pixels are more than tiff can hold (179 megapixels); choose png"),
    ],
)
def test_pictures_that_are_too_large(name: str, width: int, height: int, message: str) -> None:
    picture = np.broadcast_to(np.uint8(0), (height, width, 3))
    with pytest.raises(ImageError) as error:
        export.encode(Picture(picture), Encoding(name))
    assert str(error.value) == f"<standard output>: {message}"


@pytest.mark.parametrize(("name", "side"), [("webp", 16383), ("avif", 32768), ("jpeg", 65500)])
def test_the_longest_side_is_written(name: str, side: int) -> None:
    export.encode(Picture(np.zeros((side, 1, 3), np.uint8)), Encoding(name, None, 0))
    export.encode(Picture(np.zeros((1, side, 3), np.uint8)), Encoding(name, None, 0))


def test_exif_that_is_too_long_for_jpeg(rgba: np.ndarray, tmp_path: Path) -> None:
    block = Image.Exif()
    block[0x010E] = "x" * 70_000
    picture = Picture(rgba[..., :3], None, block.tobytes().removeprefix(b"Exif\0\0"))
    export.write(picture, tmp_path / "out.tif")
    with pytest.raises(ImageError, match="jpeg could not be encoded: EXIF data is too long"):
        export.write(picture, tmp_path / "out.jpg")
