"""What a tuning found, layer by layer and of the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.tuning.timing import Timing

Rejection = Literal["wrong", "unsupported", "no room", "failed"]
"""Why a row was left out: its result is over the tolerance, it does not support the layer after all, the adapter has no
memory for it, or failed."""


@dataclass(frozen=True, slots=True)
class TunedLayer:
    """One kind of layer: all of a model that have one tuning key.

    Attributes:
        key: the tuning key, which begins with the family.
        op: the operator of the first of them.
        count: how many there are.
        table: the row that the table takes of itself.
        before: the row that they have without a tuning: the default that comes with the package, or else the table's.
        after: the row that was the fastest, or ``before`` where the gain was none worth having.
        timings: of each row that was measured; those that were dropped early by one sample, and without an error.
        rejected: the rows that were left out, and why.
    """

    key: str
    op: str
    count: int
    table: str
    before: str
    after: str
    timings: Mapping[str, Timing]
    rejected: Mapping[str, Rejection] = field(default_factory=dict)

    @property
    def seconds_before(self) -> float | None:
        """What one of the layers takes without a tuning; None where it could not be measured."""
        return self.timings[self.before].seconds if self.before in self.timings else None

    @property
    def seconds_after(self) -> float | None:
        """What one of the layers takes with the row that was found."""
        return self.timings[self.after].seconds if self.after in self.timings else None

    @property
    def gain(self) -> float:
        """The part of its time that the layer saves: 1 where it could not be measured without a tuning."""
        before, after = self.seconds_before, self.seconds_after
        return 1.0 if before is None or after is None else 1 - after / before


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What ``engine.tune`` did.

    Attributes:
        device: the adapter, as a session calls it.
        precision: of the numbers, as for Session.
        layers: those of which the table has several rows to offer, the dearest first, as far as the time went.
        left: the tuning keys that the time did not suffice for.
        seconds_before, seconds_after: of the whole model by the GPU's own clock, without the choices that were found
            and with them; None where there was no difference to measure.
        error: how far the outputs with these choices are from those without, as a part of the largest magnitude.
        kept: whether the choices are stored, and used from now on.
        failed: whether they would be, but could not be written.
        reason: why they are kept or not, in a line.
        seconds: what the tuning took.
        record: what ``nss-wgpu tune --record`` writes: adapter, versions, capabilities and all times, as JSON has them.
    """

    device: str
    precision: str
    layers: tuple[TunedLayer, ...]
    left: tuple[str, ...]
    seconds_before: float
    seconds_after: float | None
    error: float | None
    kept: bool
    failed: bool
    reason: str
    seconds: float
    record: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def changed(self) -> tuple[TunedLayer, ...]:
        """The layers for which another row was faster."""
        return tuple(layer for layer in self.layers if layer.after != layer.before)
