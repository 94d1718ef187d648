"""The EXIF block of a photo, and what of it a cut-out may carry on.

A block is a TIFF file without pixels: directories of tags, each with a type, a count and a value (EXIF 2.32, 4.6;
TIFF 6.0, section 2). Values are never interpreted here: they are moved byte for byte, in the block's own byte order,
and only the offsets between them are computed anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005

# Where the tags describe the pixels as they were stored: after turning, cropping and encoding anew none of it holds.
_STORED_PIXELS = frozenset(
    {
        *range(0x00FE, 0x0104),  # subfile types, width, length, bits per sample, compression
        *(0x0106, 0x0107, 0x0108, 0x0109, 0x010A),  # photometric interpretation, thresholding, cells, fill order
        *(0x0111, 0x0115, 0x0116, 0x0117, 0x0118, 0x0119, 0x011C),  # strips, samples a pixel and their range, planes
        *range(0x0120, 0x0126),  # free bytes, grey response, fax options
        *(0x012D, 0x013D, *range(0x0140, 0x0146)),  # transfer function, predictor, palette, halftones, tiles
        *(0x014C, 0x014D, 0x014E, 0x0150, 0x0151, 0x0152, 0x0153, 0x0154, 0x0155, 0x0156),  # inks, samples
        *(0x0157, 0x0158, 0x0159, 0x015A, 0x015B),  # clipping path, indexed colours, JPEG tables
        *range(0x0200, 0x020A),  # old JPEG, and the thumbnail
        *(0x0211, 0x0212, 0x0213, 0x0214),  # YCbCr, reference black and white
        *(0x9101, 0x9102, 0xA002, 0xA003),  # components, bits per pixel, width and height
        *(0x9214, 0xA214),  # where the subject is, in pixels
        *(0x1001, 0x1002),  # width and height again, in the interoperability directory
    }
)
# What holds further images, or the same metadata a second time, the place and the orientation among it.
_CONTAINERS = frozenset(
    {
        *(0x014A, 0x501B, 0x935C, 0xC634, 0xC68C),  # images, thumbnail, Photoshop's layers, DNG: maker's note, raw file
        *(0x02BC, 0x83BB, 0x8649, 0x8773),  # XMP, IPTC, Photoshop's resources, ICC
        0x927C,  # the maker's note
    }
)

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
"""Bytes of one value by type: those of TIFF 6.0, 13 for the offset of a directory, and UTF-8 (EXIF 3.0)."""

_OFFSET = 13

_MOST = 1 << 16
"""Bytes of all values taken from a TIFF file: as much as a JPEG file can hold."""


@dataclass(frozen=True)
class _Value:
    kind: int
    count: int
    data: bytes


_Directory: TypeAlias = dict[int, _Value]
_ReadBytes: TypeAlias = Callable[[int, int], bytes]


@dataclass(frozen=True)
class _Block:
    order: str
    primary: _Directory
    exif: _Directory
    gps: _Directory
    interoperability: _Directory


def clean(exif: bytes, *, gps: bool = False) -> bytes | None:
    """What a cut-out may carry on of a photo's EXIF block.

    Left out are the orientation, which has been applied; the place, unless ``gps``; every thumbnail, since it shows the
    background; what describes the pixels as they were stored; and XMP, IPTC and Photoshop's resources where they are
    part of the block, since they repeat all of that. The maker's note goes as well: its inner offsets count from the
    start of the old block, so that moving it damages it, and makers keep previews and serial numbers in it. All other
    values are kept byte for byte; a single one that cannot be found in the block is left out.

    Args:
        exif: the block from its TIFF header on, without "Exif\\0\\0".
        gps: keep the place.

    Returns:
        a block of the same form and byte order; None if nothing is left, or the block is damaged.
    """
    block = _parse(_reader(exif), most=len(exif), without=_STORED_PIXELS | _CONTAINERS | {_ORIENTATION})
    if block is None:
        return None
    return _serialise(block if gps else replace(block, gps={}))


def of_image(image: Image.Image, file: IO[bytes] | None) -> bytes | None:
    """The EXIF block of an image as it is in its file, from the TIFF header on; None if there is none.

    A TIFF file is such a block itself, with pixels in it: its tags are taken but for those that describe the pixels as
    they are stored, or hold further images or metadata of another kind. In AVIF and HEIF the container says how the
    photo is turned, and the orientation in the block may have been set after it by the decoder.

    Args:
        image: decoded; PNG may hold the block behind the pixels.
        file: the file it was decoded from.
    """
    if image.format == "TIFF":
        return _of_tiff(file) if file else None
    exif = image.info.get("exif")
    if exif is None and isinstance(text := image.info.get("Raw profile type exif"), str):
        exif = _from_text(text)
    return re.sub(rb"^(Exif\0\0)+", b"", exif) or None if isinstance(exif, bytes) else None


def is_sound(exif: bytes) -> bool:
    """Whether the block has a header and a first directory that can be read."""
    return _parse(_reader(exif), most=len(exif)) is not None


def orientation(image: Image.Image) -> int:
    """How the pixels of a decoded image lie, 1 to 8 (EXIF 2.32, tag 0x0112); 1 where nothing says so.

    EXIF says it, or else XMP. In AVIF and HEIF the container does, and neither of the two counts (ISO/IEC 23000-22,
    7.3.6): Pillow sets the EXIF orientation after the container's, and pillow-heif has turned the pixels.
    """
    if image.format == "HEIF":
        return 1
    if image.format == "AVIF":
        block = _parse(_reader(exif), most=len(exif)) if (exif := of_image(image, None)) else None
        value = block.primary.get(_ORIENTATION) if block else None
        number = struct.unpack(f"{block.order}H", value.data)[0] if block and value and len(value.data) == 2 else 1
    else:
        try:
            number = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # damaged metadata is no reason to refuse sound pixels
            number = 1
    return number if number in range(1, 9) else 1


def _from_text(text: str) -> bytes | None:
    """ImageMagick's way to keep a block in a PNG text chunk: a name, a length, then hexadecimal lines."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _of_tiff(file: IO[bytes]) -> bytes | None:
    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    block = _parse(read, most=_MOST, without=_STORED_PIXELS | _CONTAINERS)
    return _serialise(block) if block else None


def _reader(exif: bytes) -> _ReadBytes:
    return lambda offset, size: exif[offset : offset + size]


def _parse(read: _ReadBytes, *, most: int, without: frozenset[int] = frozenset()) -> _Block | None:
    """The directories, or None where the header or the first one cannot be read.

    Tags in ``without`` are passed over. ``most`` bytes are all that the values of the others may take together: values
    that overlap could claim far more.
    """
    header = read(0, 8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(header[:4])
    if order is None or len(header) < 8:
        return None
    budget = most

    def directory(offset: int) -> _Directory | None:
        nonlocal budget
        head = read(offset, 2)
        table = read(offset + 2, 12 * struct.unpack(f"{order}H", head)[0]) if len(head) == 2 else b""
        if not table or len(table) % 12:
            return None
        entries: _Directory = {}
        for tag, kind, count, inline in struct.iter_unpack(f"{order}HHI4s", table):
            size = count * _BYTES.get(kind, 0)
            if tag in without or not 0 < size <= budget:
                continue
            data = inline[:size] if size <= 4 else read(struct.unpack(f"{order}I", inline)[0], size)
            if len(data) == size:
                entries[tag] = _Value(kind, count, data)
                budget -= size
        return entries

    def below(parent: _Directory, tag: int) -> _Directory:
        pointer = parent.pop(tag, None)
        if pointer is None or len(pointer.data) != 4:
            return {}
        return directory(struct.unpack(f"{order}I", pointer.data)[0]) or {}

    primary = directory(struct.unpack(f"{order}I", header[4:])[0])
    if primary is None:
        return None
    exif, gps = below(primary, _EXIF_IFD), below(primary, _GPS_IFD)
    directories = (primary, exif, gps, below(exif, _INTEROPERABILITY_IFD))
    # where further directories are is known of no others
    return _Block(order, *({t: v for t, v in d.items() if v.kind != _OFFSET} for d in directories))


def _serialise(block: _Block) -> bytes | None:
    """One directory behind the other, each followed by its values; None without any."""
    order = block.order
    exif, primary = dict(block.exif), dict(block.primary)
    below = [(primary, _EXIF_IFD, exif), (exif, _INTEROPERABILITY_IFD, block.interoperability)]
    below.append((primary, _GPS_IFD, block.gps))
    placeholder = _Value(4, 1, bytes(4))
    for parent, tag, child in reversed(below):
        if child:
            parent[tag] = placeholder
    if not primary:
        return None
    offset = 8 + _size(primary)
    for parent, tag, child in below:
        if child:
            parent[tag] = _Value(4, 1, struct.pack(f"{order}I", offset))
            offset += _size(child)
    block_, header = b"", b"II*\0" if order == "<" else b"MM\0*"
    for directory in (primary, *(child for _, _, child in below if child)):
        block_ += _pack(directory, order, 8 + len(block_))
    return header + struct.pack(f"{order}I", 8) + block_


def _size(directory: _Directory) -> int:
    values = (len(value.data) for value in directory.values())
    return 6 + 12 * len(directory) + sum(size + size % 2 for size in values if size > 4)


def _pack(directory: _Directory, order: str, offset: int) -> bytes:
    table, values = struct.pack(f"{order}H", len(directory)), b""
    first = offset + 6 + 12 * len(directory)
    for tag, value in sorted(directory.items()):
        where = value.data.ljust(4, b"\0")
        if len(value.data) > 4:
            where = struct.pack(f"{order}I", first + len(values))
            values += value.data + bytes(len(value.data) % 2)  # offsets are even (TIFF 6.0, section 2)
        table += struct.pack(f"{order}HHI4s", tag, value.kind, value.count, where)
    return table + bytes(4) + values
