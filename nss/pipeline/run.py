"""One run of the pipeline: its threads, and what each photo is waiting for.

A thread takes the jobs, as there is room, and reserves memory for each; ``workers`` threads load and finish; each lane
has a thread that submits runs and takes their outputs. What they share is under one lock.

The threads are not those of ``concurrent.futures``. If a signal interrupts a wait for them, Python before 3.13 counts
a running thread as ended, and the process ends in the middle of a file. Here the calling thread waits for nothing but a
``SimpleQueue``, to which signals do no harm, and holds the lock for a few steps at a time, any of which may be the last
that a signal lets it do.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from nss.errors import NssError
from nss.pipeline.busy import Busy
from nss.pipeline.events import WAIT_S, Events
from nss.pipeline.lanes import AnyLane, LaneLostError, Pending
from nss.pipeline.parts import Stages
from nss.pipeline.photo_in_work import PhotoInWork, result_of
from nss.pipeline.stop import Stop

_InFlight = deque[tuple[PhotoInWork, Pending[Any] | None]]
"""What a lane has in flight; the last one may be still to be submitted."""


class Run:
    """The jobs of one call of `Pipeline.results`, with more than one worker."""

    def __init__(self, stages: Stages, jobs: Iterable[Any], stop: Stop) -> None:
        self._stages, self._jobs, self._stop = stages, jobs, stop
        workers = stages.workers
        self._depths = [min(lane.depth, workers) for lane in stages.lanes]
        in_flight = sum(self._depths) - 1  # beside one that the threads will soon get
        self._most_behind, self._most_given_out = workers + in_flight, 3 * workers + in_flight
        self.busy = Busy(workers, len(stages.lanes))

        self._lock = threading.Lock()
        self._room, self._work, self._entry = (threading.Condition(self._lock) for _ in range(3))
        self._events = Events()

        self._to_load: deque[PhotoInWork] = deque()
        self._early: dict[int, PhotoInWork] = {}  # loaded before their turn
        self._entering: list[PhotoInWork] = []  # a heap; the lanes take the first
        self._to_finish: deque[PhotoInWork] = deque()
        self._done: dict[int, PhotoInWork] = {}

        self._ahead = 0  # of the network
        self._behind = 0  # in a lane or later, and unfinished
        self._given_out = 0  # and not told
        self._next_turn = self._next_told = 0
        self._threads = 0
        self._lanes_left = len(stages.lanes)
        self._calls = 0  # of finish and of lanes, in progress
        self._has_all = False
        self._ended = False
        self._failure: BaseException | None = None  # which ends the run at once
        self._jobs_failure: BaseException | None = None  # which ends it behind the jobs that came before

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Each job and its result, or the exception of a stage, as soon as it is its turn."""
        try:
            for lane, depth in zip(self._stages.lanes, self._depths, strict=True):
                self._start("lane", self._serve, lane, depth)
            self._start("feed", self._feed)
            while True:
                if (photo := self._next()) is not None:
                    try:
                        yield photo.job, result_of(photo)  # which is not kept here while it is with the caller
                    finally:
                        photo.release()
                    self._told()
                elif self._is_over():
                    return
                else:
                    self._events.wait()
        finally:
            self._end()

    def untold(self) -> Iterator[tuple[Any, Any]]:
        """After an interrupt: what has been finished, and was not told."""
        for index in sorted(self._done):
            photo = self._done.pop(index)
            if photo.error is None or isinstance(photo.error, Exception):
                yield photo.job, result_of(photo)

    # the calling thread

    def _next(self) -> PhotoInWork | None:
        with self._lock:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._stop.requested:
                self._cancel(lambda photo: not photo.in_hand)
            if not self._stages.ordered and self._done:
                return self._done.pop(next(iter(self._done)))
            if self._next_told not in self._done:
                return None
            self._next_told += 1
            return self._done.pop(self._next_told - 1)

    def _told(self) -> None:
        self._events.forget()
        with self._lock:
            self._given_out -= 1
            self._stop.in_hand -= 1
            self._room.notify()

    def _is_over(self) -> bool:
        with self._lock:
            if self._done and (not self._stages.ordered or self._next_told in self._done):
                return False  # it has come since
            if self._stop.requested:
                return self._stop.in_hand == 0
            if not self._has_all or self._given_out:
                return False
            if self._jobs_failure is not None:
                raise self._jobs_failure
            return True

    def _end(self) -> None:
        """Begin nothing more, and wait for what may not be left half done: whatever signals come meanwhile."""
        while True:
            try:
                with self._lock:
                    self._ended = True
                    self._cancel(lambda _: True)
                    for photo in self._done.values():
                        photo.release()
                for lane in self._stages.lanes if self._calls else ():
                    lane.interrupt()
                while self._calls:
                    self._events.wait()
                return
            except BaseException as another:
                if isinstance(another, Exception):
                    raise

    def _cancel(self, which: Callable[[PhotoInWork], bool]) -> None:
        """Drop those that no thread is at. The lock is held."""
        for photos in (self._to_load, self._entering, self._to_finish):
            dropped = [photo for photo in photos if which(photo)]
            if dropped:
                kept = sorted(photo for photo in photos if not which(photo))  # which is a heap, too
                photos.clear()
                photos.extend(kept)
            for photo in dropped:
                photo.release()
        for photo in self._early.values():
            photo.release()
        self._early.clear()
        for condition in (self._room, self._work, self._entry):
            condition.notify_all()

    # the thread that takes the jobs

    def _feed(self) -> None:
        failure: BaseException | None = None
        try:
            jobs = iter(self._jobs)
            for index in count():
                with self._lock:
                    self._room.wait_for(lambda: self._is_closed or self._has_room)
                    if self._is_closed:
                        break
                try:
                    job = next(jobs)
                except StopIteration:
                    break
                self._give_out(PhotoInWork(index, job, None))
        except BaseException as error:
            failure = error
        with self._lock:
            self._has_all, self._jobs_failure = True, failure
        self._events.tell()

    @property
    def _is_closed(self) -> bool:
        return self._ended or self._stop.requested

    @property
    def _has_room(self) -> bool:
        return self._ahead < self._stages.workers and self._given_out < self._most_given_out

    def _give_out(self, photo: PhotoInWork) -> None:
        try:
            photo.lease = self._reserve(photo.job)
        except Exception as error:
            photo.error = error
        with self._lock:
            if self._is_closed:
                photo.release()
                return
            self._ahead += 1
            self._given_out += 1
            self._to_load.append(photo)
            self._begin_work()

    def _reserve(self, job: Any) -> Any:
        budget, cost = self._stages.budget, self._stages.cost
        if budget is None or cost is None:
            return None
        nbytes = cost(job)
        lease = None
        while lease is None and not self._is_closed:
            lease = budget.reserve(nbytes, timeout=WAIT_S)
        return lease

    # the threads that load and finish

    def _begin_work(self) -> None:
        """The lock is held."""
        if self._threads < self._stages.workers:
            try:
                self._start(str(self._threads + 1), self._serve_photos)
                self._threads += 1
            except NssError as error:  # the system gives no more: the others do it
                if not self._threads:
                    self._failure, self._ended = error, True
                    self._events.tell()
        self._work.notify()

    def _serve_photos(self) -> None:
        while True:
            with self._lock:
                self._work.wait_for(lambda: self._ended or self._to_finish or self._to_load)
                if self._ended:
                    return
                finishes = bool(self._to_finish)  # which makes room
                photo = self._to_finish.popleft() if finishes else self._to_load.popleft()
                self._calls += finishes
            if finishes:
                self._finish(photo)
            else:
                self._load(photo)
            del photo

    def _load(self, photo: PhotoInWork) -> None:
        if photo.error is None:
            with self.busy.at("decode"):
                photo.perform(self._stages.load)
        with self._lock:
            if self._is_closed:
                photo.release()
            elif not self._stages.ordered:
                self._enter(photo)
            else:
                self._early[photo.index] = photo
                while (following := self._early.pop(self._next_turn, None)) is not None:
                    self._next_turn += 1
                    self._enter(following)

    def _enter(self, photo: PhotoInWork) -> None:
        """Its turn has come. The lock is held."""
        if photo.error is None:
            heapq.heappush(self._entering, photo)
            self._entry.notify()
        else:
            self._take_in_hand(photo)
            self._be_done(photo)

    def _take_in_hand(self, photo: PhotoInWork) -> None:
        """The lock is held."""
        photo.in_hand = True
        self._ahead -= 1
        self._behind += 1
        self._stop.in_hand += 1
        self._room.notify()

    def _finish(self, photo: PhotoInWork) -> None:
        with self.busy.at("write"):
            photo.perform(self._stages.finish, photo.take())
        if photo.error is None and not self._stages.results_hold_pixels:
            photo.release()
        with self._lock:
            self._calls -= 1
            if self._ended:  # nobody asks for the next
                photo.release()
            self._be_done(photo)

    def _be_done(self, photo: PhotoInWork) -> None:
        """The lock is held."""
        self._behind -= 1
        self._done[photo.index] = photo
        self._entry.notify_all()
        self._events.tell()

    # the thread of a lane

    def _serve(self, lane: AnyLane, depth: int) -> None:
        in_flight: _InFlight = deque()
        goes_on = True
        while goes_on and self._begin_call(in_flight, depth):
            self.busy.begin(lane, "network")
            try:
                goes_on = self._call(lane, in_flight)
            finally:
                if not in_flight:
                    self.busy.end(lane)
                with self._lock:
                    self._calls -= 1
                self._events.tell()
        for photo, _ in in_flight:
            photo.release()

    def _begin_call(self, in_flight: _InFlight, depth: int) -> bool:
        """Append a photo that is to be submitted, where there is room for one; or else there is an output to wait for.

        Waits for one of the two; False at the end.
        """
        with self._lock:
            while not self._ended:
                if len(in_flight) < depth and self._may_enter:
                    photo = heapq.heappop(self._entering)
                    if not photo.in_hand:
                        self._take_in_hand(photo)
                    in_flight.append((photo, None))
                elif not in_flight:
                    self._entry.wait()
                    continue
                self._calls += 1
                return True
            return False

    @property
    def _may_enter(self) -> bool:
        if not self._entering:
            return False
        return self._entering[0].in_hand or (not self._stop.requested and self._behind < self._most_behind)

    def _call(self, lane: AnyLane, in_flight: _InFlight) -> bool:
        """Submit the last one, or wait for the first. Whether the lane goes on."""
        photo, pending = in_flight.pop()
        try:
            if pending is None:
                in_flight.append((photo, lane.submit(photo.job, photo.value)))
                return True
            in_flight.append((photo, pending))
            photo, pending = in_flight.popleft()
            assert pending is not None
            photo.value = pending.result()
        except LaneLostError as error:
            if self._pass_on([photo, *(other for other, _ in in_flight)]):
                in_flight.clear()
                return False
            photo.error = error
        except BaseException as error:
            photo.error = error
        return self._leave_lane(photo)

    def _leave_lane(self, photo: PhotoInWork) -> bool:
        """With an output, or an error. Whether the lane goes on."""
        with self._lock:
            if photo.error is not None and not isinstance(photo.error, Exception):
                self._failure, self._ended = photo.error, True
            if self._ended:
                photo.release()
                return False
            if photo.error is None:
                self._to_finish.append(photo)
                self._begin_work()
            else:
                photo.value = None
                self._be_done(photo)
            return True

    def _pass_on(self, photos: list[PhotoInWork]) -> bool:
        """What a lost lane had in flight is for the others; False where there is none."""
        with self._lock:
            if self._lanes_left == 1:
                return False
            self._lanes_left -= 1
            for photo in photos:
                if self._ended:
                    photo.release()
                else:
                    heapq.heappush(self._entering, photo)
            self._entry.notify_all()
            return True

    def _start(self, name: str, target: Callable[..., None], *arguments: Any) -> None:
        def guarded() -> None:
            try:
                target(*arguments)
            except BaseException as error:  # of the pipeline itself: the caller would wait for ever
                with self._lock:
                    self._failure, self._ended = error, True
                self._events.tell()

        try:
            threading.Thread(target=guarded, name=f"nss-pipeline-{name}", daemon=True).start()
        except RuntimeError as error:
            raise NssError(f"no thread can be started ({error}); end other programs, or raise the limit") from error
