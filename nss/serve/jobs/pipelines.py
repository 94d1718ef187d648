"""One Remover at work for a server: a queue of tasks, and the pipeline that takes from it for as long as it serves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from nss.errors import one_line
from nss.pipeline.lanes import AnyLane, Lane, Pending
from nss.pipeline.parts import Budget
from nss.pipeline.pipeline import Pipeline
from nss.pipeline.stop import Stop
from nss.removal.host_stages import PreparedPhoto
from nss.removal.remover import Remover
from nss.serve.jobs.tasks import Cancelled, Task
from nss.serve.problem import Problem, busy

Say = Callable[[str], None]


class RemoverPipeline:
    """A Remover with a queue before it. Any thread may call its methods.

    A thread of its own runs a `nss.pipeline.pipeline.Pipeline` over the queue, which has no end before `close`. A photo
    that fails is told so, and hurts no other. Where the pipeline itself ends, the tasks that it had fail, and another
    run begins with the next.

    Attributes:
        remover: what it runs; it stays the caller's to close.
    """

    def __init__(self, remover: Remover, *, workers: int, budget: Budget, say: Say, name: str = "") -> None:
        """Begin.

        Args:
            remover: the opened model.
            workers: how many photos are decoded or finished at a time.
            budget: memory for photos in work, which other pipelines may take of, too.
            say: gets a line where a run has ended unexpectedly.
            name: what the model is called in that line.
        """
        self.remover = remover
        self._workers, self._budget, self._say, self._name = workers, budget, say, name
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Task] = deque()
        self._in_run: dict[int, Task] = {}  # by id(), since tasks need not be hashable
        self._is_closed = self._is_aborted = self._is_stored = False
        self._stop = Stop()
        self._lanes: list[_TaskLane] = []
        # no daemon: what is being finished when the interpreter ends is finished
        self._thread = threading.Thread(target=self._serve, name=f"nss-serve-{name}")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Tasks that the pipeline has not taken yet."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Tasks that the pipeline has."""
        return len(self._in_run)

    def put(self, task: Task) -> None:
        """Have a task done behind those that wait. Raises Problem 503 once it is closed."""
        with self._lock:
            if self._is_closed:
                raise busy("the server is stopping; try again later", 10)
            self._queue.append(task)
            self._changed.notify_all()

    def drop(self, task: Task) -> bool:
        """End a task that waits with `Cancelled`; whether it still waited."""
        with self._lock:
            position = next((i for i, other in enumerate(self._queue) if other is task), None)
            if position is None:
                return False
            del self._queue[position]
        self._tell(task, Cancelled())
        return True

    def close(self, finish: bool) -> None:
        """Take nothing more, cancel what waits, and return when what was begun is over.

        ``finish``: what a stage has begun on goes through all of them; else it ends with the stage that it is at, and a
        run on the processor before that. Again with ``finish=False`` hurries one that waits in another thread.
        """
        with self._lock:
            self._is_closed = True
            if not finish:
                self._is_aborted = self._stop.requested = True
            dropped, lanes = list(self._queue), list(self._lanes)
            self._queue.clear()
            self._changed.notify_all()
        for task in dropped:
            self._tell(task, Cancelled())
        if not finish:
            for lane in lanes:
                lane.interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # the thread of the pipeline

    def _serve(self) -> None:
        while self._wait_for_task():
            failure = self._run()
            if failure is None:
                continue
            left = self._take_left() or self._take_first()  # so that what fails at once does not go round for ever
            self._say(
                f"{self._name}: the pipeline ended unexpectedly ({type(failure).__name__}: {one_line(failure)}), and "
                f"{len(left)} photos with it; it is begun anew"
            )
            for task in left:
                self._tell(task, Problem(500, f"{task.name}: the server's pipeline failed beside it; send it again"))
        for task in self._take_left():
            self._tell(task, Cancelled())

    def _wait_for_task(self) -> bool:
        """Wait until there is a task; false where there comes none any more."""
        with self._lock:
            self._changed.wait_for(lambda: self._is_closed or self._queue)
            return bool(self._queue)

    def _run(self) -> BaseException | None:
        """One run of the pipeline, to the end of serving; what ended it before."""
        tasks = _Tasks(self)
        try:
            lanes = [_TaskLane(lane, self._check) for lane in self.remover.lanes()]
            with self._lock:
                self._lanes, self._stop = lanes, Stop(requested=self._is_aborted)
            pipeline: Pipeline[Task, Any, Any, Any] = Pipeline(
                self._load,
                lanes,
                self._finish,
                workers=self._workers,
                budget=self._budget,
                cost=_cost,
                ordered=False,
            )
            with closing(pipeline.results(tasks, self._stop)) as results:
                for task, outcome in results:
                    with self._lock:
                        self._in_run.pop(id(task), None)
                    self._tell(task, outcome)
                    self._store(outcome)
                    del task, outcome  # which would be kept until the next is done
        except BaseException as error:
            return error
        finally:
            tasks.end()
        return None

    def _take_left(self) -> list[Task]:
        with self._lock:
            left = list(self._in_run.values())
            self._in_run.clear()
            return left

    def _take_first(self) -> list[Task]:
        with self._lock:
            return [self._queue.popleft()] if self._queue else []

    def _tell(self, task: Task, outcome: Any) -> None:
        try:
            task.done(outcome)
        except Exception as error:  # of whoever waits for the task: the others go on
            self._say(f"{task.name}: cannot be told of its end ({type(error).__name__}: {one_line(error)})")

    def _store(self, outcome: Any) -> None:
        """Keep the compiled model behind the first photo that came through, as the command does behind its last."""
        if self._is_stored or isinstance(outcome, Exception):
            return
        self._is_stored = True
        threading.Thread(target=self.remover.store, name="nss-store", daemon=True).start()

    # the stages, in the pipeline's threads

    def _check(self, task: Task) -> None:
        if task.is_cancelled or self._is_aborted:
            raise Cancelled

    def _load(self, task: Task) -> Any:
        self._check(task)
        if self._is_closed:
            raise Cancelled  # nobody has begun on it
        task.entered("decode")
        return task.load(self.remover)

    def _finish(self, task: Task, output: Any) -> Any:
        self._check(task)
        task.entered("finish")
        return task.finish(self.remover, output)


def _cost(task: Task) -> int:
    return 0 if task.is_cancelled else task.cost()


class _Tasks(Iterator[Task]):
    """The queue as one run of the pipeline sees it: without an end before `RemoverPipeline.close`."""

    def __init__(self, pipeline: RemoverPipeline) -> None:
        self._pipeline = pipeline
        self._has_ended = False

    def __next__(self) -> Task:
        pipeline = self._pipeline
        with pipeline._lock:
            pipeline._changed.wait_for(lambda: self._has_ended or pipeline._is_closed or pipeline._queue)
            # of a run that was given up the thread that takes tasks may still be there, and would lose one
            if self._has_ended or not pipeline._queue:
                raise StopIteration
            task = pipeline._queue.popleft()
            pipeline._in_run[id(task)] = task
            return task

    def end(self) -> None:
        """The run is over."""
        with self._pipeline._lock:
            self._has_ended = True
            self._pipeline._changed.notify_all()


class _TaskLane(Lane[Task, Any, Any]):
    """A lane of the Remover that tells a task when the network has it, and leaves out one that nobody wants."""

    def __init__(self, lane: AnyLane, check: Callable[[Task], None]) -> None:
        self.depth = lane.depth
        self._lane, self._check = lane, check

    def submit(self, job: Task, loaded: Any) -> Pending[Any]:
        """Begin with a photo. Raises Cancelled where nobody wants it."""
        self._check(job)
        if isinstance(loaded, PreparedPhoto):
            job.entered("network")
        return self._lane.submit(job, loaded)

    def interrupt(self) -> None:
        """As the lane has it."""
        self._lane.interrupt()
