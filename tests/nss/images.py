"""Images, profiles and EXIF blocks made by hand, for what Pillow does not write, and as an oracle apart from it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(width: int, height: int, *, depth: int, colour: int, lines: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand (PNG specification, third edition, clause 11), for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (ICC.1:2022, clause 7) of class output with these tags."""
    table, data, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    header = bytearray(128)
    header[0:4] = struct.pack(">I", offset + len(data))
    header[8:12] = b"\x02\x40\x00\x00"
    header[12:24] = b"prtr" + space + pcs
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">iii", 63190, 65536, 54061)  # D50
    return bytes(header) + table + data


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def white_point() -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)


def cmyk_profile() -> bytes:
    """Every ink only darkens, by a third (black: wholly), and has no hue: unlike any plain formula."""
    identity = bytes(range(256))
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    lightness = (1 - inks[:, 3]) * (1 - inks[:, :3].sum(1) / 3)
    clut = np.stack([np.rint(255 * lightness), np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8).tobytes()
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + clut + identity * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": lut, b"A2B1": lut, b"wtpt": white_point()})


def linear_grey_profile() -> bytes:
    return profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0\0\0\0\0", b"wtpt": white_point()})


STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    # EXIF 2.32, tag 0x0112: which side of the scene row 0 and column 0 of the stored pixels are
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.swapaxes(0, 1),
    6: lambda u: np.rot90(u, 1),
    7: lambda u: u[::-1, ::-1].swapaxes(0, 1),
    8: lambda u: np.rot90(u, -1),
}


def oriented(orientation: int | None, *, tag: int = 0x0112) -> Image.Exif:
    """An EXIF block with a maker and, if given, an orientation."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    if orientation:
        exif[tag] = orientation
    return exif


def in_container(encode: Callable[[bytes], bytes], container: int | None, exif: int | None) -> bytes:
    """AVIF or HEIF whose container (irot, imir) and EXIF block say what lies how, each for itself or not at all.

    Encoders write either after one EXIF orientation. So the block's own is written as a tag that they do not know
    (0x0113), and given its name afterwards; what they themselves left in the block loses it.
    """
    block = oriented(container)
    if exif:
        block[0x0113] = exif
    data = encode(block.tobytes())
    first, unknown, other = (struct.pack(">HHI", tag, 3, 1) for tag in (0x0112, 0x0113, 0x0110))
    assert data.count(unknown) == bool(exif)
    return data.replace(first, other).replace(unknown, first)


Entry = tuple[int, int, int, bytes]
"""Tag, type, count, and the values in the block's byte order."""


def exif_block(
    order: str,
    primary: list[Entry],
    exif: list[Entry] | None = None,
    gps: list[Entry] | None = None,
    interoperability: list[Entry] | None = None,
    thumbnail: bytes = b"",
) -> bytes:
    """An EXIF block (EXIF 2.32, 4.5 and 4.6) written from back to front, unlike what is tested."""
    body: list[bytes] = []  # lies behind 8 bytes of header and 6000 for directories
    directories: dict[int, bytes] = {}
    start = 8

    def place(entries: list[Entry], following: int = 0) -> int:
        nonlocal start
        table = struct.pack(order + "H", len(entries))
        for tag, kind, count, data in entries:
            inline = data.ljust(4, b"\0")
            if len(data) > 4:
                inline = struct.pack(order + "I", 6008 + sum(map(len, body)))
                body.append(data + bytes(len(data) % 2))
            table += struct.pack(order + "HHI4s", tag, kind, count, inline)
        table += struct.pack(order + "I", following)
        directories[start] = table
        start += len(table)
        return start - len(table)

    def pointer(tag: int, entries: list[Entry] | None) -> list[Entry]:
        return [] if entries is None else [(tag, 4, 1, struct.pack(order + "I", place(entries)))]

    following = 0
    if thumbnail:
        where = struct.pack(order + "I", 6008)
        body.append(thumbnail + bytes(len(thumbnail) % 2))
        length = struct.pack(order + "I", len(thumbnail))
        following = place([(0x0103, 3, 1, struct.pack(order + "H", 6)), (0x0201, 4, 1, where), (0x0202, 4, 1, length)])
    below = pointer(0xA005, interoperability)
    further = pointer(0x8769, sorted((exif or []) + below) if exif is not None or below else None)
    first = place(sorted(primary + further + pointer(0x8825, gps)), following)
    tables = b"".join(directories.values())
    assert len(tables) <= 6000
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
    return header + tables.ljust(6000, b"\0") + b"".join(body)
