"""The constants of a model that was compiled in this process, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.compiled.model import Piece, Weights


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant, what makes it, and where it lies: a buffer, by index, and a byte offset and size in it."""

    content: Callable[[], np.ndarray]
    buffer: int
    offset: int
    nbytes: int


class GraphWeights(Weights):
    """Constants that are packed out of a graph's arrays, one at a time.

    It holds these arrays: for the most part the model file as it is mapped, and what the passes have computed. Nothing
    is held of what ``pieces`` makes.
    """

    def __init__(self, constants: Sequence[Constant]) -> None:
        self._constants = constants

    def pieces(self) -> Iterator[Piece]:
        """Each constant, in order of buffers and offsets, in whole words."""
        for constant in self._constants:
            with np.errstate(all="ignore"):  # infinities and NaN are values
                content = constant.content()
            data = content.reshape(-1).view(np.uint8)
            if data.nbytes < constant.nbytes:
                data = np.concatenate([data, np.zeros(constant.nbytes - data.nbytes, np.uint8)])
            yield Piece(constant.buffer, constant.offset, data, content.dtype.name)

    def verify(self) -> None:
        """Nothing: what this process has made was read from no file of the engine's."""
