"""All that a server holds: its models, the photos that were asked for, and the files that were sent ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nss.pipeline.budget import MemoryBudget
from nss.serve.api.metrics import Metrics
from nss.serve.jobs.jobs import Job, Jobs
from nss.serve.jobs.models import ServedModels
from nss.serve.jobs.photo_task import PhotoTask
from nss.serve.jobs.tasks import Stage
from nss.serve.jobs.uploads import Loan, Uploads
from nss.serve.problem import busy

if TYPE_CHECKING:
    from nss.serve.api.fields import Order
    from nss.serve.http.bodies import Body
    from nss.serve.settings import ServeSettings

EXPIRY_S = 1.0
"""How often it is looked for what is to be forgotten."""


class Service:
    """See the module. Records are the loop's; pipelines tell of them through it.

    Attributes:
        limits: what it takes on.
        models: what photos go through.
        jobs: what was asked for.
        uploads: files that were sent ahead.
        waiting_budget: memory for what waits: bodies that come in, until they are decoded, and ``uploads``.
        metrics: what is counted.
        is_stopping: nothing new is taken.
    """

    def __init__(self, settings: ServeSettings, say: Callable[[str], None]) -> None:
        """Nothing is opened yet. ``say``: gets lines for whoever runs the server, from any thread."""
        self.limits = limits = settings.limits
        self.models = ServedModels(settings.models, settings.jobs, limits.work_bytes, say)
        self.metrics = Metrics()
        self.jobs = Jobs(limits, ended=self._count)
        self.uploads = Uploads(limits)
        self.waiting_budget = MemoryBudget(limits.waiting_bytes)
        self.is_stopping = False
        self._say = say
        self.metrics.watch(
            jobs=self.jobs.states,
            waiting_bytes=lambda: self.waiting_budget.reserved,
            kept_bytes=lambda: self.jobs.kept_bytes,
            work_bytes=lambda: self.models.budget.reserved,
        )
        # networks are opened one after the other, and beside whatever else threads are wanted for
        self._opener = ThreadPoolExecutor(1, "nss-serve-open")
        self._openings: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.Task[None] | None = None
        self._stop: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Photos in work."""
        return self.models.running

    def open(self) -> None:
        """Open the models. Blocks; raises as `ServedModels.open_all`."""
        self.models.open_all()

    async def start(self) -> None:
        """Begin to forget what has been kept for long enough."""
        self._expiry = asyncio.create_task(self._expire())

    async def stop(self) -> None:
        """Take nothing new, give up what waits, and return when what is in work is done. Again waits for the same."""
        if self._stop is None:
            self._stop = asyncio.create_task(self._stop_once())
        # whoever gives up waiting does not end it for the others
        await asyncio.shield(self._stop)

    def close(self) -> None:
        """End what is still in work, and free the models. Blocks."""
        self.models.close()
        self._opener.shutdown()

    def check_open(self) -> None:
        """Raise Problem 503 where nothing new is taken."""
        if self.is_stopping:
            raise busy("the server is stopping; try again later", 10)

    def begin(self, order: Order, body: Body, loan: Loan, *, is_listed: bool) -> Job:
        """Have a photo done. On the loop, and blocks nothing.

        The body's lease is given back when the photo is decoded, and ``loan``, of the files that the order names, when
        it is over; both at once where it cannot be begun.

        Raises:
            Problem: 400 for an unknown model, 503 where there is no room, or the server is stopping.
        """
        loop = asyncio.get_running_loop()
        try:
            self.check_open()
            model = self.models.name_of(order.model)
            photo = (body.content, body.content_type) if order.keep_photo else None
            job = self.jobs.add(order.name, model, is_listed=is_listed, photo=photo)
        except BaseException:
            body.lease.release()
            loan.end()
            raise
        job.at_end(loan.end)

        def on_loop(call: Callable[..., object], *arguments: Any) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody asks any more
                loop.call_soon_threadsafe(call, *arguments)

        def entered(stage: Stage) -> None:
            on_loop(self.jobs.entered, job, stage)

        def done(outcome: Any) -> None:
            on_loop(self.jobs.finish, job, outcome)

        released = body.lease.release
        pool = self.models.pool_beside(len(self.jobs.open) - 1)
        job.task = PhotoTask(order, body.content, decoded=released, entered=entered, done=done, pool=pool)
        self._put(order, job.task)
        return job

    def cancel(self, job: Job) -> None:
        """Give a job up; one that waits leaves the queue at once."""
        task = job.task
        self.jobs.cancel(job)
        if task is not None:
            self.models.drop(task)

    def forget(self, key: str) -> None:
        """Cancel a job where it has not ended, and forget it. Raises Problem 404."""
        self.cancel(self.jobs.remove(key))

    def _put(self, order: Order, task: PhotoTask) -> None:
        try:
            if self.models.put_at_once(order.model, order.model_config, task):
                return
        except Exception as error:
            task.done(error)
            return
        opening = asyncio.create_task(self._open_and_put(order, task))
        self._openings.add(opening)
        opening.add_done_callback(self._openings.discard)

    async def _open_and_put(self, order: Order, task: PhotoTask) -> None:
        """For a network that is not open yet; the job waits meanwhile."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._opener, self.models.put, order.model, order.model_config, task)
        except Exception as error:
            task.done(error)

    async def _stop_once(self) -> None:
        self.is_stopping = True
        waiting = [job for job in self.jobs.open if job.state == "waiting"]
        for job in waiting:
            self.cancel(job)
        if waiting:
            self._say(f"{len(waiting)} photo{'s that waited are' if len(waiting) != 1 else ' that waited is'} given up")
        await asyncio.to_thread(self.models.finish)
        if self._openings:
            await asyncio.wait(self._openings)
        await asyncio.sleep(0)  # what they told of their end is on the loop already
        self.jobs.log.close()
        self.uploads.clear()
        if self._expiry is not None:
            self._expiry.cancel()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_S)
            self.jobs.expire()
            self.uploads.expire()

    def _count(self, job: Job) -> None:
        """Have metrics know of a job that has ended."""
        self.metrics.photo(job.state)
        if job.product is not None:
            for name, milliseconds in job.product.info["milliseconds"].items():
                self.metrics.stage(name, milliseconds / 1000)
