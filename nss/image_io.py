"""Photos as they come: any source to straight 8-bit RGB, the image's own alpha, and its ICC profile.

The content decides what a file is, never its extension. Only the Pillow plugin that the signature names is imported, so
formats outside the table below (some of which start other programs, as EPS does) can never be reached.
"""

from __future__ import annotations

import importlib
import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nss.errors import ImageError, NssError

if TYPE_CHECKING:
    from PIL import Image

    Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | np.ndarray | Image.Image

# Pillow refuses from 179 megapixels, and phones already make 200. At this size the RGB pixels take 0.9 GB.
MAX_PIXELS = 300_000_000

EXTENSIONS = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

# How a file begins, Pillow's name of the format, Pillow's module for it.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG", "PngImagePlugin"),
    (b"\xff\xd8\xff", "JPEG", "JpegImagePlugin"),
    (b"GIF87a", "GIF", "GifImagePlugin"),
    (b"GIF89a", "GIF", "GifImagePlugin"),
    (b"II*\x00", "TIFF", "TiffImagePlugin"),
    (b"MM\x00*", "TIFF", "TiffImagePlugin"),
    (b"II+\x00", "TIFF", "TiffImagePlugin"),
    (b"MM\x00+", "TIFF", "TiffImagePlugin"),
    (b"BM", "BMP", "BmpImagePlugin"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000", "Jpeg2KImagePlugin"),
    (b"\xff\x4f\xff\x51", "JPEG2000", "Jpeg2KImagePlugin"),
    *((b"P%d" % kind, "PPM", "PpmImagePlugin") for kind in range(1, 7)),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# EXIF orientation (tag 0x0112) to the name of the PIL.Image.Transpose member that puts the photo upright.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded, upright image.

    Attributes:
        rgb: uint8 HxWx3, straight (never multiplied by alpha), in the colour space of ``icc``.
        alpha: uint8 HxW, the image's own alpha, or None if it has none.
        icc: the ICC profile that belongs to ``rgb``, or None (sRGB is then meant).
        path: the file it came from, or None.
        format: Pillow's name of the format, or ``"array"``.
        notes: what was done to the image that its owner may want to know, one short phrase each.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    icc: bytes | None
    path: Path | None
    format: str
    notes: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def name(self) -> str:
        """What to call the image in a message."""
        return str(self.path) if self.path else f"<{self.format} image>"


def load(source: Source) -> Photo:
    """Decode a path, the bytes of an image file, a PIL image, or a uint8 array (HxW, HxWx3 or HxWx4).

    EXIF orientation is applied and its tag forgotten. Greyscale, palette and 1-bit images become RGB; CMYK goes through
    its profile to sRGB where it has one; 16 bits become 8 by scaling; of an animation the first frame is taken. An
    array is taken as RGB or RGBA and is not copied where its layout allows that.

    Raises:
        ImageError: the source is missing, unreadable, not an image, damaged, empty, or of more than ``MAX_PIXELS``.
    """
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source), "<image bytes>", None)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    from PIL import Image

    if isinstance(source, Image.Image):
        return _guarded(source, "<PIL image>", None)
    raise ImageError(f"cannot read an image from {type(source).__name__}: give a path, bytes, PIL image or uint8 array")


def _from_path(path: Path) -> Photo:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise ImageError(f"{path}: is {kind}, not an image")
        with path.open("rb") as file:
            return _from_file(file, str(path), path)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except PermissionError as error:
        raise ImageError(f"{path}: permission denied; check who may read it") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ImageError(f"{path}: cannot be read: {_one_line(error)}") from error


def _from_array(array: np.ndarray) -> Photo:
    layouts = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not layouts:
        raise ImageError(
            f"cannot read an image from an array of {array.dtype} {array.shape}: give uint8 HxW, HxWx3 or HxWx4"
        )
    _check_size("<array>", array.shape[1], array.shape[0])
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    alpha = np.ascontiguousarray(array[..., 3]) if array.shape[2] == 4 else None
    return Photo(np.ascontiguousarray(array[..., :3]), alpha, None, None, "array", ())


def _from_file(file: IO[bytes], name: str, path: Path | None) -> Photo:
    head = file.read(32)
    file.seek(0)
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    format_, plugin = _identify(head, name)

    from PIL import Image

    # PIL.Image.open would import five plugins or forty, and stop at a pixel count that is process-wide state.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(f"PIL.{plugin}")
            factory, _ = Image.OPEN[format_]
            image = factory(file, name)
        except KeyError as error:
            raise ImageError(f"{name}: {format_} is not supported by this build of Pillow") from error
        except Exception as error:
            raise _damaged(name, format_, error) from error
    return _guarded(image, name, path)


def _identify(head: bytes, name: str) -> tuple[str, str]:
    for signature, format_, plugin in _SIGNATURES:
        if head.startswith(signature):
            return format_, plugin
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP", "WebPImagePlugin"
    if head[4:8] == b"ftyp":
        if b"avif" in head[8:] or b"avis" in head[8:]:
            return "AVIF", "AvifImagePlugin"
        if head[8:12] in _HEIF_BRANDS:
            raise ImageError(f"{name}: HEIC images cannot be read yet; convert it to JPEG or PNG first")
    raise ImageError(f"{name}: is not an image (PNG, JPEG, WebP, AVIF, TIFF, GIF, BMP, JPEG 2000 and PPM are read)")


def _guarded(image: Image.Image, name: str, path: Path | None) -> Photo:
    """Decode, with whatever a decoder raises turned into one line and its warnings kept from the user."""
    _check_size(name, *image.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _decode(image, path)
        except NssError as error:
            raise ImageError(f"{name}: {error}") from error
        except MemoryError as error:
            raise ImageError(f"{name}: not enough memory for {image.size[0]} x {image.size[1]} pixels") from error
        except Exception as error:  # for a damaged file Pillow's decoders raise almost anything
            raise _damaged(name, image.format or "PIL", error) from error


def _check_size(name: str, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} pixels are more than {MAX_PIXELS // 1_000_000} megapixels; "
            "reduce the image first (a small file of this size may be a decompression bomb)"
        )


def _damaged(name: str, format_: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: truncated or damaged {format_} image ({_one_line(error)})")


def _one_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _decode(image: Image.Image, path: Path | None) -> Photo:
    from PIL import Image

    notes: list[str] = []
    # The further pictures of an MPO file are previews or a second eye, not an animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        notes.append("several pages: first page used" if image.format == "TIFF" else "animated: first frame used")
    if any("16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I"):
        notes.append("16-bit reduced to 8")  # Pillow keeps the high byte of each sample
    image.load()

    icc = image.info.get("icc_profile") or None
    format_ = image.format or "PIL"
    image = _upright(image)
    alpha = None
    if image.mode == "F" or image.mode.startswith("I"):
        samples = np.asarray(image)
        if isinstance(key := image.info.get("transparency"), int):
            alpha = np.where(samples == key, 0, 255).astype(np.uint8)
        image = Image.fromarray(_to_8_bits(samples, notes))
    elif image.has_transparency_data:
        greyscale = image.mode in ("1", "L", "LA", "La")
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.getchannel("R") if greyscale else image.convert("RGB")

    image, icc = _to_rgb(image, icc, notes)
    return Photo(np.asarray(image), alpha, icc, path, format_, tuple(notes))


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata is no reason to refuse sound pixels
        return image
    if orientation not in _UPRIGHT:
        return image
    info = image.info
    image = image.transpose(Image.Transpose[_UPRIGHT[orientation]])
    image.info = info
    return image


def _to_8_bits(samples: np.ndarray, notes: list[str]) -> np.ndarray:
    """Greyscale samples of 16 or 32 bits or float (HxW) to uint8, scaled and never clipped."""
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("holds NaN or infinite samples")
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high, note = 0.0, 1.0, "float reduced to 8 bits"
    elif samples.dtype.kind != "f" and low >= 0 and high <= 65535:
        low, high, note = 0.0, 65535.0, "16-bit reduced to 8"
    else:
        note = f"samples from {low:g} to {high:g} stretched to 8 bits"
    notes.append(note)
    scaled = samples.astype(np.float32)
    scaled -= low
    scaled *= 255 / (high - low) if high > low else 0
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _to_rgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """Any 8-bit colour mode without alpha to RGB, and the profile that then belongs to it."""
    space = icc[16:20] if icc else b""  # ICC.1:2022, 7.2.6: the data colour space
    if image.mode == "CMYK" or (image.mode in ("1", "L") and space == b"GRAY"):
        kind = "CMYK" if image.mode == "CMYK" else "greyscale"
        if icc and space == {"CMYK": b"CMYK", "greyscale": b"GRAY"}[kind]:
            converted = _through_profile(image if kind == "CMYK" else image.convert("L"), icc)
            if converted is not None:
                notes.append(f"{kind} converted to sRGB")
                return converted
        notes.append(f"{kind} converted to RGB without a profile")
        return image.convert("RGB"), None
    if icc and space != b"RGB ":
        notes.append("ICC profile dropped: not for RGB")
        icc = None
    if image.mode == "LAB":
        raise ImageError("CIELAB images cannot be read; convert it to RGB first")
    return (image if image.mode == "RGB" else image.convert("RGB")), icc


def _through_profile(image: Image.Image, icc: bytes) -> tuple[Image.Image, bytes] | None:
    """The image in sRGB and the sRGB profile, or None where the profile is damaged."""
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        converted: Any = ImageCms.profileToProfile(
            image,
            io.BytesIO(icc),
            srgb,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return None
    profile = bytearray(srgb.tobytes())
    profile[24:36] = bytes(12)  # the time of creation: the same photo must give the same file
    return converted, bytes(profile)
