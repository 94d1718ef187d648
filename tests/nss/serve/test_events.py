"""Server-sent events: the present first, then changes, from where a reader was, however slow it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from nss.serve.api.events import EventLog, stream

SECONDS = 60.0
T = TypeVar("T")


def run(test: Awaitable[T]) -> T:
    return asyncio.run(asyncio.wait_for(test, SECONDS))


def job(key: str, state: str = "running", **more: Any) -> dict[str, Any]:
    return {"id": key, "state": state, **more}


class Board:
    """Jobs by their ids, and the log of their changes."""

    def __init__(self, most: int = 100) -> None:
        self.log = EventLog(most, first=1)
        self.jobs: dict[str, dict[str, Any]] = {}

    def set(self, key: str, state: str, **more: Any) -> None:
        if state == "removed":
            self.jobs.pop(key, None)
        else:
            self.jobs[key] = job(key, state, **more)
        self.log.add(job(key, state, **more))

    def stream(self, last: int | None = None, *, of: str | None = None, alive: float = 15.0) -> AsyncIterator[bytes]:
        return stream(
            self.log, lambda: [j for j in self.jobs.values() if of in (None, j["id"])], last, of=of, alive=alive
        )


def parsed(event: bytes) -> tuple[int, str, str]:
    number, data, *rest = event.decode().split("\n")
    assert rest == ["", ""]
    value = json.loads(data.removeprefix("data: "))
    return int(number.removeprefix("id: ")), value["id"], value["state"]


async def all_of(events: AsyncIterator[bytes]) -> list[tuple[int, str, str]]:
    return [parsed(event) async for event in events]


def test_a_new_reader_gets_the_present_and_then_changes() -> None:
    async def test() -> None:
        board = Board()
        board.set("a", "done")
        board.set("b", "waiting")
        events = board.stream()
        # the first one is no place to go on from: what is behind it would be lost
        assert parsed(await anext(events)) == (0, "a", "done")
        assert parsed(await anext(events)) == (2, "b", "waiting")
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        board.set("b", "running")
        assert parsed(await following) == (3, "b", "running")
        board.set("a", "removed")
        board.log.close()
        assert await all_of(events) == [(4, "a", "removed")]

    run(test())


def test_a_reader_goes_on_where_it_was() -> None:
    async def test() -> None:
        board = Board()
        for state in ("waiting", "running", "done"):
            board.set("a", state)
        board.log.close()
        assert await all_of(board.stream(1)) == [(2, "a", "running"), (3, "a", "done")]
        assert await all_of(board.stream(3)) == []
        assert await all_of(board.stream(0)) == [(1, "a", "waiting"), (2, "a", "running"), (3, "a", "done")]
        assert await all_of(board.stream(99)) == [(3, "a", "done")], "what was never told is no place to go on from"

    run(test())


def test_a_reader_of_a_job_ends_with_it() -> None:
    async def test() -> None:
        board = Board()
        board.set("a", "waiting")
        board.set("b", "waiting")
        events = asyncio.ensure_future(all_of(board.stream(of="a")))
        for _ in range(3):
            await asyncio.sleep(0)
        board.set("b", "done")
        board.set("a", "running")
        board.set("a", "failed")
        board.set("a", "removed")
        assert await events == [(2, "a", "waiting"), (4, "a", "running"), (5, "a", "failed")]
        assert await all_of(board.stream(4, of="a")) == [(5, "a", "failed")]
        assert await all_of(board.stream(6, of="a")) == []
        assert await all_of(board.stream(of="b")) == [(6, "b", "done")]
        assert await all_of(board.stream(of="a")) == []

    run(test())


def test_a_slow_reader_gets_the_present_instead_of_all_that_it_missed() -> None:
    async def test() -> None:
        board = Board(most=5)
        board.set("a", "waiting")
        events = board.stream()
        assert parsed(await anext(events)) == (1, "a", "waiting")
        for i in range(1000):
            board.set("a", "running", progress=i)
        board.set("b", "waiting")
        board.log.close()
        assert await all_of(events) == [(0, "a", "running"), (1002, "b", "waiting")]

    run(test())


def test_silence_is_broken() -> None:
    async def test() -> None:
        board = Board()
        events = board.stream(alive=0.01)
        assert [await anext(events) for _ in range(2)] == [b": alive\n\n"] * 2
        following = asyncio.ensure_future(anext(events))
        board.set("a", "waiting")
        while (event := await following).startswith(b":"):
            following = asyncio.ensure_future(anext(events))
        assert parsed(event) == (1, "a", "waiting")

    run(test())


def test_many_readers_wake_by_one_change() -> None:
    async def test() -> None:
        board = Board()
        board.set("a", "waiting")
        readers = [asyncio.ensure_future(all_of(board.stream(of="a"))) for _ in range(50)]
        await asyncio.sleep(0.01)
        board.set("a", "done")
        assert await asyncio.gather(*readers) == [[(1, "a", "waiting"), (2, "a", "done")]] * 50

    run(test())


def test_numbers_of_an_earlier_process_are_before_those_of_this_one() -> None:
    assert EventLog().last > 1_700_000_000_000
