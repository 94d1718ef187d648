"""Bodies: refused by their heads, counted, timed, and paid for."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from nss.pipeline.budget import MemoryBudget
from nss.serve.http.bodies import STEP, Body, read_body
from nss.serve.limits import Limits
from nss.serve.problem import Problem
from tests.nss.serve.serving import LIMITS, client

MIB = 1 << 20


class NeverError(Exception):
    """The body was asked for."""


class Hasty(selectors.DefaultSelector):
    """For a loop with a clock of its own: where nothing is ready, it is at once as late as what comes next."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(None if timeout is None else 0)

    @classmethod
    def loop(cls) -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop(selector := cls())
        loop.time = lambda: selector.now  # type: ignore[method-assign]
        return loop


def request(headers: dict[str, str], *parts: bytes | float | None, asked: list[int] | None = None) -> Request:
    """A request whose body comes in parts; a number is a pause in seconds, and None the client's end."""

    async def come() -> AsyncIterator[Any]:
        for number, part in enumerate(parts):
            if isinstance(part, float):
                await asyncio.sleep(part)
            elif part is None:
                yield {"type": "http.disconnect"}
            else:
                yield {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        raise NeverError

    coming = come()

    async def receive() -> Any:
        (asked if asked is not None else []).append(1)
        return await anext(coming)

    heads = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": heads}, receive)


def read(
    headers: dict[str, str],
    *parts: bytes | float | None,
    limits: Limits = LIMITS,
    budget: MemoryBudget | None = None,
    asked: list[int] | None = None,
) -> Body:
    budget = budget or MemoryBudget(8 * MIB)
    with asyncio.Runner(loop_factory=Hasty.loop) as runner:
        return runner.run(read_body(request(headers, *parts, asked=asked), limits, budget))


def status_of(headers: dict[str, str], *parts: bytes | float | None, **more: Any) -> int:
    """Of the problem; whatever was reserved is given back then."""
    budget = more.setdefault("budget", MemoryBudget(8 * MIB))
    before = budget.reserved
    with pytest.raises(Problem) as caught:
        read(headers, *parts, **more)
    assert budget.reserved == before
    assert "\n" not in caught.value.detail
    return int(caught.value.status)


def test_a_body_of_known_length_is_reserved_at_once() -> None:
    budget = MemoryBudget(8 * MIB)
    body = read({"content-length": "6", "content-type": "image/png; q=1"}, b"abc", b"def", budget=budget)
    assert (body.content, body.content_type, body.lease.nbytes, budget.reserved) == (b"abcdef", "image/png", 6, 6)
    body.lease.release()
    body.lease.release()
    assert budget.reserved == 0


def test_a_chunked_body_is_reserved_in_steps() -> None:
    budget = MemoryBudget(8 * MIB)
    limits = Limits(memory=64 * MIB, body_bytes=8 * MIB)
    body = read({"transfer-encoding": "chunked"}, *[bytes(MIB // 2)] * 5, limits=limits, budget=budget)
    assert len(body.content) == 5 * MIB // 2
    assert body.content_type == "application/octet-stream"
    assert body.lease.nbytes == budget.reserved == 3 * STEP
    body.lease.release()
    assert budget.reserved == 0


def test_2_mb_where_1_mb_is_allowed_is_413_with_content_length_and_chunked() -> None:
    asked: list[int] = []
    assert status_of({"content-length": str(2 * MIB)}, bytes(2 * MIB), asked=asked) == 413
    assert asked == []  # not a byte of it was read
    assert status_of({"transfer-encoding": "chunked"}, *[bytes(MIB // 4)] * 8, asked=asked) == 413
    assert len(asked) == 5
    answers = [
        client().post("/api/v1/jobs", content=bytes(2 * MIB)),
        client().post("/api/v1/jobs", content=iter([bytes(MIB)] * 2)),
    ]
    assert [answer.status_code for answer in answers] == [413, 413]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert answers[0].headers["connection"] == "close"


def test_exactly_as_much_as_is_allowed_is_taken() -> None:
    assert client().post("/api/v1/jobs", content=bytes(MIB)).json() == {
        "bytes": MIB,
        "type": "application/octet-stream",
    }
    assert client().post("/api/v1/jobs", content=iter([bytes(MIB)])).status_code == 202


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/", "image/a b", "x"]
)
def test_text_plain_and_its_like_are_415(media_type: str) -> None:
    asked: list[int] = []
    assert status_of({"content-type": media_type, "content-length": "3"}, b"abc", asked=asked) == 415
    assert asked == []
    assert client().post("/api/v1/jobs", content=b"abc", headers={"content-type": media_type}).status_code == 415


@pytest.mark.parametrize("media_type", ["image/jpeg", "IMAGE/PNG", "image/svg+xml", "application/octet-stream", ""])
def test_images_and_bytes_are_taken(media_type: str) -> None:
    assert client().post("/api/v1/jobs", content=b"abc", headers={"content-type": media_type}).status_code == 202


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("identity, br", 415), ("identity", 202), ("", 202)])
def test_an_encoded_body_is_415(encoding: str, status: int) -> None:
    headers = {"content-encoding": encoding}
    assert client().post("/api/v1/jobs", content=b"abc", headers=headers).status_code == status


@pytest.mark.parametrize("length", ["-1", "+3", "3.0", "0x3", "three", "3, 3", "٣", "9" * 30, "3 3"])
def test_a_length_that_is_none_is_400(length: str) -> None:
    headers = [(b"content-length", length.encode())]
    strange = Request({"type": "http", "method": "POST", "path": "/", "headers": headers})
    with pytest.raises(Problem) as caught:
        asyncio.run(read_body(strange, LIMITS, MemoryBudget(MIB)))
    assert caught.value.status == 400


def test_an_empty_body_is_422() -> None:
    assert status_of({}) == 422
    assert status_of({"content-length": "0"}) == 422
    assert status_of({"transfer-encoding": "chunked"}, b"") == 422


def test_without_memory_it_is_503_with_retry_after() -> None:
    budget = MemoryBudget(4 * MIB)
    limits = Limits(memory=64 * MIB, body_bytes=8 * MIB)
    with budget.reserve(3 * MIB) or pytest.fail("there is room"):
        asked: list[int] = []
        assert (
            status_of({"content-length": str(2 * MIB)}, bytes(2 * MIB), limits=limits, budget=budget, asked=asked)
            == 503
        )
        assert asked == []
        chunks = [bytes(MIB), bytes(MIB)]
        assert status_of({"transfer-encoding": "chunked"}, *chunks, limits=limits, budget=budget) == 503
        with pytest.raises(Problem) as caught:
            read({"content-length": str(2 * MIB)}, limits=limits, budget=budget)
        assert caught.value.headers == {"Retry-After": "2"}
    budget.close()
    assert status_of({"content-length": "1"}, b"1", budget=budget) == 503


def test_a_body_that_stalls_is_408_and_closes() -> None:
    limits = Limits(memory=64 * MIB, stall_seconds=0.05)
    with pytest.raises(Problem, match=r"nothing of the body came for 0\.05 seconds") as caught:
        read({"content-length": "9"}, b"abc", 0.5, b"def", limits=limits)
    assert (caught.value.status, caught.value.headers) == (408, {"Connection": "close"})


def test_a_body_that_trickles_is_408() -> None:
    limits = Limits(memory=64 * MIB, stall_seconds=1, slowest=1000)
    drops = [part for _ in range(200) for part in (b"x", 0.02)]
    assert status_of({"content-length": "99"}, *drops, limits=limits) == 408
    quick = [part for _ in range(6) for part in (b"x" * 100, 0.02)]
    assert len(read({"content-length": "999"}, *quick, b"", limits=limits).content) == 600


def test_a_client_that_leaves_gives_back_what_was_reserved() -> None:
    budget = MemoryBudget(8 * MIB)
    with pytest.raises(ClientDisconnect):
        read({"content-length": "9"}, b"abc", None, budget=budget)
    assert budget.reserved == 0


def test_what_is_reserved_is_what_is_held() -> None:
    body = read({"content-length": str(MIB)}, *[bytes(MIB // 16)] * 16)
    assert type(body.content) is bytes
    assert len(body.content) == body.lease.nbytes


def test_no_upload_is_larger_than_there_can_be_room_for_beside_files_sent_ahead() -> None:
    limits = Limits(memory=80 * MIB, body_bytes=256 * MIB)
    assert limits.body_bytes == limits.waiting_bytes // 2 == 10 * MIB
    assert Limits(memory=4096 * MIB).body_bytes == 256 * MIB
