"""Pictures to files: encoded, flushed, verified, and then put in their place (see ``nss.files.output_file``)."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from nss.errors import ImageError, one_line
from nss.files import png
from nss.files.formats import FORMATS, Encoding, check_bits, choose
from nss.files.output_file import InputFiles, place, sync
from nss.files.picture import Picture
from nss.files.tiff_exif import EXIF_PREFIX, add_exif
from nss.files.verify import verify_file
from nss.photos import codec_messages

if TYPE_CHECKING:
    from PIL import Image


def write(
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    encoding: Encoding | None = None,
    inputs: InputFiles | None = None,
    overwrite: bool = False,
    alternatives: Iterable[Path] | None = None,
) -> Path:
    """Write a picture with its ICC profile and EXIF; returns the path that it has taken.

    It is decoded again before it gets its name, or is written through (see :func:`nss.files.output_file.place`).

    Args:
        picture: what the file must hold.
        path: the target.
        encoding: by default that of the extension (see :func:`nss.files.formats.choose`).
        inputs: files that are never overwritten, the photo for instance.
        overwrite: replace a file that exists.
        alternatives: names in the same directory to take one after the other where the target's is taken.

    Raises:
        UsageError, ImageError: as ``place``; UsageError also for a name without a format and for 16 bits in a format of
            8, ImageError also if the picture is too large for the format, or the file cannot be verified.
        ValueError: the picture has alpha and the format has none.
    """
    target = Path(path)
    file_encoding = encoding or choose(target)

    def fill(file: IO[bytes]) -> None:
        with codec_messages.report_messages(str(target), file_encoding.of.pillow):
            _encode(picture, file_encoding, file, str(target))
            sync(file)
            verify_file(file, picture, file_encoding, str(target))

    return place(fill, target, inputs=inputs, overwrite=overwrite, alternatives=alternatives)


def write_bytes(
    data: bytes, path: str | os.PathLike[str], *, inputs: InputFiles | None = None, overwrite: bool = False
) -> Path:
    """Write a file of another kind as carefully; raises as ``write`` does."""

    def fill(file: IO[bytes]) -> None:
        file.write(data)
        sync(file)

    return place(fill, Path(path), inputs=inputs, overwrite=overwrite)


def encode(picture: Picture, encoding: Encoding, name: str = "<standard output>") -> bytes:
    """The file's bytes, verified as ``write`` verifies a file.

    Raises:
        UsageError: the picture has 16 bits and the format 8.
        ImageError: the picture is too large for the format, or the result does not hold what it must.
        ValueError: the picture has alpha and the format has none.
    """
    file = io.BytesIO()
    with codec_messages.report_messages(name, encoding.of.pillow):
        _encode(picture, encoding, file, name)
        verify_file(file, picture, encoding, name)
    return file.getvalue()


def _encode(picture: Picture, encoding: Encoding, file: IO[bytes], name: str) -> None:
    """Raises as `encode` does."""
    format_ = encoding.of
    if picture.has_alpha and not format_.alpha:
        raise ValueError(f"{format_.name} holds no alpha; compose the picture on a background first")
    check_bits(encoding, 8 * picture.pixels.dtype.itemsize)
    _check_size(picture, encoding, name)
    try:
        if format_.name == "png":
            png.write(picture, file, encoding.effort)
        else:
            _encode_by_pillow(picture, encoding, file)
    except (ValueError, SyntaxError, RuntimeError) as error:
        raise ImageError(f"{name}: {format_.name} could not be encoded: {one_line(error)}") from error


def _encode_by_pillow(picture: Picture, encoding: Encoding, file: IO[bytes]) -> None:
    format_ = encoding.of
    options = encoding.options()
    if picture.icc:
        options["icc_profile"] = picture.icc
    # Pillow hands TIFF tags to libtiff, which refuses those that point to further ones
    if picture.exif and format_.name != "tiff":
        options["exif"] = EXIF_PREFIX + picture.exif
    # not PIL.Image.save by extension, which would import every plugin
    importlib.import_module(f"PIL.{format_.plugin}")
    _as_image(picture.pixels).save(file, format_.pillow, **options)
    if picture.exif and format_.name == "tiff":
        add_exif(file, picture.exif)


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
