"""Steps that workers go through together: one after the other, all items once, errors named, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cpu import toeplitz
from engine.cpu.executor import NumpyExecutor
from engine.cpu.march import MOST_KEPT, Job, March, Recorder, joined
from engine.cpu.threads import Do, Pool
from engine.errors import ModelError
from engine.graph.ir import Node
from tests.engine.cpu.kernels import small_strips
from tests.engine.models import feeds, interpret, load_graph, model, node


def go(pool: Pool, jobs: list[Job]) -> None:
    march = March(jobs, pool.threads)
    pool.together(march.run, march.stop)


@settings(max_examples=40, deadline=None)
@given(threads=st.integers(1, 4), counts=st.lists(st.integers(0, 6), max_size=12))
def test_a_job_begins_when_the_one_before_is_done(threads: int, counts: list[int]) -> None:
    events: list[tuple[int, int]] = []

    def job(number: int, count: int) -> Job:
        def work(worker: int, item: int) -> None:
            assert worker < threads
            events.append((number, item))
            sum(range(300))
            events.append((number, item))

        return Job(Node("Relu", [], []), work, range(count))

    pool = Pool(threads)
    jobs = joined([job(number, count) for number, count in enumerate(counts)])
    for _ in range(3):
        events.clear()
        go(pool, jobs)
        assert [number for number, _ in events] == [
            number for number, count in enumerate(counts) for _ in range(2 * count)
        ]
        assert sorted(events) == sorted(
            (n, item) for n, count in enumerate(counts) for item in range(count) for _ in "be"
        )
    pool.close()


def test_jobs_of_one_item_are_one_job() -> None:
    done: list[int] = []
    jobs = [
        Job(Node("Relu", [], []), lambda _, item: done.append(item), items) for items in ([1], [2], [3, 4], [], [5])
    ]
    assert [len(job.items) for job in joined(jobs)] == [1, 2, 1]
    for job in joined(jobs):
        for item in job.items:
            job.run(0, item)
    assert done == [1, 2, 3, 4, 5]


def test_a_worker_may_come_late() -> None:
    done: list[int] = []
    jobs = [Job(Node("Relu", [], []), lambda _, item: done.append(item), range(3)) for _ in range(4)]
    march = March(jobs, 2)
    march.run(0)
    march.run(1)
    assert len(done) == 12


@pytest.mark.parametrize(
    ("error", "raised"), [(ValueError("five"), ModelError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
@pytest.mark.parametrize("worker", [0, 1])
def test_an_error_ends_it(error: BaseException, raised: type[BaseException], worker: int) -> None:
    both, done = threading.Barrier(2, timeout=30), []

    def fail(at: int, _: int) -> None:
        both.wait()
        if at == worker:
            raise error

    pool = Pool(2)
    jobs = [
        Job(Node("Relu", [], [], name="n"), fail, [0, 1]),
        Job(Node("Exp", [], []), lambda *_: done.append(1), [0, 1]),
    ]
    with pytest.raises(raised) as caught:
        go(pool, jobs)
    assert raised is KeyboardInterrupt or "Relu 'n'" in str(caught.value)
    pool.settle()
    assert done == []
    pool.close()


def finishes(call: Callable[[], object]) -> bool:
    """Whether the call returns, and does not hang."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()


def test_an_interrupt_after_a_worker_left_the_waiting_list_does_not_leave_it_asleep() -> None:
    class Interrupted(list[int]):
        """The waiting list, the first worker of which the caller takes and never wakes."""

        armed = True

        def pop(self, *_: Any) -> int:
            worker = super().pop()
            if self.armed and threading.current_thread() is threading.main_thread():
                self.armed = False
                raise KeyboardInterrupt
            return worker

    pool, asleep = Pool(2), Interrupted()

    def work(worker: int, _: int) -> None:
        started.wait()
        while worker == 0 and not asleep:
            time.sleep(0.001)

    started = threading.Barrier(2, timeout=30)
    march = March([Job(Node("Relu", [], []), work, [0, 1]), Job(Node("Relu", [], []), work, [0, 1])], 2)
    march._waiting = asleep
    with pytest.raises(KeyboardInterrupt):
        pool.together(march.run, march.stop)
    assert not asleep.armed
    assert finishes(pool.settle)
    assert finishes(pool.close)


@pytest.mark.parametrize("end", ["settle", "close"])
def test_an_interrupt_of_the_stop_is_put_right_by_what_comes_next(end: str) -> None:
    pool, interrupts = Pool(2), [KeyboardInterrupt()]

    def work(worker: int, _: int) -> None:
        started.wait()
        if worker == 0:
            while not march._waiting:
                time.sleep(0.001)
            raise KeyboardInterrupt

    def stop() -> None:
        if interrupts:
            raise interrupts.pop()
        march.stop()

    started = threading.Barrier(2, timeout=30)
    march = March([Job(Node("Relu", [], []), work, [0, 1])], 2)
    with pytest.raises(KeyboardInterrupt):
        pool.together(march.run, stop)
    assert finishes(getattr(pool, end))
    assert finishes(pool.close)


def test_who_is_woken_between_the_list_and_the_gate_goes_on() -> None:
    """The job ends, and its end wakes the worker, after that one has written itself down and before it sleeps."""

    class Woken(list[int]):
        """The waiting list: by the time that somebody is on it, another worker has ended the job and woken him."""

        def append(self, worker: int) -> None:
            super().append(worker)
            march._done[0].append(1 - worker)
            march._wake()
            assert not self

    march = March([Job(Node("Relu", [], []), lambda *_: None, range(3))], 2)
    march._waiting = Woken()
    # two of three items are done, by whom it does not matter; the third is in the other worker's hands
    next(march._queues[0])
    assert finishes(lambda: march.run(0))
    # nothing is left of it for the next time: an open gate would let the worker through too early
    assert not march._gates[0].acquire(blocking=False)


def test_a_job_that_ends_before_its_worker_sleeps_leaves_nobody_on_the_list() -> None:
    class Ended(list[int]):
        def append(self, worker: int) -> None:
            super().append(worker)
            march._done[0].append(1 - worker)

    march = March([Job(Node("Relu", [], []), lambda *_: None, range(2))], 2)
    march._waiting = Ended()
    next(march._queues[0])
    assert finishes(lambda: march.run(0))
    assert not march._waiting


def test_a_single_item_starts_no_thread() -> None:
    executor = NumpyExecutor(load_graph(model([node("Relu", "x", "y")], {"x": [4]}, "y")), 3)
    before = threading.active_count()
    np.testing.assert_array_equal(executor.run([np.arange(-1, 3, dtype=np.float32)])[0], [0, 0, 1, 2])
    assert threading.active_count() == before


def test_an_error_while_a_step_is_prepared_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = load_graph(model([node("Transpose", "x", "y", name="n", perm=[1, 0])], {"x": [4, 5]}, "y"))
    executor = NumpyExecutor(graph, 2)

    def fail(*_: object) -> None:
        raise ValueError("inner")

    monkeypatch.setattr(executor._steps[0][1], "run", fail)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"Transpose 'n'.*float32\[4,5\].*inner"):
            executor.run(feeds(graph))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_fork_waits_for_few_steps(threads: int) -> None:
    """Those that take some milliseconds in all, for all images; one whose time nobody knows goes alone."""
    w = np.zeros((64, 64, 3, 3), np.float32)
    layers = [node("Conv", f"v{i} w", f"v{i + 1}", pads=[1] * 4) for i in range(6)]
    graphs = [
        load_graph(model([node("CumSum", f"v{i} a", f"v{i + 1}") for i in range(3)], {"v0": [9]}, "v3", {"a": 0})),
        load_graph(model(layers, {"v0": [1, 64, 6, 6]}, "v6", {"w": w})),
        load_graph(model(layers, {"v0": [64, 64, 24, 24]}, "v6", {"w": w})),
    ]
    assert [len(list(NumpyExecutor(graph, threads)._record())) for graph in graphs] == [3, 1, 6]


@pytest.mark.parametrize("count", [1, 5, 9])
def test_calls_of_short_steps_are_prepared_once(count: int) -> None:
    made: list[tuple[int, int]] = []
    x, y = np.zeros(18), np.zeros(18)

    def make(do: Do, worker: int, item: int) -> None:
        made.append((worker, item))
        do(np.add, x[item::count], item, y[item::count])

    pool = Pool(2)
    jobs = Recorder(pool).record(Node("Relu", [], []), lambda to: to.each_by_calls(make, range(count)))
    assert jobs is not None
    for run in range(20):
        x[:] = run
        go(pool, jobs)
        np.testing.assert_array_equal(y, run + np.arange(18) % count)
    # those that may run side by side have scratch of their own
    once = {1: [(0, 0)], 5: [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4)]}
    assert sorted(made) == once[count] if count in once else len(made) == 20 * count
    pool.close()


@pytest.mark.parametrize("threads", [2, 16])
def test_no_step_keeps_more_calls_than_those_of_few_items_a_worker(threads: int) -> None:
    """Beyond it the calls are made anew: their arrays would be most of what a session holds."""
    made: list[int] = []

    def make(do: Do, _: int, item: int) -> None:
        made.append(item)
        do(np.add, zeros, item, zeros)

    pool, zeros = Pool(threads), np.zeros(1)
    for count, kept in ((MOST_KEPT * threads, True), (MOST_KEPT * threads + 1, False)):
        made.clear()
        jobs = Recorder(pool).record(Node("Relu", [], []), lambda to, n=count: to.each_by_calls(make, range(n)))
        assert jobs is not None
        for _ in range(3):
            go(pool, jobs)
        assert len(jobs[0].items) == (threads if kept else count)
        assert sorted(made) == (list(range(count)) if kept else sorted(3 * list(range(count))))
    pool.close()


@pytest.mark.parametrize("shape", [[2, 5, 1, 1], [1, 5, 1, 1], [5, 1, 1], [2, 1, 6, 7], []], ids=str)
@pytest.mark.parametrize("group", [1, 5])
def test_a_later_run_reads_what_is_there_then(shape: list[int], group: int) -> None:
    """Operands that are the same for images or channels, which a step must not keep copies of."""
    w: Any = np.random.default_rng(0).standard_normal((5, 5 // group, 3, 3)).astype(np.float32)
    proto = model(
        [node("Relu", "k", "r"), node("Conv", "x w", "c", pads=[1] * 4, group=group), node("Mul", "c r", "y")],
        {"x": [2, 5, 6, 7], "k": shape},
        "y",
        {"w": w},
    )
    executor, alone = (NumpyExecutor(load_graph(proto), 2) for _ in range(2))
    random = np.random.default_rng(1)
    for _ in range(3):
        inputs = [random.random(extents).astype(np.float32) for extents in ([2, 5, 6, 7], shape)]
        np.testing.assert_array_equal(executor.run(inputs)[0], alone.run(inputs, lambda *_: None)[0])


@pytest.mark.parametrize(
    ("nodes", "shape", "constants"),
    [
        ([node("Gather", "r i", "g"), node("Add", "g g", "y")], [7], {"i": np.int64(3)}),
        ([node("Resize", "r - s", "y", mode="linear")], [1, 2, 5, 5], {"s": np.ones(4, np.float32)}),
    ],
    ids=["a number of a vector", "a resize to the same size"],
)
def test_later_runs_of_steps_that_only_copy(nodes: list[Any], shape: list[int], constants: dict[str, Any]) -> None:
    graph = load_graph(model([node("Relu", "x", "r"), *nodes], {"x": shape}, "y", constants))
    executor = NumpyExecutor(graph, 2)
    for run in range(3):
        inputs = feeds(graph, run)
        np.testing.assert_array_equal(executor.run(inputs)[0], interpret(graph, inputs)[0])
    executor.close()


@pytest.mark.parametrize("depthwise", ["Depthwise", "Toeplitz"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("fine", [False, True])
def test_runs_of_a_varied_network_compute_what_each_is_given(
    monkeypatch: pytest.MonkeyPatch, threads: int, fine: bool, depthwise: str
) -> None:
    """Every kernel that keeps calls, behind a product with an operand of rank 3 where it takes one."""
    monkeypatch.setattr(toeplitz, "takes", lambda _: depthwise == "Toeplitz")
    random = np.random.default_rng(0)

    def weights(*shape: int) -> Any:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "short": weights(3, 1, 3, 3),
        "long": weights(3, 1, 3, 3),
        "point": weights(3, 16, 1, 1),
        "square": weights(32, 3, 5, 5),
        "more": weights(32, 32, 5, 5),
        "third": weights(8, 32, 3, 3),
        "few": weights(1, 8, 3, 3),
        "line": weights(32, 32, 1, 5),
    }
    nodes = [
        # images, channels and lines are three, so that an operand of rank 3 looks like one of the same planes
        *[node("Relu", "p", "p1"), node("Conv", "a short", "a1", group=3, pads=[1] * 4), node("Mul", "a1 p1", "a2")],
        *[node("Relu", "q", "q1"), node("Conv", "b long", "b1", group=3, pads=[1] * 4), node("Mul", "b1 q1", "b2")],
        *[node("Relu", "r", "r1"), node("Conv", "c point", "c1"), node("Mul", "c1 r1", "c2")],
        *[node("Sigmoid", "c2", "s"), node("Mul", "c2 s", "c3"), node("Conv", "c3 square", "c4", pads=[2] * 4)],
        *[node("Relu", "t", "t1"), node("Conv", "c4 more", "c5", pads=[2] * 4), node("Mul", "c5 t1", "c6")],
        *[node("GlobalAveragePool", "c6", "g"), node("Mul", "c6 g", "c7"), node("Conv", "c7 third", "c8")],
        *[node("MaxPool", "c8", "c9", kernel_shape=[3, 3], strides=[2, 2]), node("Conv", "c9 few", "c10")],
        *[node("Relu", "u", "u1"), node("Conv", "d line", "d1", pads=[0, 2, 0, 2]), node("Mul", "d1 u1", "d2")],
    ]
    shapes = {
        "a": [3, 3, 3, 7],
        "p": [3, 3, 7],
        "b": [3, 3, 3, 70],
        "q": [3, 3, 1],
        "c": [3, 16, 24, 24],
        "r": [3, 24, 24],
        "t": [32, 1, 24],
        "d": [3, 32, 1, 200],
        "u": [32, 1, 200],
    }
    graph = load_graph(model(nodes, shapes, "a2 b2 c7 c10 d2", constants))
    with small_strips() if fine else nullcontext():
        executor = NumpyExecutor(graph, threads)
        kernels = {type(getattr(kernel, "algorithm", kernel)).__name__ for _, kernel, *_ in executor._steps}
        assert {"ColumnProduct", "Winograd5x5", "WinogradLine", "MaxPoolKernel", depthwise} <= kernels, kernels
        for run in range(3):
            inputs = feeds(graph, run)
            for result, expected in zip(executor.run(inputs), interpret(graph, inputs), strict=True):
                np.testing.assert_allclose(result, expected, rtol=0, atol=3e-5 * np.abs(expected).max())
    executor.close()
