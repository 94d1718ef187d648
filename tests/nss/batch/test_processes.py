"""Worker processes within what the system has."""

from __future__ import annotations

import sys

import pytest

from nss.batch import processes
from nss.workers.pool import WorkerPool
from nss.workers.process import supported

pytestmark = pytest.mark.skipif(not supported(), reason="this system has no worker processes")

resource = pytest.importorskip("resource")


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many workers were started, which none is in truth."""
    started: list[int] = []

    def pool(count: int, **_: object) -> None:
        started.append(count)

    monkeypatch.setattr(processes, "WorkerPool", pool)
    return started


class Limits:
    """The limit of open files, and the highest that it may be raised to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.soft, self.hard))
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        assert limits[0] <= limits[1] == self.hard
        self.soft = limits[0]


def test_the_limit_of_open_files_is_raised_for_many_workers(monkeypatch: pytest.MonkeyPatch, counts: list[int]) -> None:
    limits = Limits(monkeypatch, 1024, 4096)
    processes.start_pool(128, 192)
    assert counts == [128]
    assert limits.soft == 128 * (5 + processes.WORKER_DESCRIPTORS) + processes.SPARE_DESCRIPTORS


def test_fewer_workers_are_started_where_it_may_not_be_raised(
    monkeypatch: pytest.MonkeyPatch, counts: list[int]
) -> None:
    limits = Limits(monkeypatch, 1024, 1024)
    processes.start_pool(128, 192)
    assert 1 < counts[0] < 128
    assert counts[0] * (5 + processes.WORKER_DESCRIPTORS) <= limits.soft - processes.SPARE_DESCRIPTORS


@pytest.mark.parametrize("soft", [1024, 1 << 20])
def test_a_limit_that_is_enough_stays(monkeypatch: pytest.MonkeyPatch, counts: list[int], soft: int) -> None:
    limits = Limits(monkeypatch, soft, 1 << 20)
    processes.start_pool(4, 6)
    assert (counts, limits.soft) == ([4], soft)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_takes_no_more_descriptors_than_that() -> None:
    from pathlib import Path

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    with WorkerPool(2, blocks=3):
        assert open_files() - before <= 2 * (3 + processes.WORKER_DESCRIPTORS)
