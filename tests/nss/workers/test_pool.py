"""Workers: both halves in one process, arrays that cross, and what becomes of work that a worker dies of."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nss.errors import ImageError, NssError, UsageError
from nss.workers.places import HeldPhoto
from nss.workers.pool import BLOCKS, WorkerPool, WorkersGoneError
from nss.workers.process import WorkerProcess, supported
from tests.nss.workers.work import Doubling, StrangeError, Task
from tests.wall_clock import wait_until, within

pytestmark = pytest.mark.skipif(not supported(), reason="has no worker processes")


def shared_memory() -> list[str]:
    """What this process has open of it."""
    links = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(path.readlink()))
    return [link for link in links if "memfd:nss" in link]


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        pool.configure(Doubling())
        yield pool


def through(pool: WorkerPool, task: Task) -> tuple:
    held = pool.load(task)
    doubled, octets = held.arrays
    assert doubled.tolist() == (np.arange(task.size, dtype=np.float32) * 2).tolist()
    assert octets.shape == (1, task.size)
    pid = held.summary
    result = pool.finish(held, [doubled + 1], task.name)
    return (pid, *result)


def error_of(pool: WorkerPool, task: Task) -> Exception | None:
    try:
        pool.do(task)
    except Exception as error:
        return error
    return None


def test_both_halves_are_done_by_one_process_and_arrays_come_and_go(shared_pool: WorkerPool) -> None:
    with ThreadPoolExecutor(6) as threads:
        tasks = [Task(str(number), size=1 + 1000 * number) for number in range(40)]
        for task, result in zip(tasks, threads.map(lambda task: through(shared_pool, task), tasks), strict=True):
            pid, again, kept, sums, output, main = result
            assert pid == again
            assert pid != os.getpid()
            array = np.arange(task.size, dtype=np.float32)
            assert (kept, sums, output) == (float(array.sum()), [float((array * 2 + 1).sum())], task.name)
            assert main is None, "nothing of the program is imported again"
    assert shared_pool.do(Task("alone"))[1] == 45.0


def test_an_empty_array_crosses_and_a_large_block_is_given_back(shared_pool: WorkerPool) -> None:
    assert through(shared_pool, Task("empty", size=0))[2] == 0
    large = 20 << 20
    held = shared_pool.load(Task("large", size=large))
    block = held._process.blocks[held._block]
    assert block.size >= large * 5
    shared_pool.finish(held)
    assert block.size == 0
    assert through(shared_pool, Task("small again"))[2] == 45.0


def test_arrays_keep_their_memory_as_the_worker_ends_that_made_them() -> None:
    with WorkerPool(1) as pool:
        pool.configure(Doubling())
        held = pool.load(Task("in the network", size=1 << 20))
        doubled = held.arrays[0]
        block = held._process.blocks[held._block]
        assert not block.unmap(), "the network would read memory that is gone"
        os.kill(held._process.pid, signal.SIGKILL)
        assert pool.do(Task("another"))[1] == 45.0
        assert block.descriptor == -1
        assert doubled[-1] == 2 * ((1 << 20) - 1)
        assert pool.finish(held, [doubled])[1] > 0


def test_errors_cross_with_their_class_their_text_and_what_stood_behind_them(shared_pool: WorkerPool) -> None:
    from nss.cli.option_words import error_in_options
    from nss.cli.terminal import describe

    with pytest.raises(ImageError) as failure:
        shared_pool.load(Task("a.jpg", load="fail"))
    said = "a.jpg: --mask-bits is wrong: it's 'mask_bits' in another package"
    assert error_in_options(failure.value) == said
    with pytest.raises(UsageError, match="that is no use"):
        shared_pool.do(Task("a", finish="misuse"))
    with pytest.raises(UsageError, match="that is no use"):
        shared_pool.do(Task("a", load="misuse"))
    with pytest.raises(MemoryError):
        shared_pool.load(Task("a", load="want_memory"))
    with pytest.raises(KeyError) as unforeseen:
        shared_pool.load(Task("a", load="raise_unforeseen"))
    assert describe(unforeseen.value).startswith("unexpected KeyError: 'missing' ")
    with pytest.raises(Exception, match="one and two") as strange:
        shared_pool.load(Task("a", load="be_strange"))
    assert type(strange.value).__name__ == StrangeError.__name__
    assert through(shared_pool, Task("still there"))[2] == 45.0


def test_what_codecs_say_is_told_here() -> None:
    said: list[tuple[str, str]] = []
    with WorkerPool(1, tell=lambda *note: said.append(note)) as pool:
        pool.configure(Doubling())
        pool.do(Task("a.tif", finish="say"))
    assert said == [("a.tif", "the codec says: hm")]


@pytest.mark.parametrize("half", ["load", "finish"])
def test_what_a_worker_dies_of_once_is_done_again(tmp_path: Path, half: str) -> None:
    with WorkerPool(2) as pool:
        pool.configure(Doubling())
        others = [pool.load(Task(f"other {number}")) for number in range(3)]
        task = Task("photo", folder=tmp_path, **{half: "kill_once"})
        held = pool.load(task)
        assert pool.finish(held, [np.ones(3)], "output")[1:4] == (45.0, [3.0], "output")
        assert (tmp_path / "photo.once").exists()
        # kept by the worker that died, or by the other one
        assert [pool.finish(other, [], number)[3] for number, other in enumerate(others)] == [0, 1, 2]
        assert len(pool.pids) == 2


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ("kill", "by signal 9 (out of memory?)"),
        ("crash", f"by signal {int(signal.SIGSEGV)}"),
        ("leave", "with status 7"),
    ],
)
def test_what_workers_die_of_twice_fails_alone(act: str, how: str) -> None:
    with WorkerPool(1) as pool:
        pool.configure(Doubling())
        held = pool.load(Task("innocent"))
        with pytest.raises(ImageError) as failure:
            pool.load(Task("bad.jpg", load=act))
        assert str(failure.value) == f"bad.jpg: the process that worked on it ended {how}"
        assert pool.finish(held, [np.ones(2)], "kept")[1:4] == (45.0, [2.0], "kept")


def test_a_worker_that_is_killed_while_it_waits_costs_nothing() -> None:
    with WorkerPool(1) as pool:
        pool.configure(Doubling())
        for _ in range(3):  # as often as a photo at work could not survive
            held = pool.load(Task("photo"))
            os.kill(pool.pids[0], signal.SIGKILL)
            time.sleep(0.05)
            assert pool.finish(held)[1] == 45.0


def test_where_no_worker_can_start_each_photo_says_so() -> None:
    with WorkerPool(2, imports=["no_such_module"]) as pool:
        pool.configure(Doubling())
        with pytest.raises(WorkersGoneError, match=r"^a\.jpg: no process is left"):
            pool.load(Task("a.jpg"))
        with pytest.raises(NssError):
            pool.load(Task("b.jpg"))


def test_a_photo_that_nobody_finishes_gives_its_memory_to_others() -> None:
    with WorkerPool(1) as pool:
        pool.configure(Doubling())
        for _ in range(3):
            held: list[HeldPhoto] | None = [pool.load(Task("photo")) for _ in range(BLOCKS)]
            assert held
            held = None
            gc.collect()
        assert through(pool, Task("last"))[2] == 45.0


def test_a_photo_that_all_others_wait_for_needs_no_memory_that_they_have() -> None:
    with WorkerPool(1) as pool:
        pool.configure(Doubling())
        ahead = [pool.load(Task(f"ahead {number}")) for number in range(BLOCKS)]
        late = pool.load(Task("late", size=5))
        assert [array.sum() for array in late.arrays] == [20, 10]
        assert pool.finish(late, [np.ones(3)], "first")[1:4] == (10.0, [3.0], "first")
        assert [pool.finish(held)[1] for held in ahead] == [45.0] * BLOCKS
        assert through(pool, Task("last"))[2] == 45.0


@pytest.mark.wall_clock
def test_all_is_gone_when_the_pool_is(tmp_path: Path) -> None:
    """Closed in the middle: whoever waits is told, no process is left, no memory, and no half file."""
    gc.collect()  # what another test has left would go meanwhile
    before = threading.active_count(), len(shared_memory())
    pool = WorkerPool(2)
    pool.configure(Doubling())
    held = pool.load(Task("held"))
    errors: list[Exception | None] = []

    task = Task("photo", finish="nap", folder=tmp_path)
    thread = threading.Thread(target=lambda: errors.append(error_of(pool, task)))
    thread.start()
    wait_until((tmp_path / "photo.napping").exists)
    pids = pool.pids
    assert len(list(tmp_path.glob(".nss-*"))) == 1
    with within(20):
        pool.close()
        thread.join()
    assert [type(error) for error in errors] == [WorkersGoneError]
    assert [path.name for path in tmp_path.iterdir()] == ["photo.napping"]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    del held
    gc.collect()
    assert (threading.active_count(), len(shared_memory())) == before


def test_the_temporary_file_of_a_worker_that_was_killed_is_removed(tmp_path: Path) -> None:
    from nss.files import output_file

    def tidy(task: Task, dead: WorkerProcess) -> None:
        output_file.clear_up(tmp_path / f"{task.name}.out", dead.mark, dead.announced)

    with WorkerPool(1, tidy=tidy) as pool:
        pool.configure(Doubling())
        task = Task("photo", finish="nap", folder=tmp_path)
        errors: list[Exception | None] = []
        thread = threading.Thread(target=lambda: errors.append(error_of(pool, task)))
        thread.start()
        for _ in range(2):
            while not (mark := tmp_path / "photo.napping").exists() or not mark.read_text():
                time.sleep(0.01)
            pid = int(mark.read_text())
            mark.unlink()
            os.kill(pid, signal.SIGKILL)
        thread.join()
    assert [type(error) for error in errors] == [ImageError]
    assert list(tmp_path.iterdir()) == []
