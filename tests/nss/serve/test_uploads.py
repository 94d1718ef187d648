"""Files that are sent ahead: so many, so large, for so long, and as long as a photo needs them."""

from __future__ import annotations

import pytest

from nss.pipeline.budget import MemoryBudget
from nss.serve.jobs.uploads import Uploads
from nss.serve.limits import Limits
from nss.serve.problem import Problem

LIMITS = Limits(memory=800, file_count=3, file_seconds=10)  # of which 100 bytes are for these


class Files:
    """`Uploads` with a clock that stands, and the budget that bodies come out of."""

    def __init__(self) -> None:
        self.now = 0.0
        self.budget = MemoryBudget(1000)
        self.uploads = Uploads(LIMITS, clock=lambda: self.now)

    def add(self, nbytes: int = 10, name: str = "") -> str:
        lease = self.budget.try_reserve(nbytes)
        assert lease is not None
        return self.uploads.add(b"x" * nbytes, name, lease)


def test_a_file_is_found_by_its_id_and_forgotten_after_its_last_use() -> None:
    files = Files()
    key = files.add(name="mask.png")
    files.now = 9
    file = files.uploads.file(key)
    assert (file.content, str(file)) == (b"x" * 10, "mask.png")
    files.now = 18.9
    files.uploads.file(key)
    files.now = 28.9
    with pytest.raises(Problem, match="send it by POST") as raised:
        files.uploads.file(key)
    assert raised.value.status == 400
    assert files.budget.reserved == 0


def test_a_file_without_a_name_is_called_by_its_id() -> None:
    files = Files()
    key = files.add()
    assert str(files.uploads.file(key)) == key


def test_the_one_used_last_stays_where_there_are_too_many_or_too_much() -> None:
    files = Files()
    first, second, third = (files.add() for _ in range(3))
    files.uploads.file(first)
    fourth = files.add()
    with pytest.raises(Problem):
        files.uploads.file(second)
    files.add(85)
    assert len(files.uploads) == 2
    with pytest.raises(Problem):
        files.uploads.file(third)
    files.uploads.file(fourth)
    files.add(150)  # larger than all may be: alone
    assert (len(files.uploads), files.budget.reserved) == (1, 150)


def test_what_a_photo_needs_counts_until_it_is_done() -> None:
    files = Files()
    key = files.add(60)
    file = files.uploads.file(key)
    loan, other = files.uploads.lend((file, None, "white")), files.uploads.lend((file,))
    with pytest.raises(Problem, match="all in use") as raised:
        files.add(50)
    assert raised.value.status == 503
    files.uploads.remove(key)
    assert len(files.uploads) == 0
    loan.end()
    loan.end()
    reserved = files.budget.reserved
    other.end()
    assert reserved - files.budget.reserved == 60


def test_only_what_is_there_can_be_removed() -> None:
    files = Files()
    files.uploads.remove(files.add())
    with pytest.raises(Problem) as raised:
        files.uploads.remove("file-0")
    assert raised.value.status == 404
    files.add()
    files.uploads.clear()
    assert files.budget.reserved == 0
