"""Small images that mutations begin with: each format that is read, in the ways that writers have of writing it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageCms, features

from nss.files.tiff_exif import EXIF_PREFIX, add_exif

SIZE = 40, 28


def _photo() -> Image.Image:
    """Smooth colours with some noise, and an edge."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([6 * x, 9 * y, 255 - 5 * x], -1).astype(np.float64)
    pixels[(x - 20) ** 2 + (y - 14) ** 2 < 80] = (220, 40, 60)
    pixels += np.random.default_rng(1).normal(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _saved(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def exif_block(orientation: int = 6) -> bytes:
    """An EXIF block with an orientation, text, a place and a date."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = orientation, "Maker", "software"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.0)})
    return exif.tobytes()


@cache
def profile() -> bytes:
    """An ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(colour: int, bits: int, rows: bytes, *, interlace: int = 0, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *SIZE, bits, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _wide_png(colour: int, channels: int, *, extra: bytes = b"") -> bytes:
    """16 bits a sample, which Pillow writes of grey alone."""
    width, height = SIZE
    samples = np.random.default_rng(2).integers(0, 65536, (height, width * channels)).astype(">u2")
    return _png(colour, 16, b"".join(b"\0" + row.tobytes() for row in samples), extra=extra)


def _interlaced_png() -> bytes:
    """Adam7, which Pillow does not write."""
    pixels = np.asarray(_photo())
    passes = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
    parts = [pixels[y::down, x::right] for y, x, down, right in passes]
    return _png(2, 8, b"".join(b"\0" + row.tobytes() for part in parts for row in part), interlace=1)


def _pngs() -> dict[str, bytes]:
    photo = _photo()
    palette, alpha = photo.quantize(16), photo.getchannel("G")
    rgba = photo.copy()
    rgba.putalpha(alpha)
    frames = [photo, photo.rotate(180)]
    return {
        "png": _saved(photo, "PNG", exif=exif_block(), icc_profile=profile(), dpi=(72, 72)),
        "png-rgba": _saved(rgba, "PNG"),
        "png-la": _saved(rgba.convert("LA"), "PNG"),
        "png-grey-16": _saved(Image.fromarray(np.asarray(alpha).astype(np.uint16) * 200), "PNG"),
        "png-rgb-16": _wide_png(2, 3),
        "png-rgba-16": _wide_png(6, 4),
        "png-rgb-16-trns": _wide_png(2, 3, extra=chunk(b"tRNS", b"\0\1\0\2\0\3")),
        "png-palette": _saved(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "png-1": _saved(photo.convert("1"), "PNG", transparency=0),
        "png-interlaced": _interlaced_png(),
        "apng": _saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50),
    }


def _jpegs() -> dict[str, bytes]:
    photo = _photo()
    whole = {"exif": exif_block(), "icc_profile": profile()}
    return {
        "jpeg": _saved(photo, "JPEG", **whole),
        "jpeg-progressive": _saved(photo, "JPEG", progressive=True, comment=b"a comment"),
        "jpeg-restarts": _saved(photo, "JPEG", restart_marker_blocks=1, subsampling=0),
        "jpeg-cmyk": _saved(photo.convert("CMYK"), "JPEG"),
        "jpeg-grey": _saved(photo.convert("L"), "JPEG", exif=exif_block(3)),
        "mpo": _saved(photo, "MPO", save_all=True, append_images=[photo.rotate(90, expand=True)]),
    }


def _tiffs() -> dict[str, bytes]:
    photo = _photo()
    seeds = {}
    for name in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"):
        try:
            seeds[f"tiff-{name}"] = _saved(photo, "TIFF", compression=name)
        except (OSError, RuntimeError, ValueError):  # this build of libtiff does not have it
            continue
    for name in ("group3", "group4", "tiff_ccitt"):
        seeds[f"tiff-{name}"] = _saved(photo.convert("1"), "TIFF", compression=name)
    grey = np.asarray(photo.convert("L"))
    seeds |= {
        "tiff-16": _saved(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"),
        "tiff-float": _saved(Image.fromarray(grey.astype(np.float32) / 255), "TIFF", compression="tiff_lzw"),
        "tiff-32": _saved(Image.fromarray(grey.astype(np.int32) * 1000), "TIFF"),
        "tiff-cmyk": _saved(photo.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "tiff-lab": _saved(photo.convert("LAB"), "TIFF"),
        "tiff-exif": _with_exif(_saved(photo, "TIFF", compression="tiff_lzw")),
        "tiff-palette": _saved(photo.quantize(16), "TIFF", icc_profile=profile()),
        "tiff-pages": _saved(photo, "TIFF", save_all=True, append_images=[photo], big_tiff=True),
    }
    return seeds


def _with_exif(data: bytes) -> bytes:
    file = io.BytesIO(data)
    add_exif(file, exif_block(8)[len(EXIF_PREFIX) :])
    return file.getvalue()


def _rest() -> dict[str, bytes]:
    photo = _photo()
    rgba = photo.copy()
    rgba.putalpha(photo.getchannel("R"))
    seeds = {
        "webp": _saved(photo, "WEBP", exif=exif_block(), icc_profile=profile()),
        "webp-lossless": _saved(rgba, "WEBP", lossless=True, exact=True),
        "webp-animated": _saved(photo, "WEBP", save_all=True, append_images=[rgba], duration=50),
        "gif": _saved(photo.quantize(32), "GIF", transparency=3),
        "gif-animated": _saved(photo, "GIF", save_all=True, append_images=[photo.rotate(180)], interlace=1),
        "bmp": _saved(photo, "BMP"),
        "bmp-palette": _saved(photo.quantize(16), "BMP"),
        "bmp-1": _saved(photo.convert("1"), "BMP"),
        "bmp-rgba": _saved(rgba, "BMP"),
        "ppm": _saved(photo, "PPM"),
        "pgm-16": _saved(Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "PPM"),
        "pbm": _saved(photo.convert("1"), "PPM"),
        "ppm-text": b"P3\n# text\n4 2\n255\n" + b" ".join(str(n * 10).encode() for n in range(24)) + b"\n",
    }
    if features.check("avif"):
        seeds["avif"] = _saved(photo, "AVIF", exif=exif_block())
        seeds["avif-rgba"] = _saved(rgba, "AVIF", icc_profile=profile())
    if features.check("jpg_2000"):
        seeds["jp2"] = _saved(photo, "JPEG2000")
        seeds["j2k"] = _saved(rgba, "JPEG2000", no_jp2=True, irreversible=True)
    return seeds


def _heics() -> dict[str, bytes]:
    try:
        import pillow_heif
    except ImportError:
        return {}
    photo, seeds = _photo(), {}
    rgba = photo.copy()
    rgba.putalpha(photo.getchannel("R"))
    for name, image, options in (("heic", photo, {"exif": exif_block()}), ("heic-rgba", rgba, {})):
        file = io.BytesIO()
        pillow_heif.from_pillow(image).save(file, quality=60, **options)
        seeds[name] = file.getvalue()
    return seeds


MAKERS: tuple[Callable[[], dict[str, bytes]], ...] = (_pngs, _jpegs, _tiffs, _rest, _heics)


@cache
def seeds() -> dict[str, bytes]:
    """Every seed by its name, which begins with its format."""
    return {name: data for maker in MAKERS for name, data in maker().items()}
