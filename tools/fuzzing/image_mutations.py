"""Damage to image files: to their bytes, and to the chunks, segments and directories that their formats are made of."""

from __future__ import annotations

import random
import struct
import zlib

from tools.fuzzing import byte_mutations

SIDES = (0, 1, 2, 3, 41, 255, 256, 4000, 16384, 17000, 65535, 65536, 2**31 - 1, 2**32 - 1)
"""What widths and heights are set to."""


def mutate(name: str, data: bytes, rng: random.Random) -> bytes:
    """A damaged copy of the file whose name begins with its format."""
    structured = {"png": _png, "apng": _png, "jpeg": _jpeg, "mpo": _jpeg, "tiff": _tiff, "webp": _boxes, "gif": _gif}
    structured |= {"heic": _boxes, "avif": _boxes, "jp2": _boxes, "bmp": _bmp}
    damage = structured.get(name.split("-")[0])
    kind = rng.random()
    if kind < 0.08 and (place := data.find(b"Exif\0\0")) >= 0:
        return byte_mutations.mutate(data, rng, first=place + 6)
    if kind < 0.5 and damage is not None:
        data = damage(data, rng)
        return data if rng.random() < 0.8 else byte_mutations.mutate(data, rng, first=8)
    # behind the signature mostly: without it a file is no image, and that is all there is to find
    return byte_mutations.mutate(data, rng, first=rng.choice((0, 12, 12, 12, 32)))


def _rearranged(parts: list[bytes], rng: random.Random) -> None:
    """One of the parts is missing, doubled, elsewhere or damaged."""
    if not parts:
        return
    place, action = rng.randrange(len(parts)), rng.randrange(5)
    if action == 0:
        del parts[place]
    elif action == 1:
        parts.insert(rng.randrange(len(parts) + 1), parts[place])
    elif action == 2:
        parts.insert(rng.randrange(len(parts)), parts.pop(place))
    elif action == 3:
        rng.shuffle(parts)
    else:
        parts[place] = byte_mutations.mutate(parts[place], rng)


def _png(data: bytes, rng: random.Random) -> bytes:
    """Chunks in another order or with other contents, their checksums right for most."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append(data[place + 4 : place + 8 + length])
        place += 12 + length
    if chunks and rng.random() < 0.4:
        header = bytearray(chunks[0])
        if rng.random() < 0.6:
            struct.pack_into(">I", header, rng.choice((4, 8)), rng.choice(SIDES))
        else:
            header[rng.randrange(12, len(header))] = rng.randrange(20)
        chunks[0] = bytes(header)
    else:
        _rearranged(chunks, rng)
    right = rng.random() < 0.9
    out = data[:8]
    for part in chunks:
        checksum = zlib.crc32(part) if right else rng.getrandbits(32)
        out += struct.pack(">I", max(0, len(part) - 4)) + part + struct.pack(">I", checksum)
    return out


def _jpeg(data: bytes, rng: random.Random) -> bytes:
    """Segments in another order or with other contents, or the frame with other sides."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segments.append(data[place : place + 2 + length])
        place += 2 + length
    frames = [index for index, part in enumerate(segments) if part[1] in (0xC0, 0xC1, 0xC2)]
    if frames and rng.random() < 0.4:
        frame = bytearray(segments[frames[0]])
        if rng.random() < 0.6 and len(frame) >= 9:
            struct.pack_into(">H", frame, rng.choice((5, 7)), rng.choice(SIDES) & 0xFFFF)
        else:
            frame[rng.randrange(1, len(frame))] = rng.randrange(256)
        segments[frames[0]] = bytes(frame)
    else:
        _rearranged(segments, rng)
    return data[:2] + b"".join(segments) + data[place:]


def _tiff(data: bytes, rng: random.Random) -> bytes:
    """An entry of the first directory: another tag, type, count or value. BigTIFF is damaged as bytes."""
    out, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if data[2:4] not in (b"*\0", b"\0*") or start + 2 > len(data):
        return byte_mutations.mutate(data, rng, first=4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entry = start + 2 + 12 * rng.randrange(max(1, count))
    if entry + 12 > len(data):
        return byte_mutations.mutate(data, rng, first=4)
    action = rng.randrange(5)
    if action == 0:
        struct.pack_into(f"{order}H", out, entry, rng.choice((*range(254, 340), 34675, 34665, 700, 33432)))
    elif action == 1:
        struct.pack_into(f"{order}H", out, entry + 2, rng.randrange(20))
    elif action == 2:
        struct.pack_into(f"{order}I", out, entry + 4, rng.choice((0, 1, 2, 3, 1000, 2**31, 2**32 - 1)))
    else:
        small = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64)
        struct.pack_into(f"{order}I", out, entry + 8, rng.choice((*SIDES, *small, len(data), len(data) - 1)))
    return bytes(out)


def _boxes(data: bytes, rng: random.Random) -> bytes:
    """RIFF chunks, or boxes of ISO media files: in another order, with other contents or another size."""
    riff = data[:4] == b"RIFF"
    boxes, place = [], 12 if riff else 0
    while place + 8 <= len(data):
        if riff:
            length = 8 + int.from_bytes(data[place + 4 : place + 8], "little")
            length += length % 2
        else:
            length = int.from_bytes(data[place : place + 4], "big")
        if length < 8:
            break
        boxes.append(data[place : place + length])
        place += length
    first, others = ([], boxes) if riff else (boxes[:1], boxes[1:])
    _rearranged(others, rng)
    out = b"".join([*first, *others]) + data[place:]
    return data[:12] + out if riff else out


def _gif(data: bytes, rng: random.Random) -> bytes:
    """The screen's or the first frame's sides, or a flag."""
    out, frame = bytearray(data), data.find(b",", 13)
    place = rng.choice((6, 8, frame + 5, frame + 7)) if 0 < frame < len(data) - 9 else 6
    if rng.random() < 0.7:
        struct.pack_into("<H", out, place, rng.choice(SIDES) & 0xFFFF)
    else:
        out[rng.choice((10, 11, frame + 9))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _bmp(data: bytes, rng: random.Random) -> bytes:
    """A field of the header."""
    out = bytearray(data)
    place = rng.choice((2, 10, 14, 18, 18, 22, 22, 26, 28, 30, 34, 46))
    struct.pack_into("<I", out, place, rng.choice((*SIDES, 8, 16, 24, 32, 40, 54, 2**32 - 28)))
    return bytes(out)
