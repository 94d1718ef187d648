"""Any mode and depth of pixels to 8-bit RGB and alpha, through the ICC profile where there is one.

Pillow holds a colour image in 4 bytes a pixel. Everything after that happens in strips, written where they belong in
the upright result, so that the photo is never held a third time.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nss.arrays.tiles import Area, bands, parallel
from nss.errors import ImageError
from nss.photos import image_file
from nss.photos.exif import orientation

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    Reopen = Callable[[], ImageFile.ImageFile]
    ToSrgb = Callable[[Image.Image | np.ndarray], np.ndarray]
    """From a strip of one mode to uint8 HxWx3."""

_STRIP = 1 << 18
"""Pixels at a time."""

_WIDE = ("F", "I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La")


@dataclass(frozen=True, eq=False)
class Pixels:
    """An upright image.

    Attributes:
        rgb: uint8 HxWx3, never multiplied by alpha.
        alpha: uint8 HxW, or None.
        icc: the profile that belongs to ``rgb``, or None.
        notes: what was done to the pixels, one short phrase each.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    icc: bytes | None
    notes: tuple[str, ...]


def separate(image: Image.Image, reopen: Reopen | None) -> Pixels:
    """Decode an image, and put it upright as its EXIF block says.

    Greyscale, palette and 1-bit images become RGB. CMYK, greyscale with a profile and CIELAB go to sRGB, relative
    colorimetric with black point compensation. Integers of 16 bits are divided by 257 and rounded; other greyscale
    samples are scaled to the range that they take, and never clipped.

    Args:
        image: the image.
        reopen: opens it once more: of 16-bit colour Pillow decodes one byte a sample at a time.

    Raises:
        ImageError: samples that are not finite, or that Pillow decodes wrongly. Decoders raise almost anything else.
    """
    raster = _decode(image, reopen)
    icc = image.info.get("icc_profile") or None
    return _from_wide(raster, icc) if image.mode in _WIDE else _from_bytes(raster, icc)


def as_mask(image: Image.Image, reopen: Reopen | None) -> np.ndarray:
    """Decode an image as numbers, not colours: float32 HxW in 0..1, upright.

    Its alpha if it has one that is not opaque throughout, of 8 bits; else its grey levels, whatever profile they have:
    of 1, 8 or 16 bits, or floating point in 0..1.

    Raises:
        ImageError: it is in colour, or of another range.
    """
    raster = _decode(image, reopen)
    mask = raster.empty((), np.float32)
    if image.has_transparency_data:
        for area, strip in raster.strips():
            mask[area] = _alpha(strip)
        if (mask != 1).any():
            return mask
    if image.mode in _WIDE:
        top, _ = _range(raster)
        if top is None:
            raise ImageError("is no mask: its samples go beyond 0 to 1, or for integers 0 to 65535")
        for area, strip in raster.strips():
            np.divide(np.asarray(strip), top, out=mask[area], casting="unsafe")
    elif image.mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        raise _no_mask()
    else:
        for area, strip in raster.strips():
            grey = np.asarray(strip.convert("RGBA" if image.has_transparency_data else "RGB"))
            if (grey[..., 0] != grey[..., 1]).any() or (grey[..., 0] != grey[..., 2]).any():
                raise _no_mask()
            np.divide(grey[..., 0], np.float32(255), out=mask[area])
    return mask


def _no_mask() -> ImageError:
    return ImageError("is in colour, and so no mask; give a greyscale image, or one with transparency")


@dataclass(frozen=True, eq=False)
class _Raster:
    """A decoded image as it lies in the file.

    Attributes:
        image: the high bytes of 16-bit colour, otherwise all there is.
        low: the low bytes, or None.
        reduced: the samples of ``image`` have lost bits.
        orientation: 1 to 8.
    """

    image: Image.Image
    low: _LowBytes | None
    reduced: bool
    orientation: int

    def empty(self, channels: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array of the upright image's size."""
        width, height = self.image.size
        return np.empty((*((width, height) if self.orientation >= 5 else (height, width)), *channels), dtype)

    def strips(self) -> Iterator[tuple[Area, Image.Image]]:
        """Rows and columns of the upright image, and what is there, of 8 bits or of a wide mode."""
        return (self._strip(rows) for rows in self._rows())

    def each_strip(self, work: Callable[[Area, Image.Image], None]) -> None:
        """Call ``work`` with each of ``strips``, over all cores, in any order."""
        parallel(lambda rows: work(*self._strip(rows)), self._rows())

    def _rows(self) -> Iterator[slice]:
        width, height = self.image.size
        return bands((height, width), _STRIP)

    def _strip(self, rows: slice) -> tuple[Area, Image.Image]:
        from PIL import Image

        height, top, end = self.image.height, rows.start, rows.stop
        side, turn = _UPRIGHT[self.orientation]
        every = slice(None)
        strip = image_file.rows_of(self.image, top, end)
        if self.low:
            strip = self.low.to_8_bits(strip, top, end)
        if turn:
            strip = strip.transpose(Image.Transpose[turn])
        lines = rows if side in ("top", "left") else slice(height - end, height - top)
        return (lines, every) if side in ("top", "bottom") else (every, lines), strip


# EXIF 2.32, tag 0x0112: the side of the scene where the first row that is stored belongs, and how it gets there
_UPRIGHT = {
    1: ("top", ""),
    2: ("top", "FLIP_LEFT_RIGHT"),
    3: ("bottom", "ROTATE_180"),
    4: ("bottom", "FLIP_TOP_BOTTOM"),
    5: ("left", "TRANSPOSE"),
    6: ("right", "ROTATE_270"),
    7: ("right", "TRANSVERSE"),
    8: ("left", "ROTATE_90"),
}


class _LowBytes(NamedTuple):
    """The other byte of each 16-bit sample: ``channels`` of ``image`` in the order of those of the high bytes."""

    image: Image.Image
    channels: list[int] | None
    key: tuple[int, int, int] | None

    def to_8_bits(self, high: Image.Image, top: int, end: int) -> Image.Image:
        """The strip with each sample of 16 bits divided by 257 and rounded, and the transparent colour as alpha."""
        from PIL import Image

        highs, lows = np.asarray(high), np.asarray(image_file.rows_of(self.image, top, end))
        if self.channels:
            lows = lows[..., self.channels]
        # 256 high + low is 257 high and this
        rest = lows.astype(np.int16) - highs
        samples = highs + (rest > 128) - (rest < -128)
        mode = high.mode
        if self.key:
            same = [(highs[..., i] == k >> 8) & (lows[..., i] == k & 255) for i, k in enumerate(self.key)]
            samples = np.dstack([samples, np.where(np.logical_and.reduce(same), 0, 255)])
            mode = "RGBA"
        strip = Image.frombytes(mode, high.size, samples.astype(np.uint8).tobytes())
        strip.info = {k: v for k, v in high.info.items() if k != "transparency"}
        return strip


def _decode(image: Image.Image, reopen: Reopen | None) -> _Raster:
    raw_modes = {_raw_mode(tile) for tile in getattr(image, "tile", ())}
    tags = getattr(image, "tag_v2", {})
    if tags.get(284) == 2 and 16 in tags.get(258, ()) and any(len(str(raw)) == 1 for raw in raw_modes):
        raise ImageError("holds each channel in a plane of its own with 16 bits; save it with the channels interleaved")
    deep = {raw for raw in raw_modes if ";16" in raw} if image.mode not in _WIDE else set()
    image.load()
    has_low_bytes = bool(deep) and deep == raw_modes and deep <= _OTHER_BYTE.keys()
    low = _low_bytes(image, reopen()) if reopen and has_low_bytes else None
    return _Raster(image, low, bool(deep), orientation(image))


# Pillow keeps one byte of each sample; the raw mode for the other byte order keeps the other one. For greyscale with
# alpha there is none, but the same 4 bytes can be taken for a pixel of 8 bits.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBX", "RGBA", "CMYK")
    for order, other in _OTHER_ORDER.items()
} | {"LA;16B": "RGBA"}


def _low_bytes(high: Image.Image, image: ImageFile.ImageFile) -> _LowBytes:
    channels = None
    for i, tile in enumerate(image.tile):
        raw = _raw_mode(tile)
        channels = [1, 1, 1, 3] if raw == "LA;16B" else None
        other = _OTHER_BYTE[raw]
        rest = tile.args[1:] if isinstance(tile.args, tuple) else None
        image.tile[i] = tile._replace(args=other if rest is None else (other, *rest))
    image.load()
    key = high.info.get("transparency")
    return _LowBytes(image, channels, key if high.mode == "RGB" and isinstance(key, tuple) else None)


def _raw_mode(tile: ImageFile._Tile) -> str:
    args = tile[3]
    return str(args[0]) if isinstance(args, (tuple, list)) and args else str(args)


def _alpha(strip: Image.Image) -> np.ndarray:
    """float32 HxW in 0..1."""
    key = strip.info.get("transparency")
    if strip.mode in _WIDE:
        return (np.asarray(strip) != key).astype(np.float32)
    return np.asarray(strip.convert("RGBA").getchannel("A")) / np.float32(255)


def _from_bytes(raster: _Raster, icc: bytes | None) -> Pixels:
    image = raster.image
    notes = ["16-bit reduced to 8"] if raster.reduced else []
    transparent = image.has_transparency_data
    grey = image.mode in _GREY
    to_srgb, icc = _conversion(image.mode if not grey else "L", icc, notes)
    rgb = raster.empty((3,), np.uint8)
    alpha = raster.empty((), np.uint8) if transparent else None

    def put(area: Area, strip: Image.Image) -> None:
        if alpha is not None:
            strip = strip if strip.mode == "RGBA" else strip.convert("RGBA")
            alpha[area] = np.asarray(strip.getchannel("A"))
            strip = strip.getchannel("R") if grey else strip
        if to_srgb:
            rgb[area] = to_srgb(strip.convert("L") if grey else strip)
            return
        colours = np.asarray(strip if strip.mode in ("RGB", "RGBA", "L") else strip.convert("RGB"))
        if colours.ndim == 3 and colours.shape[2] == 3:
            rgb[area] = colours
            return
        for channel in range(3):  # NumPy's loop over three bytes a pixel takes three times as long
            rgb[area][..., channel] = colours if colours.ndim == 2 else colours[..., channel]

    if to_srgb or image.mode == "P":  # LittleCMS, and what Pillow warns of palettes, are kept to this thread
        for area, strip in raster.strips():
            put(area, strip)
    else:
        raster.each_strip(put)
    return Pixels(rgb, alpha, icc, tuple(notes))


def _from_wide(raster: _Raster, icc: bytes | None) -> Pixels:
    """Greyscale samples of 16 or 32 bits or float."""
    top, bounds = _range(raster)
    minimum, maximum = bounds if top is None else (0.0, top)
    if top == 1:
        notes = ["float reduced to 8 bits"]
    elif top == 65535:
        notes = ["16-bit reduced to 8"]
    else:
        notes = [f"samples from {minimum:g} to {maximum:g} stretched to 8 bits"]
    deep = top == 65535
    to_srgb, icc = _conversion("I;16" if deep else "L", icc, notes)
    rgb = raster.empty((3,), np.uint8)
    key = raster.image.info.get("transparency")
    alpha = raster.empty((), np.uint8) if isinstance(key, int) else None
    for area, strip in raster.strips():
        samples = np.asarray(strip)
        if alpha is not None:
            alpha[area] = np.where(samples == key, 0, 255)
        if to_srgb and deep:
            rgb[area] = to_srgb(samples)
            continue
        levels = (samples.astype(np.float32) - np.float32(minimum)) * np.float32(
            255 / (maximum - minimum) if maximum > minimum else 0
        )
        grey = np.rint(levels, out=levels).astype(np.uint8)
        rgb[area] = to_srgb(grey) if to_srgb else grey[..., None]
    return Pixels(rgb, alpha, icc, tuple(notes))


def _range(raster: _Raster) -> tuple[float | None, tuple[float, float]]:
    """Wide samples: what stands for white, if they are of a usual range; and the smallest and the largest one."""
    bounds = [f(np.asarray(strip)) for _, strip in raster.strips() for f in (np.min, np.max)]
    minimum, maximum = float(min(bounds)), float(max(bounds))
    if not np.isfinite(bounds).all():
        raise ImageError("holds NaN or infinite samples")
    most = 1.0 if raster.image.mode == "F" else 65535.0
    return (most if minimum >= 0 and maximum <= most else None), (minimum, maximum)


_OWN_SPACE = {
    "CMYK": ("CMYK", b"CMYK"),
    "LAB": ("CIELAB", b"Lab "),
    "L": ("greyscale", b"GRAY"),
    "I;16": ("greyscale", b"GRAY"),
}


def _conversion(mode: str, icc: bytes | None, notes: list[str]) -> tuple[ToSrgb | None, bytes | None]:
    """What takes an image of this mode, without alpha, to sRGB where that is called for; the profile of the result."""
    space = icc[16:20] if icc else b""  # ICC.1:2022, 7.2.6: the data colour space
    kind, own = _OWN_SPACE.get(mode, ("", b""))
    if own and (space == own or mode == "LAB"):
        conversion = _to_srgb(icc if space == own else None, mode)
        if conversion:
            notes.append(f"{kind} converted to sRGB")
            return conversion
    if mode == "LAB":
        raise ImageError("has a damaged CIELAB profile; convert it to RGB first")
    if mode == "CMYK" or (own and space == own):
        notes.append(f"{kind} converted to RGB without a profile")
        return None, None
    if icc and space != b"RGB ":
        notes.append("ICC profile dropped: not for RGB")
        icc = None
    return None, icc


def _to_srgb(icc: bytes | None, mode: str) -> tuple[ToSrgb, bytes] | None:
    """From a profile, or CIELAB under D50 without one, to sRGB, and sRGB's profile; None where ``icc`` is damaged."""
    from PIL import Image, ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    # LittleCMS would sample the conversion at some points, 33 for greyscale, and go straight in between: shadows of a
    # linear profile come out half as light. For CMYK it is that or 1 s a megapixel, and off by 1 level at most.
    exact = ImageCms.Flags.HIGHRESPRECALC if mode == "CMYK" else ImageCms.Flags.NOOPTIMIZE
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc) if icc else ImageCms.createProfile("LAB")),
            srgb,
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | exact,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    profile = bytearray(srgb.tobytes())
    profile[24:36] = bytes(12)  # the time of creation: the same photo must give the same file
    if mode in ("CMYK", "LAB"):
        return (lambda strip: np.asarray(transform.apply(strip))), bytes(profile)
    levels = np.arange(256, dtype=np.uint8) if mode == "L" else np.arange(65536, dtype=np.uint16)
    table = np.asarray(transform.apply(Image.fromarray(levels[None])))[0]
    return (lambda strip: table[np.asarray(strip)]), bytes(profile)
