"""Verification: a file is decoded again and compared with its picture, before it takes its name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING

import numpy as np

from nss.errors import ImageError, one_line
from nss.files import deflate, png_check
from nss.files.formats import Encoding
from nss.files.picture import Picture
from nss.files.tiff_exif import EXIF_PREFIX
from nss.photos.image_file import rows_of
from nss.photos.quiet import quiet

if TYPE_CHECKING:
    from PIL import Image

ALPHA_TOLERANCE = {"webp": 0, "avif": 2}
"""Levels by which alpha may differ in a lossy file."""

BLOCK = 16
"""Side of the blocks whose mean colours are compared in a lossy file: a codec may lose texture, not colour."""

FINE = 75
"""The quality from which the narrower tolerances hold."""

COLOUR_TOLERANCE = {
    ("webp", True): (25.0, 40.0),
    ("webp", False): (40.0, 60.0),
    ("avif", True): (5.0, 10.0),
    ("avif", False): (40.0, 60.0),
    ("jpeg", True): (12.0, 20.0),
    ("jpeg", False): (60.0, 80.0),
}
"""Levels by which the mean colours of blocks may differ, in the channel where they differ most: on average, and in all
but 1 % of the blocks. By format, and whether the quality is ``FINE``.

They are set by what is hardest: pictures of a few pixels, where nothing evens out, and stripes of red and blue, whose
means WebP shifts by 9 levels at any quality since it halves the resolution of colour. The most that was seen, of 300
pictures of up to 40 x 40 pixels with noise or full contrast: WebP 20 and below ``FINE`` 29, AVIF 2 and 30, JPEG 6 and
48. Of a photo's texture it is 1.3, 1.0 and 0.9 in 99 % of the blocks at quality 90.
"""

STRIP = 256
"""Rows that are held decoded a second time."""


def verify_file(file: IO[bytes], picture: Picture, encoding: Encoding, name: str) -> None:
    """Decode ``file`` and compare it with the picture that it must hold.

    Size, depth, the ICC profile and the EXIF must be those of the picture, and no orientation be given; of a lossless
    file every pixel must be, hidden ones too. Of a lossy one alpha may be off by ``ALPHA_TOLERANCE``, and the mean
    colours of blocks by ``COLOUR_TOLERANCE``, which hidden blocks must meet by themselves; and the colours of soft
    pixels, regressed on what was composed, must be straight and not multiplied by alpha.

    Args:
        file: what was written, open for reading.
        picture: what it must hold.
        encoding: how it was written.
        name: what to call the file in the error.

    Raises:
        ImageError: the file does not decode, or holds something else.
    """
    if encoding.format == "png" and _is_verified_png(file, picture, encoding, name):
        return
    file.seek(0)
    image = _decode(file, encoding, name)
    # WebP and AVIF may have no greyscale, and leave the alpha channel out where all is opaque
    others = {"RGB"} if encoding.format in ("webp", "avif") else set()
    _check_size_and_mode(image.size, image.mode, picture, others, name)
    if encoding.lossless:
        if any(not np.array_equal(pixels, reference) for pixels, reference in _strips(image, picture)):
            raise _differs(name, "pixels differ")
    elif fault := _lossy_fault(image, picture, encoding):
        raise _differs(name, fault)
    own = _TIFF_LAYOUT if image.format == "TIFF" else frozenset()
    _check_profile_and_exif(image.info.get("icc_profile"), image.getexif(), picture, own, name)


def _is_verified_png(file: IO[bytes], picture: Picture, encoding: Encoding, name: str) -> bool:
    """Whether the file is of a kind that `png_check` knows, and then holds the picture; raises as `verify_file`."""
    from PIL import Image

    try:
        png = png_check.read(file)
        if png is None:
            return False
        _check_size_and_mode((png.width, png.height), png.mode, picture, set(), name)
        inflater = deflate.reader_beside(deflate.compressor(encoding.effort).library)
        if not png_check.holds(file, png, picture.pixels, inflater):
            raise _differs(name, "pixels differ")
    except png_check.DamagedError as error:
        raise _differs(name, f"it does not decode ({error})") from error
    exif = Image.Exif()
    if png.exif is not None:
        exif.load(EXIF_PREFIX + png.exif)
    _check_profile_and_exif(png.icc, exif, picture, frozenset(), name)
    return True


def _check_size_and_mode(size: tuple[int, int], mode: str, picture: Picture, other_modes: set[str], name: str) -> None:
    if size != picture.pixels.shape[1::-1]:
        height, width = picture.pixels.shape[:2]
        raise _differs(name, f"{size[0]} x {size[1]} pixels were read for {width} x {height}")
    if mode not in {_mode(picture)} | other_modes:
        raise _differs(name, f"pixels of {mode} were read for {_mode(picture)}")


def _check_profile_and_exif(
    icc: bytes | None, exif: Image.Exif, picture: Picture, own: frozenset[int], name: str
) -> None:
    """``own``: tags that are the format's, not the photo's."""
    if icc != picture.icc:
        raise _differs(name, "the ICC profile differs")
    if not _same_exif(exif, picture.exif, own):
        raise _differs(name, "the EXIF differs")


def _decode(file: IO[bytes], encoding: Encoding, name: str) -> Image.Image:
    from PIL import Image

    importlib.import_module(f"PIL.{encoding.of.plugin}")
    try:
        # not PIL.Image.open: that stops at a pixel count below the largest photo that can be read
        with quiet():  # and half way there it warns
            image = Image.OPEN[encoding.of.pillow][0](file, "")
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # for a damaged file Pillow's decoders raise almost anything
        raise _differs(name, f"it does not decode ({one_line(error)})") from error
    return image


EVIDENCE = 64 * 3 * 20.0**2
"""What a regression needs for a verdict: that of 64 pixels whose colours differ by 20 levels when multiplied."""


@dataclass(frozen=True)
class Straightness:
    """Sums of a regression that tells straight colours from those multiplied by alpha; parts of an image add up.

    With d the decoded colours, c the straight ones and p = c a / 255 the premultiplied ones:

    Attributes:
        cross: the sum of (d - p)(c - p).
        evidence: the sum of (c - p)²: small where soft pixels are few or black, or hardly transparent.
        residual: the sum of (d - p)², what premultiplied colours leave unexplained.
    """

    cross: float = 0.0
    evidence: float = 0.0
    residual: float = 0.0

    def __add__(self, other: Straightness) -> Straightness:
        return Straightness(self.cross + other.cross, self.evidence + other.evidence, self.residual + other.residual)

    @property
    def slope(self) -> float | None:
        """Of d - p on c - p: 1 for straight colours, 0 for premultiplied ones; None without ``EVIDENCE``."""
        return self.cross / self.evidence if self.evidence >= EVIDENCE else None


def straightness(pixels: np.ndarray, reference: np.ndarray, alpha8: np.ndarray) -> Straightness:
    """Regress decoded colours on the composed ones over 16 <= alpha <= 239.

    Args:
        pixels: uint8 ...x3, decoded.
        reference: uint8 ...x3, the straight colours.
        alpha8: uint8 of the same shape but for the channels.
    """
    soft = (alpha8 >= 16) & (alpha8 <= 239)
    if not soft.any():
        return Straightness()
    c = reference[soft].astype(np.float64)
    p = c * (alpha8[soft].astype(np.float64)[:, None] / 255)
    off, c = pixels[soft] - p, c - p
    return Straightness(float((off * c).sum()), float((c * c).sum()), float((off * off).sum()))


def _lossy_fault(image: Image.Image, picture: Picture, encoding: Encoding) -> str | None:
    colours = Straightness()
    visible_errors, hidden_errors = [], []
    for pixels, reference in _strips(image, picture):
        errors = _block_errors(pixels, reference)
        if not picture.has_alpha:
            visible_errors.append(errors.ravel())
            continue
        alpha = reference[..., 3]
        off = int(np.abs(np.subtract(pixels[..., 3], alpha, dtype=np.int16)).max())
        if off > ALPHA_TOLERANCE[encoding.format]:
            return f"alpha differs by up to {off} levels"
        colours += straightness(pixels[..., :3], reference[..., :3], alpha)
        visible = _visible_blocks(alpha)
        visible_errors.append(errors[visible])
        hidden_errors.append(errors[~visible])
    if colours.slope is not None and colours.slope < 0.5:
        return "its colours are multiplied by alpha"
    quality = encoding.options()["quality"]
    mean, most = COLOUR_TOLERANCE[encoding.format, quality >= FINE]
    for where, parts in (("", visible_errors), (" under alpha 0", hidden_errors)):
        blocks = np.concatenate(parts) if parts else np.empty(0)
        if blocks.size and (blocks.mean() > mean or np.percentile(blocks, 99) > most):
            return f"colours{where} differ by {blocks.mean():.1f} levels on average"
    return None


def _block_errors(pixels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """By how many levels the mean colour of each block is off, in the channel where it is off most."""
    height, width = reference.shape[:2]
    off = np.subtract(pixels, reference, dtype=np.int16).reshape(height, -1)
    rows = max(height // BLOCK, 1)
    # up to 31 differences add up to less than 2**15
    sums = off[: rows * BLOCK].reshape(rows, -1, off.shape[1]).sum(axis=1, dtype=np.int16)
    sums[-1] += off[rows * BLOCK :].sum(axis=0, dtype=np.int16)
    channels = sums.reshape(rows, width, -1)[..., :3].astype(np.int32)
    blocks = np.abs(np.add.reduceat(channels, _starts(width), axis=1)).max(axis=2)
    heights, widths = (np.diff(np.append(_starts(length), length)) for length in (height, width))
    return blocks / (heights[:, None] * widths)


def _visible_blocks(alpha: np.ndarray) -> np.ndarray:
    """Whether anything is seen of each block."""
    return np.maximum.reduceat(np.maximum.reduceat(alpha, _starts(len(alpha))), _starts(alpha.shape[1]), axis=1) > 0


def _starts(length: int, step: int = BLOCK) -> np.ndarray:
    """Where parts of a length begin; what is left over at the end, if shorter than a block, belongs to the last one."""
    return np.arange(0, max(length - BLOCK, 0) + 1, step)


def _strips(image: Image.Image, picture: Picture) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decoded pixels and the picture's, some rows at a time: a second whole copy of a large photo takes a gigabyte."""
    height = image.height
    tops = [*_starts(height, STRIP), height]
    for top, end in pairwise(tops):
        pixels = np.asarray(rows_of(image, top, end))
        reference = picture.pixels[top:end]
        if pixels.ndim == 3 and reference.ndim == 2:
            reference = np.repeat(reference[..., None], 3, axis=2)
        elif pixels.shape[2:] == (3,) and reference.shape[2:] == (4,):
            pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        yield pixels, reference


def _mode(picture: Picture) -> str:
    if picture.pixels.ndim == 2:
        return "L" if picture.pixels.dtype == np.uint8 else "I;16"
    return "RGBA" if picture.has_alpha else "RGB"


def _same_exif(exif: Image.Exif, block: bytes | None, own: frozenset[int]) -> bool:
    """Whether there are the tags of the block with their values, no others but ``own``, and no orientation."""
    from PIL import Image

    reference = Image.Exif()
    if block is not None:
        reference.load(EXIF_PREFIX + block)
    return _ORIENTATION not in exif and _tags(exif, own) == _tags(reference, own)


def _tags(exif: Image.Exif, own: frozenset[int]) -> list[str]:
    """Every tag with its value as text, in which 0/0, a lens's unknown aperture for instance, is equal to itself."""
    camera = exif.get_ifd(_EXIF)
    interoperability = exif.get_ifd(_INTEROPERABILITY) if _INTEROPERABILITY in camera else {}
    directories = (dict(exif), camera, exif.get_ifd(_GPS), interoperability)
    structural = own | {_EXIF, _GPS, _INTEROPERABILITY}  # where a directory lies means nothing
    return [repr(sorted((t, v) for t, v in d.items() if t not in structural)) for d in directories]


_ORIENTATION = 0x0112
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005

_TIFF_LAYOUT = frozenset({254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 338, 339, 34675})
"""Tags by which a TIFF file describes its pixels: size, depth, strips, predictor, profile (TIFF 6.0, section 8)."""


def _differs(name: str, what: str) -> ImageError:
    return ImageError(f"{name}: the written file was not what it should be, and was removed: {what}; check the disk")
