"""Pictures to files: encoded beside the target, flushed, verified, then renamed.

At no moment does the target's name stand for half a file, and nothing is left behind by an error or an interruption.
"""

from __future__ import annotations

import importlib
import io
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from nss.errors import ImageError, UsageError, one_line
from nss.formats import FORMATS, Encoding, check_bits, choose
from nss.picture import Picture
from nss.tiff_exif import EXIF_PREFIX, add_exif
from nss.verify import check_written

if TYPE_CHECKING:
    from PIL import Image


def check_target(target: Path, *, source: Path | None, overwrite: bool) -> None:
    """Refuse a target that ``write`` would refuse, before any work is done for it.

    Raises:
        UsageError: the target is the source itself.
        ImageError: the folder is missing or not writable, or the target exists and ``overwrite`` is false.
    """
    if source is not None and _same_file(target, source):
        raise UsageError(f"{target}: is the input itself, which is never overwritten; give the output another name")
    try:
        is_directory, has_parent = target.is_dir(), target.parent.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL byte
        raise _unwritable(target, error) from error
    if is_directory:
        raise ImageError(f"{target}: is a directory; give the output another name")
    if not has_parent:
        raise ImageError(f"{target}: the directory {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ImageError(f"{target}: the directory {target.parent} is not writable")
    if not overwrite and os.path.lexists(target):
        raise _exists(target)


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    encoding: Encoding | None = None,
    source: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a picture with its ICC profile and EXIF; returns the path.

    The temporary file lies in the target's directory, takes its permissions from the umask, and is renamed once it has
    been flushed to the disk and decoded again. Without ``overwrite`` the rename fails where the target has come into
    being meanwhile.

    Args:
        picture: what the file must hold.
        path: the target.
        encoding: by default that of the extension (see :func:`nss.formats.choose`).
        source: the photo, which is never overwritten.
        overwrite: replace a file that exists.

    Raises:
        UsageError, ImageError: as ``check_target``; UsageError also for a name without a format and for 16 bits in a
            format of 8, ImageError also if the picture is too large for the format, or the file cannot be written or
            verified.
        ValueError: the picture has alpha and the format has none.
    """
    target = Path(path)
    chosen = encoding or choose(target)

    def fill(file: IO[bytes]) -> None:
        _encode(picture, chosen, file, str(target))
        file.flush()
        os.fsync(file.fileno())
        check_written(file, picture, chosen, str(target))

    return _place(fill, target, source, overwrite)


def write_bytes(data: bytes, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a file of another kind as carefully; raises as ``write`` does."""

    def fill(file: IO[bytes]) -> None:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

    return _place(fill, Path(path), None, overwrite)


def encode(picture: Picture, encoding: Encoding, name: str = "<standard output>") -> bytes:
    """The file's bytes, verified as ``write`` verifies a file.

    Raises:
        UsageError: the picture has 16 bits and the format 8.
        ImageError: the picture is too large for the format, or the result does not hold what it must.
        ValueError: the picture has alpha and the format has none.
    """
    file = io.BytesIO()
    _encode(picture, encoding, file, name)
    check_written(file, picture, encoding, name)
    return file.getvalue()


def _place(fill: Callable[[IO[bytes]], None], target: Path, source: Path | None, overwrite: bool) -> Path:
    check_target(target, source=source, overwrite=overwrite)
    # independent of the target's name, which may be as long as the file system allows
    temporary = target.parent / f".nss-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("x+b") as file:
            fill(file)
        if overwrite:
            temporary.replace(target)
        else:
            _rename_no_clobber(temporary, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def _encode(picture: Picture, encoding: Encoding, file: IO[bytes], name: str) -> None:
    format_ = encoding.of
    if picture.has_alpha and not format_.alpha:
        raise ValueError(f"{format_.name} holds no alpha; compose the picture on a background first")
    check_bits(encoding, 8 * picture.pixels.dtype.itemsize)
    _check_size(picture, encoding, name)
    options = encoding.options()
    if picture.icc:
        options["icc_profile"] = picture.icc
    # Pillow hands TIFF tags to libtiff, which refuses those that point to further ones
    if picture.exif and format_.name != "tiff":
        options["exif"] = EXIF_PREFIX + picture.exif
    # not PIL.Image.save by extension, which would import every plugin
    importlib.import_module(f"PIL.{format_.plugin}")
    try:
        _as_image(picture.pixels).save(file, format_.pillow, **options)
        if picture.exif and format_.name == "tiff":
            add_exif(file, picture.exif)
    except (ValueError, SyntaxError, RuntimeError) as error:
        raise ImageError(f"{name}: {format_.name} could not be encoded: {one_line(error)}") from error


def _as_image(pixels: np.ndarray) -> Image.Image:
    """Without a copy where Pillow keeps pixels alike, which is for all but RGB."""
    from PIL import Image

    if pixels.dtype == np.uint16:  # of which PIL.Image.fromarray would make 32 bits
        samples = np.ascontiguousarray(pixels, "<u2")
        return Image.frombuffer("I;16", pixels.shape[::-1], samples, "raw", "I;16", 0, 1)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _check_size(picture: Picture, encoding: Encoding, name: str) -> None:
    height, width = picture.pixels.shape[:2]
    if encoding.of.holds(width, height):
        return
    longest, largest = encoding.of.longest, encoding.of.largest
    limit = f"{longest} a side" if max(height, width) > longest else f"{largest / 1e6:.0f} megapixels"
    others = " or ".join(f.name for f in FORMATS.values() if f.lossless and f.holds(width, height))
    raise ImageError(
        f"{name}: {width} x {height} pixels are more than {encoding.format} can hold ({limit}); choose {others}"
    )


def _rename_no_clobber(temporary: Path, target: Path) -> None:
    """Give ``temporary`` the name ``target`` too, if no one has it; FileExistsError otherwise."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no hard links: take the name first, then replace it
        target.touch(exist_ok=False)
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except (OSError, ValueError):  # one of them does not exist, or cannot
        return False


def _exists(target: Path) -> ImageError:
    return ImageError(f"{target}: exists already; pass --overwrite to replace it")


def _unwritable(target: Path, error: OSError | ValueError) -> ImageError:
    if isinstance(error, OSError):  # libtiff and libjpeg keep the system's reason to themselves
        reason = error.strerror or f"{one_line(error)}; is the disk full?"
    else:
        reason = one_line(error)
    return ImageError(f"{target}: cannot be written: {reason}")
