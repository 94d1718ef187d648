"""What runs networks: each lane is one adapter with its session, or the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

Job = TypeVar("Job")
Loaded = TypeVar("Loaded")
Output = TypeVar("Output")
Value = TypeVar("Value", covariant=True)


class LaneLostError(Exception):
    """An adapter is gone; what it was at is for the other lanes."""


class Pending(Protocol[Value]):
    """A run that has been submitted."""

    def result(self) -> Value:
        """Wait for its output. Raises what the run raised, or LaneLostError."""
        ...


class Ready(Generic[Output]):
    """A run that is over, and was computed once."""

    repeated = False

    def __init__(self, value: Output) -> None:
        self._value = value

    def result(self) -> Output:
        """Its output."""
        return self._value


class Lane(Generic[Job, Loaded, Output]):
    """One adapter or processor. All its methods but `interrupt` are called from one thread at a time.

    Attributes:
        depth: how many runs it may have in flight.
    """

    depth: int = 1

    def submit(self, job: Job, loaded: Loaded) -> Pending[Output]:
        """Begin a run; outputs are asked for in the order of the submissions.

        Raises:
            LaneLostError: the adapter is gone. The same from the result of a run. This job, and those that are in
                flight, go to other lanes, and the lane gets no more. From the last lane it is the failure of its job.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """The outputs of what is in flight are of no use any more: let submit and result end early. From any thread."""


class CallLane(Lane[Job, Loaded, Output]):
    """A lane that computes in `submit`, by one call."""

    def __init__(self, infer: Callable[[Job, Loaded], Output]) -> None:
        self._infer = infer

    def submit(self, job: Job, loaded: Loaded) -> Ready[Output]:
        """The output, computed."""
        return Ready(self._infer(job, loaded))


AnyLane = Lane[Any, Any, Any]
