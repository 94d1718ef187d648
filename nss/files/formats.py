"""The formats that can be written: what each can hold, and the settings of its encoder.

Defaults are fast and, but for AVIF and JPEG, lossless. Alpha is never premultiplied, what lies under alpha 0 is written
as it is, and colour is subsampled by lossy WebP alone, which knows nothing else.

What the settings cost, as seconds and megabytes for 16 megapixels, a photo with noise and a smooth cut-out, both with
alpha (JPEG without), by Pillow 13 on 2 cores:

======================== =============== ===============
setting                  with noise      smooth
======================== =============== ===============
WebP, method 0 (default) 0.5 s  33.8 MB  0.33 s  3.7 MB
WebP, method 1           1.6 s  29.2 MB  1.28 s  1.1 MB
WebP, quality 90         0.8 s   4.0 MB  0.58 s  0.9 MB
AVIF, speed 10           2.4 s   7.0 MB  0.60 s  0.2 MB
AVIF, speed 8 (default)  3.0 s   7.0 MB  0.83 s  0.2 MB
AVIF, speed 6           12.2 s   6.9 MB  2.51 s  0.1 MB
JPEG (default)           0.1 s   7.4 MB  0.05 s  0.8 MB
JPEG, optimised tables   0.3 s   6.3 MB  0.07 s  0.6 MB
TIFF, none               0.1 s  64.0 MB  0.04 s 64.0 MB
TIFF, LZW (default)      0.8 s  46.5 MB  0.22 s  2.4 MB
TIFF, deflate            2.3 s  40.3 MB  0.58 s  1.9 MB
======================== =============== ===============

Without a predictor LZW takes 0.6 s and 61.3 MB for the first, 0.33 s and 14.6 MB for the second.

PNG, of which each core does a part (`nss.files.png`): seconds of processor time and megabytes for 12 megapixels with
alpha, a photo with fine grain and a smooth cut-out, beside Pillow 13:

================ =============== ===============
effort           with grain      smooth
================ =============== ===============
0, 1 (default)   0.17 s  21.8 MB 0.05 s   5.3 MB
2                0.18 s  21.3 MB 0.06 s   5.3 MB
3                0.54 s  20.5 MB 0.19 s   4.8 MB
4                0.80 s  20.3 MB 0.22 s   4.6 MB
5                0.90 s  20.2 MB 0.26 s   4.5 MB
6                1.1 s   20.1 MB 0.42 s   4.4 MB
7                1.5 s   19.9 MB 0.69 s   4.3 MB
8, 9             1.6 s   19.9 MB 1.5 s    4.3 MB
Pillow, level 1  1.1 s   21.5 MB 0.47 s   5.8 MB
Pillow, level 3  1.8 s   21.2 MB 0.67 s   5.4 MB
Pillow, level 6  6.0 s   20.7 MB 1.5 s    4.5 MB
================ =============== ===============
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nss.errors import UsageError, check_kind, check_number, quoted

_PREDICTOR, _HORIZONTAL_DIFFERENCES = 317, 2  # TIFF 6.0, section 14


@dataclass(frozen=True)
class Format:
    """The properties of a format.

    Attributes:
        name: its name in options and messages.
        pillow: Pillow's name for it.
        plugin: Pillow's module for it.
        extensions: in lower case, the usual one first.
        alpha: it can hold transparency.
        lossy: a quality can be asked for.
        quality: the default quality, None where it is lossless unless one is asked for.
        bits: the depths of a mask that it can hold.
        longest: the longest side in pixels that can be written and read back.
        largest: the number of pixels, likewise.
        keywords: quality and effort, None or within their ranges, to the encoder's settings: Pillow's keywords, but for
            PNG, which ``nss.files.png`` writes.
    """

    name: str
    pillow: str
    plugin: str
    extensions: tuple[str, ...]
    alpha: bool
    lossy: bool
    quality: int | None
    bits: tuple[int, ...]
    longest: int
    largest: int
    keywords: Callable[[int | None, int | None], dict[str, Any]]

    @property
    def lossless(self) -> bool:
        """Whether it is lossless unless a quality is asked for."""
        return self.quality is None

    def holds(self, width: int, height: int) -> bool:
        """Whether an image of this size can be written and read back."""
        return max(width, height) <= self.longest and width * height <= self.largest


def _png(_quality: int | None, effort: int | None) -> dict[str, Any]:
    from nss.files.deflate import compressor

    deflate = compressor(effort)
    return {"deflate": deflate.library, "level": deflate.level}


def _webp(quality: int | None, effort: int | None) -> dict[str, Any]:
    method = 0 if effort is None else round(effort * 6 / 9)
    if quality is None:
        # of a lossless file "quality" is how hard to try
        return {"lossless": True, "exact": True, "method": method, "quality": 0 if effort is None else effort * 11}
    return {"quality": quality, "exact": True, "method": method, "alpha_quality": 100}


def _avif(quality: int | None, effort: int | None) -> dict[str, Any]:
    return {
        "quality": quality,
        "subsampling": "4:4:4",
        "speed": 8 if effort is None else 10 - effort,
        "alpha_premultiplied": False,
        "codec": "aom",
        # by itself libavif gives alpha the quality of the colours: 10 levels off at 75
        "advanced": {"a:end-usage": "q", "a:cq-level": "0"},
    }


def _jpeg(quality: int | None, effort: int | None) -> dict[str, Any]:
    return {"quality": quality, "subsampling": 0, "optimize": effort is not None and effort >= 5}


def _tiff(_quality: int | None, effort: int | None) -> dict[str, Any]:
    if effort == 0:
        return {"compression": "raw"}
    compression = "tiff_lzw" if effort is None or effort < 5 else "tiff_adobe_deflate"
    return {"compression": compression, "tiffinfo": {_PREDICTOR: _HORIZONTAL_DIFFERENCES}}


_ANY = 2**31 - 1
_BOMB = 2 * (1024**3 // 4 // 3)  # from there Pillow's decoders of WebP and TIFF take a file for a decompression bomb

FORMATS = {
    f.name: f
    for f in (
        Format(
            "png",
            pillow="PNG",
            plugin="PngImagePlugin",
            extensions=(".png",),
            alpha=True,
            lossy=False,
            quality=None,
            bits=(8, 16),
            longest=_ANY,
            largest=_ANY,
            keywords=_png,
        ),
        Format(
            "webp",
            pillow="WEBP",
            plugin="WebPImagePlugin",
            extensions=(".webp",),
            alpha=True,
            lossy=True,
            quality=None,
            bits=(8,),
            longest=16383,
            largest=_BOMB,
            keywords=_webp,
        ),
        Format(
            "avif",
            pillow="AVIF",
            plugin="AvifImagePlugin",
            extensions=(".avif",),
            alpha=True,
            lossy=True,
            quality=90,
            bits=(8,),
            # libavif's decoder stops there, AV1 itself at 65536
            longest=32768,
            largest=16384**2,
            keywords=_avif,
        ),
        Format(
            "jpeg",
            pillow="JPEG",
            plugin="JpegImagePlugin",
            extensions=(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"),
            alpha=False,
            lossy=True,
            quality=92,
            bits=(8,),
            longest=65500,
            largest=_ANY,
            keywords=_jpeg,
        ),
        Format(
            "tiff",
            pillow="TIFF",
            plugin="TiffImagePlugin",
            extensions=(".tif", ".tiff"),
            alpha=True,
            lossy=False,
            quality=None,
            bits=(8, 16),
            longest=_ANY,
            largest=_BOMB,
            keywords=_tiff,
        ),
    )
}

ALIASES = {"jpg": "jpeg", "tif": "tiff"}
"""Other names of formats, which ``choose`` takes too."""


@dataclass(frozen=True)
class Encoding:
    """A format, and how hard to try.

    Attributes:
        format: a name in ``FORMATS``.
        quality: 1 to 100, or None: lossless where the format can, else the format's default.
        effort: 0, the fastest, to 9, the smallest file; None is a fast default.

    Raises:
        UsageError: there is no such format, it has no quality, or a number is out of its range.
    """

    format: str
    quality: int | None = None
    effort: int | None = None

    def __post_init__(self) -> None:
        check_kind("format", self.format, str, "the name of a format")
        for name, number in (("quality", self.quality), ("effort", self.effort)):
            if number is not None:
                check_number(name, number)
        if self.format not in FORMATS:
            raise UsageError(f"'format' {quoted(self.format)}: one of {', '.join(FORMATS)} is possible")
        if self.quality is not None:
            if not self.of.lossy:
                raise UsageError(f"'quality' {self.quality}: {self.format} is lossless; leave it out, or see 'effort'")
            if not 1 <= self.quality <= 100:
                raise UsageError(f"'quality' {self.quality}: 1 to 100 is possible")
        if self.effort is not None and not 0 <= self.effort <= 9:
            raise UsageError(f"'effort' {self.effort}: 0 to 9 is possible")

    @property
    def of(self) -> Format:
        """The properties of the format."""
        return FORMATS[self.format]

    @property
    def has_alpha(self) -> bool:
        """Whether the file can hold transparency."""
        return self.of.alpha

    @property
    def lossless(self) -> bool:
        """Whether the file holds every pixel as it was."""
        return self.quality is None and self.of.lossless

    def settings(self) -> dict[str, Any]:
        """All settings of the encoder, for the record."""
        return {"format": self.format, "quality": self.quality, "effort": self.effort, "options": self.options()}

    def options(self) -> dict[str, Any]:
        """The encoder's settings: Pillow's keywords, but for PNG the library that deflates, and its level."""
        return self.of.keywords(self.of.quality if self.quality is None else self.quality, self.effort)


def choose(target: Path, format: str | None = None, quality: int | None = None, effort: int | None = None) -> Encoding:  # noqa: A002 - the option's name
    """The encoding of a file: the format that is asked for, or that its extension names.

    Args:
        target: the file.
        format: a name in ``FORMATS``, jpg or tif; it may stand against no extension that is known.
        quality: as in :class:`Encoding`.
        effort: as in :class:`Encoding`.

    Raises:
        UsageError: neither names a known format, or they name two; the format has no quality; a number is out of its
            range; this build of Pillow lacks the format.
    """
    extension = target.suffix.lower()
    by_extension = next((f.name for f in FORMATS.values() if extension in f.extensions), None)
    by_option = None if format is None else ALIASES.get(format.lower(), format.lower())
    name = by_extension if by_option is None else by_option
    if name is None:
        suffixes = ", ".join(f.extensions[0] for f in FORMATS.values())
        raise UsageError(f"{target}: {extension or 'no extension'} names no format; use {suffixes}, or 'encoding'")
    encoding = Encoding(name, quality, effort)
    if by_extension not in (None, name):
        raise UsageError(f"{target}: its extension is that of {by_extension}, and the format asked for is {name}")
    _require(encoding.of)
    return encoding


def check_bits(encoding: Encoding, bits: int) -> None:
    """Raise UsageError where the format cannot hold a mask of so many bits."""
    if bits not in encoding.of.bits:
        deep = " and ".join(f.name for f in FORMATS.values() if bits in f.bits)
        raise UsageError(f"{encoding.format} holds 8 bits; {bits} need {deep}")


def suffix_of(format: str) -> str:  # noqa: A002 - the option's name
    """The usual extension of a format; that of PNG for an unknown name, which ``choose`` refuses."""
    name = ALIASES.get(format.lower(), format.lower())
    return FORMATS[name].extensions[0] if name in FORMATS else ".png"


def extensions() -> frozenset[str]:
    """All extensions, in lower case, by which a file names its format."""
    return frozenset(extension for format_ in FORMATS.values() for extension in format_.extensions)


def _require(format_: Format) -> None:
    if format_.name not in ("webp", "avif"):
        return
    from PIL import features

    available = features.check(format_.name)
    if available and format_.name == "avif":
        from PIL import AvifImagePlugin

        available = AvifImagePlugin.get_codec_version("aom") is not None
    if not available:
        raise UsageError(f"this build of Pillow cannot write {format_.name}; use another format")
