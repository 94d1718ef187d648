"""Many photos through stages that overlap: loading, the network, and everything after it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, Generic, TypeVar

from nss.pipeline.lanes import AnyLane, Lane, LaneLostError
from nss.pipeline.parts import Budget, Stages
from nss.pipeline.run import Run
from nss.pipeline.stop import Stop

Job = TypeVar("Job")
Loaded = TypeVar("Loaded")
Output = TypeVar("Output")
Result = TypeVar("Result")


class Pipeline(Generic[Job, Loaded, Output, Result]):
    """The stages, and what comes out of them.

    ``load`` and ``finish`` are called from any of ``workers`` threads, finishing before loading. Each lane has a thread
    of its own, which submits runs and takes their outputs, and all take from one queue. With one worker everything is
    done in the calling thread, one job after the other.
    """

    def __init__(
        self,
        load: Callable[[Job], Loaded],
        lanes: Sequence[Lane[Job, Loaded, Output]],
        finish: Callable[[Job, Output], Result],
        *,
        workers: int,
        budget: Budget | None = None,
        cost: Callable[[Job], int] | None = None,
        ordered: bool = True,
        results_hold_pixels: bool = False,
    ) -> None:
        """Nothing begins before `results`.

        Args:
            load: what goes to the network. It must leave nothing behind that matters: nothing waits for one that is no
                longer needed.
            lanes: what runs the network, one or more.
            finish: the result, of what the network gave.
            workers: how many photos are loaded ahead of the network, or loading, and as many again are unfinished
                behind it, beside those that the lanes have in flight; of as many again only the result is held, because
                one before them takes longer, or the caller does.
            budget: memory that is reserved for each job, in their order, before it is loaded.
            cost: how many bytes a job wants of it.
            ordered: jobs go through the network, and results come, in the order of the jobs; or else as they are ready.
            results_hold_pixels: a result's memory is given back when the caller asks for the next, not when it is
                finished.
        """
        self._stages = Stages(load, tuple(lanes), finish, max(1, workers), budget, cost, ordered, results_hold_pixels)
        self._run: Run | None = None

    def results(
        self, jobs: Iterable[Job], stop: Stop | None = None
    ) -> Generator[tuple[Job, Result | Exception], None, None]:
        """Each job with what ``finish`` returned, or with the exception that a stage raised.

        Jobs are taken from the iterable as there is room, by another thread; what it raises comes behind the jobs
        before. A failed job does not keep the others from being done. When ``stop`` is requested, jobs in hand are
        finished, and no other is begun. Closing the iterator ends the work: nothing is begun, and what is being
        finished is, whatever signals come meanwhile. The same where a signal raises in it, or a stage raises what is no
        Exception.
        """
        stop = Stop() if stop is None else stop
        self._run = None
        if self._stages.workers == 1:
            return self._one_by_one(jobs, stop)
        return self._overlapping(jobs, stop)

    def run(
        self, jobs: Iterable[Job], report: Callable[[Job, Result | Exception], object], stop: Stop | None = None
    ) -> None:
        """Report each of `results`; after an interrupt, also what was finished meanwhile, and then raise that."""
        try:
            with closing(self.results(jobs, stop)) as results:
                for job, result in results:
                    report(job, result)
                    del result
        except BaseException as end:
            if not isinstance(end, Exception) and self._run is not None:
                for job, result in self._run.untold():
                    report(job, result)
            raise

    def bottleneck(self) -> str:
        """The stage that the others wait for: "decode", "network" or "write", or "" where that cannot be said."""
        return "" if self._run is None else self._run.busy.bottleneck()

    def _overlapping(self, jobs: Iterable[Job], stop: Stop) -> Generator[tuple[Any, Any], None, None]:
        self._run = Run(self._stages, jobs, stop)
        yield from self._run.results()

    def _one_by_one(self, jobs: Iterable[Job], stop: Stop) -> Generator[tuple[Any, Any], None, None]:
        budget, cost = self._stages.budget, self._stages.cost
        network = _Turns(self._stages.lanes)
        for job in jobs:
            if stop.requested:
                return
            lease, result = None, None
            try:
                try:
                    if budget is not None and cost is not None:
                        lease = budget.reserve(cost(job))
                    result = self._through(job, network, stop)
                except Exception as error:
                    result = error
                yield job, result
                del result
            finally:
                if lease is not None:
                    lease.release()
            stop.in_hand = 0

    def _through(self, job: Any, network: _Turns, stop: Stop) -> Any:
        loaded = self._stages.load(job)
        stop.in_hand = 1
        output = network.output(job, loaded)
        del loaded
        return self._stages.finish(job, output)


class _Turns:
    """Lanes that one thread uses: the first, and when that is lost, the next."""

    def __init__(self, lanes: Sequence[AnyLane]) -> None:
        self._lanes = list(lanes)

    def output(self, job: Any, loaded: Any) -> Any:
        """What the network gives. Raises what it does."""
        while True:
            try:
                return self._lanes[0].submit(job, loaded).result()
            except LaneLostError:
                if len(self._lanes) == 1:
                    raise
                del self._lanes[0]
