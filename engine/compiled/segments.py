"""Where weights stand in files: shards, which are the files, and segments, which say how units are stored in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from engine.compiled.encodings import UNIT, UNIT_BYTES, Encoding
from engine.compiled.fields import Fields, HeaderError, array, integer

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of weights: its SHA-256, in hexadecimal, and its size in bytes."""

    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """The name of the file."""
        return f"{self.sha256}.bin"


@dataclass(frozen=True, slots=True)
class Segment:
    """Units that follow each other and are stored alike."""

    encoding: Encoding
    units: int

    @property
    def bytes(self) -> int:
        """Bytes that it takes in the shards."""
        return self.units * UNIT_BYTES[self.encoding]


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """The shards, in their order, and the segments, which cover all units in theirs."""

    shards: tuple[Shard, ...] = ()
    segments: tuple[Segment, ...] = ()

    def document(self) -> dict[str, object]:
        """What the header says of them."""
        return {
            "shards": [{"sha256": shard.sha256, "bytes": shard.bytes} for shard in self.shards],
            "segments": [[segment.encoding, segment.units] for segment in self.segments],
        }

    def check(self, sizes: Sequence[int]) -> None:
        """Raise HeaderError unless they hold constant buffers of these bytes, and each shard holds whole units."""
        covered = sum(segment.units for segment in self.segments) * UNIT
        if covered != starts(sizes)[-1]:
            raise HeaderError(f"its segments cover {covered:,} bytes, and its buffers have {starts(sizes)[-1]:,}")
        stored, held = sum(segment.bytes for segment in self.segments), sum(shard.bytes for shard in self.shards)
        if stored != held:
            raise HeaderError(f"its shards have {held:,} bytes, and its segments take {stored:,}")
        segments = iter(self.segments)
        begin = end = 0  # of a segment, in stored bytes
        unit = 1
        for index, limit in enumerate(ends(shard.bytes for shard in self.shards)[1:]):
            while end < limit:
                segment = next(segments)
                begin, end, unit = end, end + segment.bytes, UNIT_BYTES[segment.encoding]
            if (limit - begin) % unit:
                raise HeaderError(f"weights.shards[{index}] ends within a unit")


def ends(sizes: Iterable[int]) -> list[int]:
    """0, and where each of what stands one behind the other ends."""
    return list(accumulate(sizes, initial=0))


def stored_weights(fields: Fields) -> StoredWeights:
    """What a header says of its weights. Raises HeaderError."""
    fields.only(frozenset({"shards", "segments"}))
    place = fields.place("segments")
    segments = [_segment(value, f"{place}[{index}]") for index, value in enumerate(fields.array("segments"))]
    return StoredWeights(tuple(map(_shard, fields.objects("shards"))), tuple(segments))


def _shard(fields: Fields) -> Shard:
    fields.only(frozenset({"sha256", "bytes"}))
    if not _HASH.fullmatch(fields.text("sha256")):
        raise HeaderError(f"{fields.place('sha256')} is no SHA-256 in hexadecimal")
    return Shard(fields.text("sha256"), fields.integer("bytes", least=1))


def _segment(value: object, place: str) -> Segment:
    pair = array(value, place)
    if len(pair) != 2:
        raise HeaderError(f"{place} is no array of [encoding, units]")
    encoding, units = pair
    if not isinstance(encoding, str) or encoding not in UNIT_BYTES:
        raise HeaderError(f"{place} has none of the encodings {', '.join(UNIT_BYTES)}")
    return Segment(encoding, integer(units, place, least=1))


def starts(sizes: Sequence[int]) -> list[int]:
    """Where each constant buffer begins in the bytes of all units, and where the last one ends."""
    return ends(-(-size // UNIT) * UNIT for size in sizes)
