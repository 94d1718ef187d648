"""What a process and its worker say to each other, and what the work must be like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from nss.workers.crossing import CrossingError
    from nss.workers.shared_block import Place


class Named(Protocol):
    """What is worked on; it is pickled with every request."""

    @property
    def name(self) -> str:
        """What an error calls it."""


@dataclass(frozen=True)
class Loaded:
    """The first half of what a worker does for a photo.

    Attributes:
        kept: what stays with the worker until the second half, pixels for instance.
        arrays: what goes to the parent through shared memory.
        summary: what else goes there, small, and pickled.
    """

    kept: Any
    arrays: Sequence[np.ndarray] = ()
    summary: Any = None


class Work(Protocol):
    """What a worker does. It is pickled, and so is made of data and of functions that modules have by name."""

    def load(self, job: Any) -> Loaded:
        """The first half."""

    def finish(self, job: Any, kept: Any, arrays: Sequence[np.ndarray], output: Any) -> Any:
        """The second half: with what the first has kept, and with what the parent has made meanwhile, as arrays (which
        hold until this returns) and as ``output``. What it returns is small, and pickled.
        """


@dataclass(frozen=True)
class LoadRequest:
    """The first half; ``key``: under which it is kept; ``block``: the number of the block for its arrays, None where
    none is free, and they are pickled.
    """

    key: int
    job: Any
    block: int | None


@dataclass(frozen=True)
class FinishRequest:
    """The second half, of as much of the job as it needs; where ``key`` is None the first goes before it, and what it
    has for the parent is dropped.
    """

    key: int | None
    job: Any
    block: int
    places: tuple[Place, ...]
    output: Any


@dataclass(frozen=True)
class DropRequest:
    """What is kept under ``key`` is wanted no more. It has no answer."""

    key: int


@dataclass(frozen=True)
class Note:
    """Something that a codec said of a file, ahead of the answer."""

    name: str
    text: str


@dataclass(frozen=True)
class Naming:
    """A file is about to get a name, ahead of the answer; ``identity``: its device and inode."""

    path: Path
    identity: tuple[int, int]


@dataclass(frozen=True)
class Done:
    """The answer: arrays (or their places) and summary of a first half, or what the second has returned."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The answer: what was raised."""

    error: CrossingError
