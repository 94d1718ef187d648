"""What a session asks of a backend: an executor, and the runs that it has begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from engine.kernel_time import KernelTime

if TYPE_CHECKING:
    from engine.cpu.kernel import Observer


class PendingRun(Protocol):
    """A run that an executor has begun; any thread may ask for its results, once and again.

    ``done`` says whether ``result`` would not wait. ``overflowed``, once there is a result, says that in precision
    "f16", or on matrix units, an output of finite inputs holds NaN or an infinity. ``drop`` says that nobody will ask
    any more.
    """

    overflowed: bool

    @property
    def done(self) -> bool: ...

    def result(self) -> list[np.ndarray]: ...

    def drop(self) -> None: ...


@runtime_checkable
class Executor(Protocol):
    """What a backend makes of a graph: all that a session asks of it.

    Memory in bytes: ``weight_bytes`` of the constants, ``activation_bytes`` allocated for what a run makes,
    ``peak_bytes`` the most of it in use at once, ``scratch_bytes`` beside it. ``milliseconds`` is the wall time of the
    last run by stage, empty where a run has no stages beside its nodes. ``under_way`` counts the runs that were
    submitted and whose results nobody has taken. ``looks_for_nan`` says that ``submit`` raises InputError for inputs
    with NaN, unless ``allow_nan``; otherwise the session looks.
    """

    looks_for_nan: bool

    weight_bytes: int
    peak_bytes: int
    activation_bytes: int
    scratch_bytes: int

    @property
    def under_way(self) -> int: ...

    @property
    def milliseconds(self) -> Mapping[str, float]: ...

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]: ...

    def submit(self, inputs: Sequence[np.ndarray], *, allow_nan: bool) -> PendingRun: ...

    def profile(self, inputs: Sequence[np.ndarray]) -> list[KernelTime]: ...

    def gpu_seconds(self, runs: int = 1) -> list[float]: ...

    def close(self) -> None: ...
