"""Many images through three stages that overlap: decode, network, and everything after it.

The network runs in the calling thread, one image after the other. Before and after it threads work on other images, as
many as they are, so that what is held at a time does not grow with the batch.

The threads are not those of ``concurrent.futures``. If a signal interrupts a wait for them, Python before 3.13 counts
a running thread as ended, and the process ends in the middle of a file. Here the calling thread waits for nothing but a
``SimpleQueue``, to which signals do no harm.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Generic, TypeVar

from nss.stop_signals import forget_stop, raise_stop

Job = TypeVar("Job")
NetworkInput = TypeVar("NetworkInput")
NetworkOutput = TypeVar("NetworkOutput")
Result = TypeVar("Result")

WAIT_S = 0.2
"""How long the calling thread waits at a time; on Windows signals are handled only in between."""


@dataclass
class Stop:
    """Whether to begin with no further image, and how many are in hand.

    Attributes:
        requested: images in hand are finished, and no other is begun.
        in_hand: images that the network is at or through with, and that are not yet reported.
        waiting: for what may never come, a fifo's reader for instance.
    """

    requested: bool = False
    in_hand: int = 0
    waiting: bool = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block, a wait, the first Ctrl-C raises KeyboardInterrupt."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False


@contextmanager
def finish_on_interrupt(notify: Callable[[], object]) -> Iterator[Stop]:
    """Within the block the first Ctrl-C asks to stop once what is in hand is finished, and ``notify`` says so.

    A second one goes to the handler from before, which raises, and so does the first where nothing is in hand, or
    within ``Stop.interruptible``. ``notify`` is called in a thread of its own: the signal may come while the main
    thread prints, or holds a lock that ``notify`` needs. Outside of the main thread, and where Ctrl-C is ignored or
    handled by others, nothing changes.
    """
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested or stop.waiting or not stop.in_hand:
            assert callable(before)
            before(number, frame)
            return  # it puts off what it raises
        stop.requested = True
        forget_stop()
        # a threading.Thread takes a lock that the interrupted code may hold
        _thread.start_new_thread(notify, ())

    ours = (
        threading.current_thread() is threading.main_thread()  # Python handles signals in no other
        and before in (signal.default_int_handler, raise_stop)
    )
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


class Pipeline(Generic[Job, NetworkInput, NetworkOutput, Result]):
    """The three stages, and the report on each image."""

    def __init__(
        self,
        load: Callable[[Job], NetworkInput],
        infer: Callable[[Job, NetworkInput], NetworkOutput],
        finish: Callable[[Job, NetworkOutput], Result],
        report: Callable[[Job, Result | Exception], object],
    ) -> None:
        """``load`` and ``finish`` are called from any thread, ``infer`` and ``report`` from the one that calls ``run``.

        ``report`` gets each image in the order of the jobs: what ``finish`` returned, or what a stage raised.
        ``load`` must leave nothing behind that matters: nothing waits for one that is no longer needed.
        """
        self._load, self._infer, self._finish, self._report = load, infer, finish, report

    def run(self, jobs: Iterable[Job], workers: int, stop: Stop | None = None) -> None:
        """Work through the jobs, ``workers`` of them at a time; with one, in the calling thread alone.

        At most ``workers`` images are decoded ahead of the network, as many are unfinished behind it, and of as many
        again only the result is held, because one before them takes longer. A failed image does not keep the others
        from being done. When ``stop`` is requested, images in hand are finished and reported, and no other is begun.

        When the calling thread is interrupted, or ``report`` raises, no further work is begun. Files that are being
        written are finished, whatever signals come meanwhile, and after an interrupt reported.
        """
        stop = stop or Stop()
        if workers == 1:
            self._one_by_one(jobs, stop)
        else:
            self._overlap(jobs, workers, stop)

    def _one_by_one(self, jobs: Iterable[Job], stop: Stop) -> None:
        for job in jobs:
            if stop.requested:
                return
            self._report(job, self._alone(job, stop))
            stop.in_hand = 0

    def _alone(self, job: Job, stop: Stop) -> Result | Exception:
        try:
            network_input = self._load(job)
            stop.in_hand = 1
            network_output = self._infer(job, network_input)
            del network_input
            return self._finish(job, network_output)
        except Exception as error:
            return error

    def _overlap(self, jobs: Iterable[Job], workers: int, stop: Stop) -> None:
        waiting = iter(jobs)
        loading: deque[_Task[Job]] = deque()
        behind: deque[_Task[Job]] = deque()  # the network; in the order of the jobs
        threads = _Threads(workers)
        try:
            while True:
                if stop.requested:
                    _cancel(loading)
                    loading.clear()
                else:
                    room = min(workers, 3 * workers - len(behind)) - len(loading)
                    for job in islice(waiting, max(room, 0)):
                        loading.append(_Task(job, partial(self._load, job)))
                        threads.begin(loading[-1])
                if behind and behind[0].is_done:
                    self._tell(behind.popleft())
                    stop.in_hand -= 1
                elif loading and loading[0].is_done and sum(not task.is_done for task in behind) < workers:
                    stop.in_hand += 1
                    behind.append(self._through_network(loading.popleft()))
                    if not behind[-1].is_done:
                        threads.begin(behind[-1])
                elif loading or behind:
                    threads.wait()
                else:
                    return
        except BaseException as end:
            _cancel(loading)
            _settle(behind, threads)
            if not isinstance(end, Exception):
                for task in behind:
                    if task.is_done:
                        self._tell(task)
            raise
        finally:
            threads.end()

    def _through_network(self, task: _Task[Job]) -> _Task[Job]:
        """What is to be done with what ``task`` has loaded, or a task that has failed."""
        if task.error is not None:
            return task
        try:
            return _Task(task.job, partial(self._finish, task.job, self._infer(task.job, task.take())))
        except Exception as error:
            return _Task.of_error(task.job, error)

    def _tell(self, task: _Task[Job]) -> None:
        # out of the task, to which the error's traceback leads: or the images in it would live until a collection
        error, task.error = task.error, None
        if error is None:
            self._report(task.job, task.take())
        elif isinstance(error, Exception):
            self._report(task.job, error)
        else:
            raise error


class _Task(Generic[Job]):
    """A call that a thread does for an image, unless it is cancelled first.

    Attributes:
        job: the image.
        error: what the call raised.
        is_done: whether the call has come to its end.
    """

    def __init__(self, job: Job, call: Callable[[], Any] | None) -> None:
        self.job = job
        self.error: BaseException | None = None
        self.is_done = False
        self._call = call
        self._value: Any = None
        # setdefault is atomic, and a second call gives the same answer: an interrupt in between does no harm
        self._owner: dict[str, str] = {}

    @classmethod
    def of_error(cls, job: Job, error: Exception) -> _Task[Job]:
        """A task that is done."""
        task = cls(job, None)
        task.error, task.is_done = error, True
        return task

    def perform(self) -> None:
        """Make the call, and keep neither it nor what it was given."""
        if self._owner.setdefault("is", "thread") == "thread":
            try:
                self._value = self._take_call()()
            except BaseException as error:
                self.error = error
            self.is_done = True

    def cancel(self) -> bool:
        """Whether no thread has begun, and none will."""
        return self._owner.setdefault("is", "caller") == "caller"

    def take(self) -> Any:
        """What the call gave, which is not kept."""
        value, self._value = self._value, None
        return value

    def _take_call(self) -> Callable[[], Any]:
        call, self._call = self._call, None
        assert call is not None
        return call


class _Threads:
    """Threads that do tasks in the order in which they are given, and do not keep the process from ending."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._tasks: SimpleQueue[_Task[Any] | None] = SimpleQueue()
        self._events: SimpleQueue[None] = SimpleQueue()

    def begin(self, task: _Task[Any]) -> None:
        self._tasks.put(task)
        if self._count < self._most:
            self._count += 1
            threading.Thread(target=self._work, name=f"nss-pipeline-{self._count}", daemon=True).start()

    def wait(self) -> None:
        """Wait until a task may have come to its end since the last call."""
        try:
            self._events.get(timeout=WAIT_S)
        except Empty:
            return

    def end(self) -> None:
        """Let each thread go when it has nothing more to do."""
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.perform()
            self._events.put(None)


def _cancel(tasks: Iterable[_Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _settle(tasks: Iterable[_Task[Any]], threads: _Threads) -> None:
    """Cancel what no thread has begun, and wait for the rest: a signal that comes meanwhile leaves no half file."""
    while True:
        try:
            running = [task for task in tasks if not task.cancel()]
            while not all(task.is_done for task in running):
                threads.wait()
            return
        except BaseException as another:
            if isinstance(another, Exception):
                raise
