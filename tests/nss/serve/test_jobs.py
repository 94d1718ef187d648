"""The states of jobs, and what is kept of them, with a clock that stands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nss.errors import ImageError, UsageError
from nss.photos.image_size import TooManyPixelsError
from nss.pipeline.budget import BudgetClosedError
from nss.serve.api.events import EventLog
from nss.serve.jobs.jobs import Job, Jobs
from nss.serve.jobs.photo_host import Product
from nss.serve.jobs.tasks import Cancelled
from nss.serve.limits import Limits
from nss.serve.problem import Problem

LIMITS = Limits(memory=400, queue=4, keep_seconds=60, keep_count=3)  # of which 100 bytes are for what is kept


class Book:
    """`Jobs` with a clock, and what was told of them."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now = 1000.0
        self.log = EventLog(first=1)
        self.ended: list[str] = []
        self.jobs = Jobs(limits, log=self.log, clock=lambda: self.now, ended=lambda job: self.ended.append(job.state))

    def add(self, *, is_listed: bool = True, photo: int | None = None) -> Job:
        kept = None if photo is None else (b"x" * photo, "image/png")
        job = self.jobs.add("photo.jpg", "u2netp", is_listed=is_listed, photo=kept)
        job.task = SimpleNamespace(is_cancelled=False)  # type: ignore[assignment]
        return job

    def done(self, nbytes: int = 10) -> Job:
        self.jobs.finish(job := self.add(), product(nbytes))
        return job

    @property
    def ids(self) -> list[str]:
        return [job.id for job in self.jobs]

    def told(self) -> list[str]:
        states, number = [], 0
        while (event := self.log.after(number)) is not None:
            number = event.number
            states.append(event.text.split(b'"state":"')[1].split(b'"')[0].decode())
        return states


def product(nbytes: int = 10) -> Product:
    return Product(b"y" * nbytes, "image/png", 4, 3, {"milliseconds": {}})


def test_a_job_goes_through_its_states() -> None:
    book = Book()
    job = book.add(photo=5)
    seen: list[dict[str, Any]] = [job.as_json()]
    for stage in ("decode", "network", "finish"):
        book.jobs.entered(job, stage)
        seen.append(job.as_json())
    book.now = 1001.5
    book.jobs.finish(job, product())
    seen.append(job.as_json())
    assert [(s["state"], s["stage"], s["progress"]) for s in seen] == [
        ("waiting", None, 0.0),
        ("running", "decode", 0.0),
        ("running", "network", 0.333),
        ("running", "finish", 0.667),
        ("done", None, 1.0),
    ]
    assert seen[-1] == {
        "id": job.id,
        "name": "photo.jpg",
        "state": "done",
        "stage": None,
        "progress": 1.0,
        "created": 1000.0,
        "expires": 1061.5,
        "model": "u2netp",
        "problem": None,
        "result": {"type": "image/png", "bytes": 10, "width": 4, "height": 3},
        "info": {"milliseconds": {}},
        "photo": True,
    }
    assert book.told() == ["waiting", "running", "running", "running", "done"]
    assert job.over.is_set()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageError("photo.jpg: is not an image"), 422),
        (TooManyPixelsError("photo.jpg: raise 'max_pixels'"), 413),
        (UsageError("'mask_bits' 16: 16 bits are for a mask alone"), 400),
        (MemoryError(), 503),
        (ValueError("odd"), 500),
    ],
)
def test_a_failure_is_a_problem(error: Exception, status: int) -> None:
    book = Book()
    job = book.add()
    book.jobs.finish(job, error)
    assert job.problem is not None
    assert (job.state, job.problem.status) == ("failed", status)
    assert "'max_pixels'" not in job.problem.detail
    assert job.as_json()["problem"] == job.problem.as_json()


@pytest.mark.parametrize("outcome", [Cancelled(), BudgetClosedError()])
def test_what_was_given_up_is_cancelled(outcome: Exception) -> None:
    book = Book()
    job = book.add()
    book.jobs.finish(job, outcome)
    assert (job.state, job.problem) == ("cancelled", None)


@pytest.mark.parametrize("stage", [None, "decode", "network", "finish"])
def test_a_job_that_is_removed_is_given_up_and_holds_its_place_until_it_is_over(stage: Any) -> None:
    book = Book()
    job = book.add(photo=7)
    ends: list[str] = []
    job.at_end(lambda: ends.append("given back"))
    if stage:
        book.jobs.entered(job, stage)
    task = job.task
    assert task is not None
    book.jobs.remove(job.id)
    assert (job.state, task.is_cancelled, job.over.is_set()) == ("cancelled", True, True)
    assert (book.ids, book.jobs.kept_bytes, book.jobs.open) == ([], 0, [job])
    book.jobs.entered(job, "finish")
    assert not ends
    book.jobs.finish(job, product())
    assert (job.state, job.product, book.jobs.open, book.jobs.kept_bytes) == ("cancelled", None, [], 0)
    assert ends == ["given back"]
    assert book.told()[-1] == "removed"
    assert book.ended == ["cancelled"]


def test_a_finished_job_is_removed_with_what_is_kept() -> None:
    book = Book()
    job = book.done()
    book.jobs.remove(job.id)
    assert (book.jobs.kept_bytes, job.state) == (0, "done")
    with pytest.raises(Problem) as raised:
        book.jobs.remove(job.id)
    assert raised.value.status == 404


def test_the_queue_has_an_end() -> None:
    book = Book()
    jobs = [book.add(is_listed=i % 2 == 0) for i in range(4)]
    with pytest.raises(Problem, match="4 photos wait") as raised:
        book.add()
    assert (raised.value.status, raised.value.headers) == (503, {"Retry-After": "2"})
    book.jobs.finish(jobs[1], product())
    book.add()


def test_what_a_request_waits_for_is_neither_listed_nor_kept() -> None:
    book = Book()
    job = book.add(is_listed=False)
    assert (book.ids, book.told(), book.jobs.states()) == ([], [], {"waiting": 1})
    with pytest.raises(Problem):
        book.jobs.get(job.id)
    book.jobs.finish(job, product())
    assert (job.state, book.jobs.kept_bytes, book.told()) == ("done", 0, [])


def test_finished_jobs_are_forgotten_by_age() -> None:
    book = Book()
    first = book.done()
    book.now += 30
    second, running = book.done(), book.add()
    book.now += 30
    book.jobs.expire()
    assert book.ids == [second.id, running.id]
    with pytest.raises(Problem, match="forgotten"):
        book.jobs.get(first.id)
    book.now += 1e6
    book.jobs.expire()
    assert book.ids == [running.id], "one that has not ended is never forgotten"
    assert book.told()[-2:] == ["removed", "removed"]


def test_finished_jobs_are_forgotten_by_number_those_that_ended_first_before_others() -> None:
    book = Book()
    slow = book.add()
    others = [book.done() for _ in range(3)]
    book.jobs.finish(slow, product())
    assert book.ids == [slow.id, others[1].id, others[2].id]
    assert book.jobs.kept_bytes == 30


def test_finished_jobs_are_forgotten_by_bytes_but_not_the_last_one() -> None:
    book = Book()
    first, second = book.done(40), book.done(40)
    third = book.done(40)
    assert (book.ids, book.jobs.kept_bytes) == ([second.id, third.id], 80)
    large = book.done(1000)
    assert book.ids == [large.id]
    assert first.state == "done"
    small = book.done(1)
    assert book.ids == [small.id]


def test_uploads_that_are_kept_count_from_the_start() -> None:
    book = Book()
    first = book.done(60)
    book.add(photo=60)
    with pytest.raises(Problem):
        book.jobs.get(first.id)
    with pytest.raises(Problem, match="take all the room") as raised:
        book.add(photo=41)
    assert raised.value.headers == {"Retry-After": "2"}
    with pytest.raises(Problem, match="leave 'keep-photo' out") as raised:
        book.add(photo=101)
    assert raised.value.status == 503
    book.add(photo=40)
    assert book.jobs.kept_bytes == 100


def test_how_many_are_in_each_state() -> None:
    book = Book()
    book.done()
    book.jobs.entered(book.add(), "decode")
    book.jobs.finish(book.add(), ImageError("x"))
    book.jobs.remove(book.add().id)
    book.add(is_listed=False)
    assert book.jobs.states() == {"done": 1, "running": 1, "failed": 1, "waiting": 1}
