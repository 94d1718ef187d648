"""Photos that were asked for: what state each is in, and what is kept of those that are done."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from nss.errors import quoted
from nss.pipeline.budget import BudgetClosedError
from nss.serve.api.events import ENDED, EventLog
from nss.serve.jobs.photo_host import Product
from nss.serve.jobs.photo_task import PhotoTask
from nss.serve.jobs.tasks import STAGES, Cancelled, Stage
from nss.serve.limits import Limits
from nss.serve.problem import Problem, busy, of_error

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class Job:
    """A photo that was asked for.

    Attributes:
        id: what it is asked for by.
        name: of the photo.
        model: the name of the model that does it.
        created: seconds since 1970.
        is_listed: others may ask for it; or else the request that brought it waits for it, and nothing is kept.
        photo: the upload, with its type, where it is kept.
        state, stage: where it is.
        expires: when it is forgotten, once it has ended.
        problem: why it failed.
        product: what came of it.
        task: what the pipeline has, until that is over.
        over: is set once it has ended.
    """

    id: str
    name: str
    model: str
    created: float
    is_listed: bool = True
    photo: tuple[bytes, str] | None = None
    state: State = "waiting"
    stage: Stage | None = None
    expires: float | None = None
    problem: Problem | None = None
    product: Product | None = None
    task: PhotoTask | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _progress: float = 0.0
    _at_end: list[Callable[[], object]] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in ENDED

    @property
    def kept_bytes(self) -> int:
        """What is kept of it."""
        photo = len(self.photo[0]) if self.photo else 0
        return photo + (len(self.product.content) if self.product else 0)

    def at_end(self, call: Callable[[], object]) -> None:
        """Have something done when the pipeline is done with it, whatever became of it."""
        self._at_end.append(call)

    def as_json(self) -> dict[str, Any]:
        """What is told of it."""
        product = self.product
        result = product and {
            "type": product.type,
            "bytes": len(product.content),
            "width": product.width,
            "height": product.height,
        }
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "stage": self.stage,
            "progress": self._progress,
            "created": round(self.created, 3),
            "expires": None if self.expires is None else round(self.expires, 3),
            "model": self.model,
            "problem": self.problem and self.problem.as_json(),
            "result": result,
            "info": product and product.info,
            "photo": self.photo is not None,
        }

    def _enter(self, stage: Stage) -> None:
        self.state, self.stage = "running", stage
        self._progress = round(STAGES.index(stage) / len(STAGES), 3)

    def _end(self, state: State) -> None:
        self.state, self.stage = state, None
        if state == "done":
            self._progress = 1.0
        self.over.set()


class Jobs:
    """All jobs. Of one thread, that of the loop.

    Attributes:
        log: what changes.
        kept_bytes: what is kept of listed jobs, uploads included.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        log: EventLog | None = None,
        clock: Callable[[], float] = time.time,
        ended: Callable[[Job], object] | None = None,
    ) -> None:
        """``clock``: seconds since 1970. ``ended``: gets each job when it has ended."""
        self.log = EventLog() if log is None else log
        self.kept_bytes = 0
        self._limits, self._clock, self._ended = limits, clock, ended
        self._jobs: dict[str, Job] = {}
        self._open: dict[str, Job] = {}  # those that a pipeline has, forgotten ones too: each is a place in the queue
        self._finished: dict[str, Job] = {}  # listed ones, in the order in which they ended

    def __iter__(self) -> Iterator[Job]:
        """The listed ones, in the order of their creation."""
        return iter(list(self._jobs.values()))

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def open(self) -> list[Job]:
        """Those that wait or are in work, listed or not."""
        return list(self._open.values())

    def states(self) -> dict[str, int]:
        """How many there are in each state, of those that are listed, or that a request waits for."""
        jobs = {**self._jobs, **{job.id: job for job in self._open.values() if not job.has_ended}}
        return dict(Counter(job.state for job in jobs.values()))

    def get(self, key: str) -> Job:
        """The job of an id. Raises Problem 404."""
        self.expire()
        if (job := self._jobs.get(key)) is None:
            raise Problem(404, f"there is no job {quoted(key[:80])}: it was forgotten, or never was")
        return job

    def present(self) -> list[dict[str, Any]]:
        """The JSON of the listed ones."""
        self.expire()
        return [job.as_json() for job in self._jobs.values()]

    def check_room(self) -> None:
        """Raise Problem 503 where as many wait or are in work as may."""
        if len(self._open) >= self._limits.queue:
            raise busy(f"{self._limits.queue} photos wait or are in work already; try again later")

    def add(self, name: str, model: str, *, is_listed: bool, photo: tuple[bytes, str] | None = None) -> Job:
        """A new one, which waits. ``photo``: the upload and its type, where it is to be kept.

        Raises:
            Problem: 503: the queue is full, or there is no room for the upload.
        """
        self.expire()
        self.check_room()
        if photo is not None:
            self._make_room(len(photo[0]))
        job = Job(f"job-{secrets.token_hex(12)}", name, model, self._clock(), is_listed, photo)
        self._open[job.id] = job
        if is_listed:
            self._jobs[job.id] = job
            self.kept_bytes += job.kept_bytes
            self.log.add(job.as_json())
        return job

    def entered(self, job: Job, stage: Stage) -> None:
        """The pipeline is at this stage with it."""
        if not job.has_ended:
            job._enter(stage)
            self._tell(job)

    def finish(self, job: Job, outcome: Any) -> None:
        """The pipeline is done with it: a `Product`, or what ended it."""
        self._open.pop(job.id, None)
        while job._at_end:
            job._at_end.pop()()
        job.task = None
        if job.has_ended:
            return
        if isinstance(outcome, Product):
            job.product = outcome
            self._end(job, "done")
        elif isinstance(outcome, Cancelled | BudgetClosedError):
            self._end(job, "cancelled")
        else:
            job.problem = of_error(outcome)
            self._end(job, "failed")

    def cancel(self, job: Job) -> None:
        """Give it up, if it has not ended: it is over at once for all who ask, and for the pipeline at its next stage.

        The task of one that waits is the caller's to drop.
        """
        if job.task is not None:
            job.task.is_cancelled = True
        if not job.has_ended:
            self._end(job, "cancelled")

    def remove(self, key: str) -> Job:
        """Forget a job, and cancel it where it has not ended. Raises Problem 404."""
        job = self.get(key)
        self._forget(job)
        self.cancel(job)
        return job

    def expire(self) -> None:
        """Forget what has been kept for as long as it is to be."""
        now = self._clock()
        while self._finished:
            oldest = next(iter(self._finished.values()))
            if oldest.expires is None or oldest.expires > now:
                return
            self._forget(oldest)

    def _end(self, job: Job, state: State) -> None:
        job._end(state)
        if self._jobs.get(job.id) is job:
            job.expires = self._clock() + self._limits.keep_seconds
            self._finished[job.id] = job
            self.kept_bytes += len(job.product.content) if job.product else 0
            self._tell(job)
            self._trim()
        if self._ended is not None:
            self._ended(job)

    def _tell(self, job: Job) -> None:
        if self._jobs.get(job.id) is job:
            self.log.add(job.as_json())

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self._finished.pop(job.id, None)
        self.kept_bytes -= job.kept_bytes
        self.log.add({"id": job.id, "state": "removed"})

    def _trim(self) -> None:
        """Forget those that ended first, as far as there are too many, or too many bytes; but not the last one."""
        while len(self._finished) > 1 and (
            len(self._finished) > self._limits.keep_count or self.kept_bytes > self._limits.kept_bytes
        ):
            self._forget(next(iter(self._finished.values())))

    def _make_room(self, nbytes: int) -> None:
        """For an upload that is kept. Raises Problem 503 where there is none."""
        most = self._limits.kept_bytes
        if nbytes > most:
            raise Problem(
                503,
                f"the photo has {nbytes:,} bytes, and all that is kept of jobs takes {most:,} at most; "
                "leave 'keep-photo' out",
            )
        while self._finished and self.kept_bytes + nbytes > most:
            self._forget(next(iter(self._finished.values())))
        if self.kept_bytes + nbytes > most:
            raise busy("photos that are kept for jobs in work take all the room; try again later")
