"""From a path, bytes or a PIL image to an image that Pillow is ready to decode, and to one line where that fails.

The content decides what a file is, never its extension. Only the Pillow plugin that the signature names is imported, so
formats outside the table below (some of which start other programs, as EPS does) can never be reached.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from nss import pipes
from nss.errors import ImageError, NssError, one_line
from nss.photos import codec_messages
from nss.photos.image_size import MAX_PIXELS, TooManyPixelsError, check_jpeg, check_size, pillows_limit, sparse_note
from nss.photos.quiet import quiet
from nss.pipes import OneTimeFile

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    ImageSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image
    Factory: TypeAlias = Callable[[IO[bytes], None], ImageFile.ImageFile]

EXTENSIONS = frozenset(
    {".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"}
    | {".jfi", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pjp", ".pjpeg"}
    | {".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"}
    | {".apng", ".bmp", ".dib", ".gif", ".png", ".tif", ".tiff", ".webp"}
    | {".pbm", ".pgm", ".pnm", ".ppm"}
)
"""What the names of images end in, in lower case: a search goes by them, reading does not."""

# Python prints what Pillow logs beside an error that it raises, where no handler is set
logging.getLogger("PIL").addHandler(logging.NullHandler())

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
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000", "Jpeg2KImagePlugin"),
    (b"\xff\x4f\xff\x51", "JPEG2000", "Jpeg2KImagePlugin"),
    *((b"P%d%c" % (kind, end), "PPM", "PpmImagePlugin") for kind in range(1, 7) for end in b" \t\n\v\f\r#"),
)
# ISO/IEC 23008-12 annex B and 23000-22: the brands of images, and of image sequences, coded as HEVC, or as anything
_AVIF = frozenset({b"avif", b"avis"})
_HEVC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC = frozenset({b"mif1", b"msf1", b"miaf"})
_HEAD = 512  # bytes: more brands than any writer lists
_DIB_HEADERS = (40, 52, 56, 64, 108, 124)  # sizes, as Windows and OS/2 have had them
_BMP_HEADERS = (12, 16, *_DIB_HEADERS)

_BLOCK = 1 << 24
"""Bytes that Pillow reads and decodes at a time. Of its own 64 KiB a photo of 12 megapixels has 43, and for each one it
may wait 5 ms for the interpreter lock, where another thread is at work in Python."""

SIGNATURE = 64
"""The bytes of a file's beginning that `has_signature` needs."""


@dataclass(frozen=True, eq=False)
class ImageHandle:
    """An image of which nothing but the header has been read.

    Attributes:
        image: not decoded yet, unless its owner has done that.
        name: what to call it in a message.
        path: the file it comes from, or None.
        file: the encoded image, or None where only a PIL image was given.
        reopen: opens the same content once more, or None where there is no ``file``.
        notes: what its owner may want to know, one short phrase each.
        max_pixels: how many it may have.
    """

    image: Image.Image
    name: str
    path: Path | None
    file: IO[bytes] | None
    reopen: Callable[[], ImageFile.ImageFile] | None
    notes: tuple[str, ...] = ()
    max_pixels: int = MAX_PIXELS

    @property
    def one_time_file(self) -> OneTimeFile | None:
        """What a path gave that cannot be read again; None where it can."""
        if self.path is None or not isinstance(self.file, io.BytesIO):
            return None
        return OneTimeFile(self.path, self.file.getvalue())


@contextmanager
def open_image(
    source: ImageSource, name: str | None = None, max_pixels: int = MAX_PIXELS, *, announce: bool = True
) -> Iterator[ImageHandle]:
    """Open a path, the bytes of an image file, or a PIL image, for the length of a ``with`` block.

    A path may be that of a pipe, which is read into memory.

    What the block raises, as decoders do, becomes an ImageError too, and the warnings of decoders are dropped.

    Args:
        source: the image.
        name: what to call it in an error, where it has no path.
        max_pixels: how many it may have.
        announce: pass a note on a file that is hardly a photo to the command at once.

    Raises:
        ImageError: the source is missing, unreadable, not an image, damaged, empty, of more than ``max_pixels``, or a
            file that was written to within the block. A file whose name goes to another one meanwhile is read to its
            end: what was opened is whole.
    """
    if isinstance(source, OneTimeFile):
        with _from_file(io.BytesIO(source.content), str(source.path), source.path, max_pixels, announce) as handle:
            yield handle
        return
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with _steady(path) as file, _from_file(file, str(path), path, max_pixels, announce) as handle:
            yield handle
        return
    if isinstance(source, (bytes, bytearray, memoryview)):
        with _from_file(io.BytesIO(source), name or "<image bytes>", None, max_pixels, announce) as handle:
            yield handle
        return
    from PIL import Image

    if not isinstance(source, Image.Image):
        kind = type(source).__name__
        raise ImageError(
            f"cannot read an image from {kind}: give a path, bytes, a binary file object, a PIL image or an array"
        )
    handle = ImageHandle(source, name or "<PIL image>", path=None, file=None, reopen=None, max_pixels=max_pixels)
    with _in_one_line(handle.name, source.format or "PIL"):
        check_size(handle.name, *source.size, max_pixels)
        yield handle


def rows_of(image: Image.Image, top: int, end: int) -> Image.Image:
    """The rows ``top`` to ``end`` of an image, which is decoded first where it is not yet.

    Pillow's own ``crop`` does the same, but before version 13 stops at ``PIL.Image.MAX_IMAGE_PIXELS``, which belongs to
    the process.
    """
    image.load()
    return image._new(image.im.crop((0, top, image.width, end)))


@contextmanager
def _steady(path: Path) -> Iterator[IO[bytes]]:
    """The file, for a block that reads it; refused afterwards if it was written to meanwhile."""
    file: IO[bytes]
    try:
        pipe = pipes.is_pipe(path)
        if not (pipe or stat.S_ISREG(path.stat().st_mode)):
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise ImageError(f"{path}: is {kind}, not an image")
        file = io.BytesIO(pipes.read(path).content) if pipe else path.open("rb")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except PermissionError as error:
        raise ImageError(f"{path}: permission denied; check who may read it") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ImageError(f"{path}: cannot be read: {_text(error)}") from error
    if pipe:
        yield file
        return
    with file:
        before = os.fstat(file.fileno())
        try:
            yield file
        except ImageError as error:
            _check_unchanged(path, before, file, error)  # half a file looks damaged
            raise
        _check_unchanged(path, before, file, None)


def _check_unchanged(path: Path, before: os.stat_result, file: IO[bytes], damage: ImageError | None) -> None:
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError(f"{path}: changed while it was being read; run it again when it is complete") from damage


@contextmanager
def _from_file(file: IO[bytes], name: str, path: Path | None, max_pixels: int, announce: bool) -> Iterator[ImageHandle]:
    try:
        head = file.read(_HEAD)
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {_text(error)}") from error
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    format_, module = _identify(head, name)
    with _in_one_line(name, format_):
        factory = _heif_factory(name) if format_ == "HEIF" else _factory(format_, module, name)

        length = file.seek(0, os.SEEK_END)

        def reopen() -> ImageFile.ImageFile:
            file.seek(0)
            # given a name, Pillow would map whatever file has it now, and a mapped file that shrinks ends the process
            image = factory(file, None)
            image.decodermaxblock = max(image.decodermaxblock, min(length, _BLOCK))
            return image

        image = reopen()
        check_size(name, *image.size, max_pixels)
        place = file.tell()
        if format_ == "JPEG":
            check_jpeg(name, file, length)
        file.seek(place)
        note = sparse_note(*image.size, length)
        if note and announce:
            codec_messages.tell(name, note)  # before it is decoded, which may take long, or all the memory
        notes = (note,) if note else ()
        yield ImageHandle(image, name, path, file, reopen=reopen, notes=notes, max_pixels=max_pixels)


def has_signature(head: bytes) -> bool:
    """Whether a file that begins so, with ``SIGNATURE`` bytes or all that it has, is an image."""
    return _format_of(head) is not None


def _identify(head: bytes, name: str) -> tuple[str, str]:
    if (plugin := _format_of(head)) is not None:
        return plugin
    formats = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP, JPEG 2000 and PPM"
    raise ImageError(f"{name}: is not an image ({formats} are read)")


def _format_of(head: bytes) -> tuple[str, str] | None:
    """Pillow's name of the format, and its module for it; None where it is none of those that are read."""
    for signature, format_, module in _SIGNATURES:
        if head.startswith(signature):
            return format_, module
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP", "WebPImagePlugin"
    if head[4:8] == b"ftyp":
        box = head[: int.from_bytes(head[:4], "big")]
        major, compatible = box[8:12], {box[i : i + 4] for i in range(16, len(box), 4)}
        if major in _AVIF or (major in _ANY_CODEC and compatible & _AVIF):
            return "AVIF", "AvifImagePlugin"
        if major in _HEVC | _ANY_CODEC:
            return "HEIF", "pillow_heif"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP", "BmpImagePlugin"
    if int.from_bytes(head[:4], "little") in _DIB_HEADERS and head[12:14] == b"\x01\x00":  # one plane
        return "DIB", "BmpImagePlugin"
    return None


def _factory(format_: str, module: str, name: str) -> Factory:
    # PIL.Image.open would import five plugins or forty, and stop at a pixel count that is process-wide state.
    from PIL import Image

    importlib.import_module(f"PIL.{module}")
    if format_ not in Image.OPEN:
        raise ImageError(f"{name}: {format_} is not supported by this build of Pillow")
    factory: Factory = Image.OPEN[format_][0]  # type: ignore[assignment]
    return factory


def _heif_factory(name: str) -> Factory:
    """pillow-heif's class itself: its own way to register it would change what ``PIL.Image.open`` does elsewhere."""
    try:
        factory: Factory = importlib.import_module("pillow_heif").HeifImageFile
    except ImportError as error:
        raise ImageError(f"{name}: HEIC images need one more package: pip install 'nss-wgpu[heic]'") from error
    return factory


@contextmanager
def _in_one_line(name: str, format_: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line, and keep its warnings from the user.

    What it says on standard error becomes part of that line, or is told with the name (see
    `nss.photos.codec_messages`).
    """
    with quiet(), codec_messages.messages_of(name, format_) as messages:
        try:
            yield
        except NssError as error:
            if str(error).startswith(f"{name}: "):
                raise
            raise ImageError(f"{name}: {error}") from error
        except MemoryError as error:
            raise ImageError(f"{name}: there is not enough memory to decode it") from error
        except Exception as error:  # for a damaged file Pillow's decoders raise almost anything
            if type(error).__name__ == "DecompressionBombError":
                raise TooManyPixelsError(f"{name}: {pillows_limit()}") from error
            reasons = "; ".join([_text(error), *messages()])
            raise ImageError(f"{name}: truncated or damaged {format_} image ({reasons})") from error
        for message in messages():
            codec_messages.tell(name, message)


def _text(error: BaseException) -> str:
    return one_line(error.strerror if isinstance(error, OSError) and error.strerror else error) or type(error).__name__
