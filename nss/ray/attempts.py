"""Which photos are in work, and how often work on each has ended with its worker: what a worker cannot say itself.

A worker says which photo it begins before it touches it. Where the same photo is begun by another worker, and nobody
has said that it was done, the first one has ended over it. That counts against the photo where the machine lives on,
and not where the machine has gone, too: a photo is not at fault for a machine that was taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nss.errors import ImageError

MOST_ENDED = 2
"""How many workers a photo may end; then it is set aside."""

MOST_LOST = 5
"""How many machines may go while a photo is in work."""

PER_WITNESS = 32
"""Workers for each process that keeps count: each asks once for a photo, and an answer takes a fraction of a
millisecond."""


@dataclass(frozen=True)
class Attempts:
    """How often work on a photo has ended before its end.

    Attributes:
        ended: workers that ended on a machine that lives.
        lost: those that went with their machine.
    """

    ended: int = 0
    lost: int = 0

    def check(self, name: str) -> None:
        """Raise ImageError where the photo is to be set aside."""
        if self.ended >= MOST_ENDED:
            raise ImageError(
                f"{name}: set aside: {self.ended} workers have ended over it, by a crash or for want of memory"
            )
        if self.lost >= MOST_LOST:
            raise ImageError(f"{name}: set aside: {self.lost} machines have gone while it was in work")


class Witness:
    """Keeps count; any number of workers ask."""

    def __init__(self, living: Callable[[], Iterable[str]] | None = None) -> None:
        """``living``: gives the machines that are there; by default the cluster's."""
        self._living = living or _living_nodes
        self._in_work: dict[tuple[str, int], tuple[str, str]] = {}
        self._attempts: dict[int, Attempts] = {}

    def begin(self, stage: str, photo: int, worker: str, node: str, done: Sequence[int] = ()) -> Attempts:
        """What has come of the photo before; it counts as in work from now on, unless it is to be set aside.

        Args:
            stage: what is done with it. It may go on to the next one before it is said that it is done with this one.
            photo: its index.
            worker: a name that no other process has.
            node: its machine.
            done: photos that the worker has come to an end with in this stage.
        """
        self.end(stage, done)
        before = self._in_work.get((stage, photo))
        attempts = self._attempts.get(photo, Attempts())
        if before is not None and before[0] != worker:
            if before[1] in self._living():
                attempts = Attempts(attempts.ended + 1, attempts.lost)
            else:
                attempts = Attempts(attempts.ended, attempts.lost + 1)
            self._attempts[photo] = attempts
            del self._in_work[stage, photo]
        if attempts.ended < MOST_ENDED and attempts.lost < MOST_LOST:
            self._in_work[stage, photo] = worker, node
        return attempts

    def end(self, stage: str, photos: Sequence[int]) -> None:
        """This stage of these photos has come to an end, whatever that was."""
        for photo in photos:
            self._in_work.pop((stage, photo), None)


def _living_nodes() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


class Witnesses:
    """The witnesses of a run: photos are shared out among them. It pickles."""

    def __init__(self, workers: int) -> None:
        """Start them, for this many workers, on the machine of the calling process, whose end is the run's, too."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        witness = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Witness)
        self._handles: list[Any] = [witness.remote() for _ in range(-(-workers // PER_WITNESS))]

    @contextmanager
    def watching(self, stage: str) -> Iterator[Watch]:
        """For a stage of one block of photos, in a worker."""
        watch = Watch(self._handles, stage)
        try:
            yield watch
        finally:
            watch.tell()


class Watch:
    """What one worker says to the witnesses."""

    def __init__(self, handles: Sequence[Any], stage: str) -> None:
        import ray

        context = ray.get_runtime_context()
        self._handles, self._stage = handles, stage
        self._worker, self._node = context.get_worker_id(), context.get_node_id()
        self._done: list[int] = []

    def begin(self, photo: int) -> Attempts:
        """Say that work on a photo begins, and hear what has come of it before."""
        import ray

        witness = self._witness(photo)
        done = [index for index in self._done if self._witness(index) is witness]
        self._done = [index for index in self._done if self._witness(index) is not witness]
        self.tell()
        return ray.get(witness.begin.remote(self._stage, photo, self._worker, self._node, done))

    def end(self, photo: int) -> None:
        """Say that it is done with, when the next one begins, or at the end."""
        self._done.append(photo)

    def tell(self) -> None:
        """Say what is left to say, without waiting."""
        for index in self._done:
            self._witness(index).end.remote(self._stage, [index])
        self._done.clear()

    def _witness(self, photo: int) -> Any:
        return self._handles[photo % len(self._handles)]
