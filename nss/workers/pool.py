"""Worker processes, and the work shared out among them: called from any threads, which wait for their answers.

A photo goes through a worker twice: its first half (`WorkerPool.load`), and, with what the caller has made of that
meanwhile, its second (`WorkerPool.finish`), in the same process, which has kept the pixels. Each worker has a thread
here that hands it one request after the other: second halves before first ones, since they let pixels go, and first
halves in the order in which they came, to whichever worker is free.

A worker may die: of memory, of a codec, of somebody's kill. Another takes its place. What it was at is done once more
from the start, and what it only kept is done again in another worker when its turn comes; the one that a worker has
died of twice fails.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nss.errors import ImageError, NssError
from nss.workers import channel
from nss.workers.messages import DropRequest, FinishRequest, LoadRequest, Named, Work
from nss.workers.places import HeldPhoto, Place, Request
from nss.workers.process import WorkerGoneError, WorkerProcess

if TYPE_CHECKING:
    import numpy as np

BLOCKS = 3
"""Photos that a worker may have in hand: the one that it is at, and those that are in the network or wait for it."""

TRIES = 2
"""How often a photo may be at work as its worker dies."""

_LOOK_S = 1.0
"""How long a worker has nothing to do before it does without a block what waits for one."""

_IDLE_DEATHS = 3
"""How often a worker may die, with no photo at work, before its place stays empty."""


class WorkersGoneError(NssError):
    """No worker is left, and none can be started."""


class WorkerPool:
    """Workers that do `Work`; a context manager, which sees them off.

    Attributes:
        count: how many there are at first.
    """

    def __init__(
        self,
        count: int,
        *,
        imports: Sequence[str] = (),
        blocks: int = BLOCKS,
        tell: Callable[[str, str], object] = lambda *_: None,
        tidy: Callable[[Any, WorkerProcess], object] = lambda *_: None,
    ) -> None:
        """Start them all, and wait for none: what is asked of them meanwhile waits for `configure`.

        Args:
            count: how many.
            imports: the modules that each imports first of all.
            blocks: how many photos a worker may have in hand.
            tell: gets the name of a file and what its codec says, from any thread.
            tidy: is called with the job that a worker was at as it died, and with that.

        Raises:
            OSError: the first of them cannot be started.
        """
        self.count = count
        self._imports, self._block_count = imports, blocks
        self._tell, self._tidy = tell, tidy
        self._condition = threading.Condition()
        self._queue: deque[Request] = deque()
        self._packed_work: bytes | None = None
        self._is_closed = False
        self._keys = 0
        self._places = [Place() for _ in range(count)]
        try:
            self._start_all()
        except BaseException:
            for place in self._places:
                if place.process is not None:
                    place.process.close()
            raise
        self._threads = [
            threading.Thread(target=self._serve, args=(place,), name=f"nss-worker-{number}", daemon=True)
            for number, place in enumerate(self._places, 1)
            if not place.is_given_up
        ]
        for thread in self._threads:
            thread.start()

    def _start_all(self) -> None:
        for place in self._places:
            try:
                self._start(place)
            except OSError:
                if place is self._places[0]:
                    raise
                place.is_given_up = True  # the system has no room for more

    def configure(self, work: Work) -> None:
        """Say what the work is, once. Raises what pickling raises."""
        packed = channel.pack(work)
        with self._condition:
            self._packed_work = packed
            self._condition.notify_all()

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [place.process.pid for place in self._places if place.process is not None]

    @property
    def is_gone(self) -> bool:
        """Whether no worker is left, and none comes any more."""
        return all(place.is_given_up for place in self._places)

    def load(self, job: Named, rest: Any = None) -> HeldPhoto:
        """The first half of a job, by the worker that is free first.

        Args:
            job: what it is; it is held until the photo is done, in case that worker dies.
            rest: what the second half is sent of it, where the first has the greater part; by default all.

        Raises:
            ImageError: workers have died of it.
            WorkersGoneError: there are none.
            Exception: what the work raised.
        """
        request = Request(job)
        request.is_first_half = True
        if rest is not None:
            request.rest = rest
        return self._submit(request)

    def finish(self, held: HeldPhoto, arrays: Sequence[np.ndarray] = (), output: Any = None) -> Any:
        """The second half of a photo, by the worker that keeps it; where that has died, both by another. Raises as
        ``load``.
        """
        return self._submit(Request(held.job, held, arrays, output))

    def do(self, job: Named) -> Any:
        """Both halves of a job that has nothing between them. Raises as ``load``."""
        return self._submit(Request(job))

    def close(self) -> None:
        """See all workers off, and wait until they have ended: at most some seconds, where one is in the middle.

        Whoever still waits for an answer gets a WorkersGoneError.
        """
        with self._condition:
            if self._is_closed:
                return
            self._is_closed = True
            self._condition.notify_all()
        for place in self._places:
            if (process := place.process) is not None:  # which its thread may be taking away
                process.end()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, request: Request) -> Any:
        with self._condition:
            if self._is_closed or self.is_gone:
                raise _none_left(request.job)
            held = request.held
            if held is not None and held._place.process is held._process and not held._place.is_given_up:
                held._place.own.append(request)
            else:
                self._queue.append(request)
            self._condition.notify_all()
        return request.wait()

    def _serve(self, place: Place) -> None:
        """One worker's thread."""
        try:
            while self._do_next(place):
                pass
        finally:
            process, place.process = place.process, None
            place.is_given_up = True
            if process is not None:
                process.close()
            self._fail_the_rest()

    def _next(self, place: Place) -> Request | None:
        """What this worker does next; None at the end."""
        with self._condition:
            while True:
                if self._is_closed or place.is_given_up:
                    return None
                if self._packed_work is not None:
                    self._drop(place)
                    if place.own:
                        return place.own.popleft()
                    if self._queue and (place.free or self._queue[0].held is not None):
                        return self._queue.popleft()
                # what is let go of wakes nobody; and all blocks may belong to photos that wait for this very one
                if not self._condition.wait(_LOOK_S) and self._queue and self._packed_work is not None:
                    return self._queue.popleft()

    def _drop(self, place: Place) -> None:
        while place.dropped:
            held = place.dropped.popleft()
            if held._process is place.process and place.process is not None:
                if held._block is not None:
                    place.free.append(held._block)
                try:
                    place.process.say(DropRequest(held._key))
                except WorkerGoneError:
                    return  # as the next request will find

    def _do_next(self, place: Place) -> bool:
        """One request; false at the end. A function, since a loop would hold the last one's arrays until the next."""
        request, process = self._next(place), place.process
        if request is None or process is None:
            return False
        at_work = False
        try:
            if not process.is_configured:
                assert self._packed_work is not None
                process.configure(self._packed_work, self._tell)
            process.check()
            at_work = True
            value = (
                self._load(place, process, request) if request.is_first_half else self._finish(place, process, request)
            )
        except WorkerGoneError as end:
            if at_work:
                self._tidy(request.job, process)
                request.deaths += 1
            else:
                place.idle_deaths += 1
            self._replace(place, process)
            self._again(request, end)
        except Exception as error:
            request.answer.put((None, error))
        else:
            place.idle_deaths = 0
            request.answer.put((value, None))
        return True

    def _load(self, place: Place, process: WorkerProcess, request: Request) -> HeldPhoto:
        with self._condition:
            block = place.free.pop() if place.free else None
            self._keys += 1
            key = self._keys
        if block is not None:
            process.blocks[block].shrink()  # where whoever had the last one's arrays has let go of them only now
        try:
            found, summary = process.ask(LoadRequest(key, request.job, block), self._tell)
            arrays = found if block is None else process.blocks[block].read(found)
        except WorkerGoneError:
            raise
        except BaseException:
            self._free(place, process, block)
            raise
        return HeldPhoto(request.job, request.rest, summary, arrays, place, process, block, key)

    def _finish(self, place: Place, process: WorkerProcess, request: Request) -> Any:
        held = request.held
        keeps = held is not None and held._process is process and not held._is_done
        if held is not None and keeps:
            held._is_done = True
            held.arrays = []
            block, key, job = held._block, held._key, held.rest
        else:
            block, key, job = None, None, request.job
        # the last one is for those that have none: they wait for nobody
        number = self._block_count if block is None else block
        try:
            places = process.blocks[number].write(request.arrays)
            return process.ask(FinishRequest(key, job, number, places, request.output), self._tell)
        finally:
            self._free(place, process, number)

    def _free(self, place: Place, process: WorkerProcess, block: int | None) -> None:
        if block is None:
            return
        process.blocks[block].shrink()
        with self._condition:
            if place.process is process and block < self._block_count:
                place.free.append(block)
                self._condition.notify_all()

    def _start(self, place: Place) -> None:
        # and one more: see `_finish`
        place.process = WorkerProcess(self._block_count + 1, self._imports)
        place.free = list(range(self._block_count))

    def _replace(self, place: Place, process: WorkerProcess) -> None:
        """Start another process in the place of one that has died."""
        with self._condition:
            place.process = None
            place.free = []
            place.dropped.clear()
            # what the dead one kept is done anew by whichever worker is free
            self._queue.extendleft(reversed(place.own))
            place.own.clear()
            self._condition.notify_all()
        process.close()
        if self._is_closed or place.idle_deaths >= _IDLE_DEATHS:
            place.is_given_up = True
            return
        try:
            self._start(place)
        except OSError:
            place.is_given_up = True

    def _again(self, request: Request, end: WorkerGoneError) -> None:
        """Try once more what a worker has ended with, ``end`` says how."""
        if request.deaths >= TRIES:
            request.answer.put((None, ImageError(f"{request.job.name}: the process that worked on it ended {end}")))
            return
        with self._condition:
            self._queue.appendleft(request)
            self._condition.notify_all()

    def _fail_the_rest(self) -> None:
        """Answer those for whom no worker is left."""
        with self._condition:
            if not self.is_gone:
                return
            rest = [*self._queue, *(request for place in self._places for request in place.own)]
            self._queue.clear()
            for place in self._places:
                place.own.clear()
        for request in rest:
            request.answer.put((None, _none_left(request.job)))


def _none_left(job: Named) -> WorkersGoneError:
    return WorkersGoneError(
        f"{job.name}: no process is left to work on it; NSS_BATCH_WORKERS=threads does it without (out of memory?)"
    )
