"""What a pipeline is put together from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nss.pipeline.lanes import AnyLane


class Lease(Protocol):
    """Memory that is reserved."""

    def release(self) -> object:
        """Give it back; again does nothing."""


class Budget(Protocol):
    """How much memory photos in work may take: `nss.pipeline.budget.MemoryBudget`."""

    def reserve(self, nbytes: int, timeout: float | None = None) -> Lease | None:
        """A part of this size, once there is room; None where there is none within so many seconds."""
        ...


@dataclass(frozen=True, eq=False)
class Stages:
    """What a `Pipeline` was made with."""

    load: Callable[[Any], Any]
    lanes: Sequence[AnyLane]
    finish: Callable[[Any, Any], Any]
    workers: int
    budget: Budget | None
    cost: Callable[[Any], int] | None
    ordered: bool
    results_hold_pixels: bool
