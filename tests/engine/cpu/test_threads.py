"""Work is done once each, by every worker, and errors come out."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from engine.cpu import threads
from engine.cpu.threads import WAKE_NS, Pool, single_threaded_blas, turn


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_item_once(threads: int) -> None:
    pool = Pool(threads)
    finished_items: list[int] = []
    workers: set[int] = set()

    def work(worker: int, item: int) -> None:
        workers.add(worker)
        finished_items.append(item)

    for count in (0, 1, 7, 300):
        finished_items.clear()
        pool.each(work, range(count))
        assert sorted(finished_items) == list(range(count))
    assert workers <= set(range(threads))
    pool.close()


def test_workers_work_at_the_same_time() -> None:
    pool = Pool(3)
    meeting = threading.Barrier(3, timeout=30)
    pool.each(lambda *_: meeting.wait() and None, range(3))
    pool.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_error_of_a_worker_is_raised(threads: int, kind: type[BaseException]) -> None:
    pool = Pool(threads)
    finished_items: list[int] = []

    def work(_: int, item: int) -> None:
        if item == 5:
            raise kind("five")
        finished_items.append(item)

    with pytest.raises(kind, match="five"):
        pool.each(work, range(1000))
    assert len(finished_items) < 1000
    pool.each(lambda _, item: finished_items.append(item), [5])
    assert finished_items[-1] == 5
    pool.close()


def test_each_worker_has_scratch_of_its_own() -> None:
    pool = Pool(2)
    pool.reserve(100)
    pool.reserve(10)
    assert pool.scratch(0).size == pool.scratch(1).size == 100
    pool.scratch(0).fill(1)
    pool.scratch(1).fill(2)
    assert (pool.scratch(0) == 1).all()
    assert pool.scratch_bytes == 800
    pool.close()


@given(
    threads=st.integers(1, 5),
    count=st.integers(0, 50),
    nanoseconds=st.floats(0, 100 * WAKE_NS),
    max_rows=st.none() | st.integers(1, 60),
)
def test_ranges_cover_every_row_once(threads: int, count: int, nanoseconds: float, max_rows: int | None) -> None:
    pool = Pool(threads)
    ranges = pool.ranges(count, nanoseconds, max_rows)
    pool.close()
    assert [row for first, last in ranges for row in range(first, last)] == list(range(count))
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    assert all(first < last for first, last in ranges)
    assert max_rows is None or all(last - first <= max_rows for first, last in ranges)
    if nanoseconds < WAKE_NS and max_rows is None:
        assert len(ranges) <= 1


def limits() -> list[int]:
    """The threads that each BLAS of this process may use."""
    pools = [info for info in threadpool_info() if info["user_api"] == "blas"]
    # NumPy's own: what else brings a BLAS into this process came after the limit was made
    return [info["num_threads"] for info in pools if len(pools) == 1 or "numpy" in info["filepath"]]


def test_blas_stays_on_one_thread_within_a_turn_only() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = limits()
        with turn():
            assert set(limits()) <= {1}
        assert limits() == before


def test_turns_of_several_threads_do_not_overlap() -> None:
    inside: list[int] = []
    counts_inside: list[int] = []
    blas_threads: list[set[int]] = []

    def take() -> None:
        for _ in range(20):
            with turn():
                inside.append(1)
                counts_inside.append(len(inside))
                blas_threads.append(set(limits()))
                inside.pop()

    threads = [threading.Thread(target=take) for _ in range(3)]
    before = limits()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(counts_inside) == {1}
    assert all(counts <= {1} for counts in blas_threads)
    assert limits() == before


def test_the_last_to_go_puts_the_limit_of_blas_back() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with single_threaded_blas():
            inside.set()
            leave.wait(30)

    with threadpool_limits(2, user_api="blas"):
        before = limits()
        first = threading.Thread(target=hold)
        with single_threaded_blas():
            first.start()
            inside.wait(30)
        assert set(limits()) <= {1}  # the first to come has gone, the other is still within
        leave.set()
        first.join()
        assert limits() == before


def test_a_thread_may_enter_again_and_the_limit_holds_until_it_is_wholly_out() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = limits()
        with single_threaded_blas():
            with single_threaded_blas():
                assert set(limits()) <= {1}
            assert set(limits()) <= {1}
        assert limits() == before
        with turn():
            with single_threaded_blas():
                pass
            assert set(limits()) <= {1}
        assert limits() == before


def test_threads_that_enter_twice_keep_the_limit_for_each_other() -> None:
    together, wrong = threading.Barrier(4), []

    def visit() -> None:
        together.wait(30)
        for _ in range(20):
            with single_threaded_blas():
                with single_threaded_blas():
                    pass
                if not set(limits()) <= {1}:
                    wrong.append(limits())

    with threadpool_limits(2, user_api="blas"):
        before = limits()
        visitors = [threading.Thread(target=visit) for _ in range(4)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        assert limits() == before
    assert wrong == []


def test_an_end_that_is_interrupted_leaves_no_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """The guard, whose second use is interrupted before it begins."""

        uses = 0

        def __enter__(self) -> None:
            Interrupted.uses += 1
            if Interrupted.uses == 2:
                raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None: ...

    with threadpool_limits(2, user_api="blas"):
        before = limits()
        with monkeypatch.context() as patched:
            patched.setattr(threads, "_GUARD", Interrupted())
            with pytest.raises(KeyboardInterrupt), single_threaded_blas():
                pass
        gc.collect()  # the frames of the traceback
        with single_threaded_blas():
            assert set(limits()) <= {1}
        assert limits() == before


def test_an_interrupt_while_waiting_leaves_nothing_behind() -> None:
    """What a worker still has in hand when the caller is interrupted ends before anything else begins."""
    pool = Pool(2)
    release, working, late_items = threading.Event(), threading.Event(), []

    def work(worker: int, item: int) -> None:
        if worker == 0:
            working.wait(60)
            raise KeyboardInterrupt
        working.set()
        release.wait(60)
        late_items.append(item)

    with pytest.raises(KeyboardInterrupt):
        pool.each(work, range(100))
    assert not late_items  # the interrupt did not wait
    threading.Timer(0.05, release.set).start()
    pool.settle()
    assert len(late_items) == 1  # the item in hand; the others were dropped
    finished_items: list[int] = []
    pool.each(lambda _, item: finished_items.append(item), range(10))
    assert sorted(finished_items) == list(range(10))
    pool.close()


def test_an_interrupted_turn_is_put_right_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with threadpool_limits(2, user_api="blas"):
        before = limits()
        with monkeypatch.context() as patch:
            patch.setattr(threads, "_lift_limits", lambda: None)  # as if a second interrupt had come in its way
            with turn():
                pass
        assert set(limits()) <= {1}
        with turn():
            assert set(limits()) <= {1}
        assert limits() == before
