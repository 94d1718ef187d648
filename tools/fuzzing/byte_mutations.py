"""Damage to files of any format: what disks, networks and other fuzzers do to bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""What length fields are set to: where signs, widths and additions break."""

ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")


def flip(data: bytearray, rng: random.Random) -> None:
    """One bit to 32 bits, anywhere."""
    for _ in range(2 ** rng.randrange(6)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    """A run of bytes by noise, zeros or ones."""
    start, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 256))
    value = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    data[start : start + length] = value[: len(data) - start]


def truncate(data: bytearray, rng: random.Random) -> None:
    """The end is missing: mostly a little of it."""
    del data[max(1, len(data) - rng.choice((1, 2, 8, rng.randrange(1, len(data) + 1)))) :]


def remove(data: bytearray, rng: random.Random) -> None:
    """A part within is missing."""
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 64, 1024))]


def insert(data: bytearray, rng: random.Random) -> None:
    """Noise between."""
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 4, 64, 1024)))


def repeat(data: bytearray, rng: random.Random) -> None:
    """A part of it stands in another place as well."""
    start, to = rng.randrange(len(data)), rng.randrange(len(data) + 1)
    data[to:to] = data[start : start + rng.choice((4, 64, 1024))]


def exchange(data: bytearray, rng: random.Random) -> None:
    """Two parts have changed places."""
    size = rng.choice((1, 4, 64, 512))
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    if a + size <= b:
        first, second = bytes(data[a : a + size]), bytes(data[b : b + size])
        data[b : b + size], data[a : a + size] = first, second


def relength(data: bytearray, rng: random.Random) -> None:
    """What may be a length, in either byte order: a number that is small for the file becomes an extreme."""
    width, order = rng.choice((1, 2, 4)), rng.choice(ORDERS)
    if len(data) < width:
        return
    places = range(len(data) - width + 1)
    likely = [
        place
        for place in (rng.choice(places) for _ in range(40))
        if 0 < int.from_bytes(data[place : place + width], order) <= len(data)
    ]
    place = rng.choice(likely or places)
    now = int.from_bytes(data[place : place + width], order)
    value = rng.choice((*LENGTHS, now + 1, now - 1, now * 2, len(data))) % 256**width
    data[place : place + width] = value.to_bytes(width, order)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip,
    flip,
    overwrite,
    truncate,
    remove,
    insert,
    repeat,
    exchange,
    relength,
    relength,
)


def mutate(data: bytes, rng: random.Random, *, first: int = 0) -> bytes:
    """One to four mutations, one after the other, behind the first ``first`` bytes."""
    head, rest = data[:first], bytearray(data[first:])
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rest:
            rng.choice(MUTATIONS)(rest, rng)
    return head + bytes(rest)
