"""A server under hostile requests: many at once, each judged by what came back."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tools.serving.client import LONGEST_HEAD, BrokenAnswerError, Head, read_head
from tools.serving.hostile import Case, make
from tools.serving.server import Memory, Server

PROBLEM = "application/problem+json"
AFTER_S = 0.15
"""Seconds that a further answer is waited for that must not come."""

FURTHER_S = 2.0
"""Seconds that a further answer is waited for that may come."""

PROBE_S = 0.2
"""Seconds between two requests that ask whether the server is well."""

LARGEST_ANSWER = 64 << 20


@dataclass
class Result:
    """What came back on one connection.

    Attributes:
        answers: head and body of each whole one.
        is_open: neither an answer came nor was the connection closed in the time there is.
        malformed: why what came is no answer of HTTP, or "".
    """

    answers: list[tuple[Head, bytes]] = field(default_factory=list)
    is_open: bool = False
    malformed: str = ""
    seconds: float = 0.0


@dataclass
class Outcome:
    """What a siege has come to; ``faults`` are lines, with the number of the case where there is one."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    seconds: float = 0.0


class Siege:
    """Cases sent to a server.

    Attributes:
        bound: seconds in which a connection must be answered or closed.
        healthy: seconds in which the server must say that it is well, all the while.
    """

    def __init__(self, server: Server, *, seed: int, bound: float, healthy: float) -> None:
        self.server, self.seed, self.bound, self.healthy = server, seed, bound, healthy
        self.outcome, self.memory = Outcome(), Memory(server)
        self._places = {
            b"host": server.host.encode(),
            b"port": str(server.port).encode(),
            b"token": server.token.encode(),
            b"job": b"job-none",
            b"file": b"file-none",
        }

    async def run(self, numbers: Iterator[int], connections: int, seconds: float | None = None) -> Outcome:
        """Send the cases of these numbers, so many connections at a time, for at most so long."""
        start = time.monotonic()
        until = float("inf") if seconds is None else start + seconds
        watch = [asyncio.create_task(self.memory.watch()), asyncio.create_task(self._probe())]
        await asyncio.gather(*(self._attacker(numbers, until) for _ in range(connections)))
        for task in watch:
            task.cancel()
        for result in await asyncio.gather(*watch, return_exceptions=True):
            if not isinstance(result, (asyncio.CancelledError, type(None))):
                raise result
        self.outcome.seconds = time.monotonic() - start
        return self.outcome

    async def send(self, case: Case) -> Result:
        """Send one case, and take what comes."""
        result, start = Result(), time.monotonic()
        try:
            async with asyncio.timeout(self.bound):
                await self._exchange(case, result)
        except TimeoutError:
            result.is_open = True
        result.seconds = time.monotonic() - start
        return result

    async def _attacker(self, numbers: Iterator[int], until: float) -> None:
        for number in numbers:
            if time.monotonic() > until:
                return
            case = make(self.seed, number)
            try:
                result = await self.send(case)
            except OSError as error:
                self.outcome.faults.append(f"case {number} ({case.remark}): no connection: {error}")
                continue
            self._remember(result)
            self.outcome.faults += [f"case {number} ({case.remark}): {fault}" for fault in faults_of(case, result)]
            self.outcome.counts[str(result.answers[0][0].status) if result.answers else "closed or left"] += 1
            self.outcome.slowest = max(self.outcome.slowest, (result.seconds, number))

    def _remember(self, result: Result) -> None:
        for head, body in result.answers:
            if head.status in (201, 202):
                with suppress(ValueError, KeyError):
                    self._places[b"job" if head.status == 202 else b"file"] = json.loads(body)["id"].encode()

    async def _exchange(self, case: Case, result: Result) -> None:
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port, limit=LONGEST_HEAD)
        sending = asyncio.create_task(_send(writer, case, self._places))
        try:
            if case.ending in ("leave", "reset"):
                await sending
                if case.ending == "reset":
                    own: socket.socket = writer.get_extra_info("socket")
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            await _receive(reader, case, result)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            writer.transport.abort()

    async def _probe(self) -> None:
        while True:
            start = time.monotonic()
            connection = self.server.connection()
            try:
                async with asyncio.timeout(self.healthy):
                    answer = await connection.request("GET", "/healthz")
                if (answer.status, answer.body.strip()) != (200, b"ok"):
                    self.outcome.faults.append(f"/healthz: {answer.status} {answer.body[:100]!r}")
            except (BrokenAnswerError, TimeoutError) as error:
                self.outcome.faults.append(f"/healthz: {type(error).__name__}: {error}")
            connection.close()
            self.outcome.probes.append(time.monotonic() - start)
            await asyncio.sleep(PROBE_S)


async def _send(writer: asyncio.StreamWriter, case: Case, places: Mapping[bytes, bytes]) -> None:
    with suppress(OSError):
        for data, pause in case.filled(places):
            writer.write(data)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if case.ending == "half-close":
            writer.write_eof()


async def _receive(reader: asyncio.StreamReader, case: Case, result: Result) -> None:
    """Take answers until enough have come, or the connection is closed."""
    while True:
        patience = None
        if result.answers:
            patience = FURTHER_S if len(result.answers) < case.answers else AFTER_S
        try:
            async with asyncio.timeout(patience):
                head = await read_head(reader)
        except TimeoutError:
            return
        except asyncio.IncompleteReadError as error:
            if error.partial and not result.answers:
                result.malformed = f"half a head: {error.partial[:200]!r}"
            return
        except OSError:
            return  # it was closed, with some of what was sent unread
        except (ValueError, asyncio.LimitOverrunError) as error:
            result.malformed = str(error)
            return
        if head.headers.get("content-type", "").startswith("text/event-stream"):
            result.answers.append((head, b""))
            return
        bodiless = (case.bodiless and not result.answers) or head.status in (204, 304)
        try:
            result.answers.append((head, b"" if bodiless else await _body(reader, head)))
        except OSError:
            result.answers.append((head, b""))
            return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            result.malformed = f"{head.status} with half a body: {type(error).__name__}: {error}"
            return
        if head.headers.get("connection", "").lower() == "close" or len(result.answers) > case.answers:
            return


async def _body(reader: asyncio.StreamReader, head: Head) -> bytes:
    if "chunked" in head.headers.get("transfer-encoding", ""):
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        return b"".join(parts)
    if "content-length" in head.headers:
        length = int(head.headers["content-length"])
        if not 0 <= length <= LARGEST_ANSWER:
            raise ValueError(f"content-length {length}")
        return await reader.readexactly(length)
    return await reader.read()


def faults_of(case: Case, result: Result) -> Iterator[str]:
    """What is wrong with what came back."""
    if result.malformed:
        yield f"malformed answer: {result.malformed}"
    if result.is_open:
        yield f"hangs: neither answered nor closed in {result.seconds:.0f} s"
    elif case.must_answer and case.ending == "wait" and not result.answers:
        yield "closed without an answer"
    if len(result.answers) > case.answers:
        yield f"{len(result.answers)} answers to {case.answers} requests"
    for index, (head, body) in enumerate(result.answers):
        if index == 0 and case.forbidden and head.status < 400 and head.status != 304:
            yield f"{head.status} to what is forbidden"
        if fault := _wrong_answer(head, body, bodiless=case.bodiless and index == 0):
            yield fault


def _wrong_answer(head: Head, body: bytes, *, bodiless: bool) -> str:
    if (
        head.status >= 500
        and head.status != 503
        and not (head.status == 501 and (bodiless or b"Transfer-Encoding" in body))
    ):
        return f"{head.status}: {body[:300]!r}"
    if b"Traceback" in body:
        return f"{head.status} with a traceback"
    if any(name in head.headers for name in ("x-split", "set-cookie", "access-control-allow-origin")):
        return f"{head.status} with headers that it must not have: {dict(head.headers)}"
    if head.headers.get("x-content-type-options") != "nosniff" or "default-src 'none'" not in head.headers.get(
        "content-security-policy", ""
    ):
        return f"{head.status} without the headers of safety: {dict(head.headers)} {body[:100]!r}"
    if head.status >= 400 and not bodiless and body:
        return _wrong_problem(head, body)
    return ""


def _wrong_problem(head: Head, body: bytes) -> str:
    try:
        problem: Any = json.loads(body)
    except ValueError:
        problem = None
    is_right = (
        head.headers.get("content-type") == PROBLEM
        and isinstance(problem, dict)
        and problem.get("status") == head.status
        and isinstance(problem.get("title"), str)
        and isinstance(problem.get("detail"), str)
        and min(problem["detail"] or "\0") >= " "
    )
    return "" if is_right else f"{head.status}, and no problem: {head.headers.get('content-type')} {body[:300]!r}"
