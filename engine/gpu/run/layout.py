"""Where in the staging buffers what a run uploads and reads back lies."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from engine.compiled.model import TensorPlace
from engine.gpu.device.base import BoundCommand
from engine.gpu.plan.limits import staged
from engine.gpu.program.tensor import ITEM_BYTES
from engine.gpu.run.around import Readback, Upload


class Layout:
    """Of one run: the copies between staging buffers and the device's, and the commands around the network's.

    ``uploads`` are copies (offset in staging, buffer, its offset, bytes), and ``readback`` copies into staging,
    likewise. ``offsets`` is where the inputs lie, by number; ``other_offsets``, ``output_offsets`` and ``read_offsets``
    are pairs with what lies there.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[tuple[int, TensorPlace, Any]] = (),
        others: Sequence[Upload] = (),
        outputs: Sequence[tuple[TensorPlace, Any]] = (),
        reads: Sequence[Readback] = (),
        first: Sequence[BoundCommand] = (),
        last: Sequence[BoundCommand] = (),
    ) -> None:
        self.first, self.last = first, last
        self.uploads: list[tuple[int, Any, int, int]] = []
        self.readback: list[tuple[int, Any, int, int]] = []
        self.offsets: dict[int, int] = {}
        self.other_offsets: list[tuple[int, Upload]] = []
        self.output_offsets: list[tuple[TensorPlace, int]] = []
        self.read_offsets: list[tuple[int, Readback]] = []
        end = 0
        for number, place, buffer in inputs:
            self.offsets[number] = end
            if nbytes := stored_bytes(place):
                self.uploads.append((end, buffer, place.offset, staged(nbytes)))
            end += staged(nbytes)
        for upload in others:
            self.other_offsets.append((end, upload))
            if nbytes := upload.array.nbytes:
                self.uploads.append((end, upload.buffer, upload.offset, -(-nbytes // 4) * 4))
            end += staged(nbytes)
        self.upload_bytes, end = end, 0
        for place, buffer in outputs:
            nbytes = staged(stored_bytes(place))
            self.output_offsets.append((place, end))
            self.readback.append((end, buffer, place.offset, nbytes))
            end += nbytes
        for read in reads:
            self.read_offsets.append((end, read))
            if read.nbytes:
                self.readback.append((end, read.buffer, read.offset, read.nbytes))
            end += staged(read.nbytes)
        self.results_bytes = end


def stored_bytes(place: TensorPlace) -> int:
    """The bytes of an input or output as it is stored."""
    return prod(place.shape) * ITEM_BYTES[place.storage]
