"""A plan carried out by clients against a server, and every answer held to what it should be."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from PIL import Image

from tools.serving.client import Answer, BrokenAnswerError, Connection
from tools.serving.metrics import memory_in_use, wrong_metrics
from tools.serving.photos import NETWORK_MASK, ORDERS, Library, Photo, sent_ahead
from tools.serving.plan import Plan, Step
from tools.serving.server import Memory, Server

PROBLEM = "application/problem+json"
ENDS = ("done", "failed", "cancelled")
PATIENCE_S = 240.0
"""Seconds that one step may take before it is said to hang, from the last 503 on."""

MOST_SENT = 8 << 20
"""Bytes that are sent of a body that is too large; it only says that it is, where the server takes more than this."""


@dataclass
class Outcome:
    """What a load has come to.

    Attributes:
        seconds: wall time.
        latencies: seconds by kind of step, from its last request to its answer, or to that with the job's result.
        counts: of steps by what came of them.
        retries: 503s that were tried again.
        faults: what was not as documented, a line each.
        memory: the server's, over time.
        server_cpu, client_cpu: seconds on the cores.
    """

    memory: Memory
    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    faults: list[str] = field(default_factory=list)
    server_cpu: float = 0.0
    client_cpu: float = 0.0


class WrongAnswerError(Exception):
    """An answer that is whole, and not the one that it should be."""


class Load:
    """Clients that share out the steps of a plan."""

    def __init__(self, server: Server, plan: Plan, library: Library) -> None:
        self.server, self.plan, self.library = server, plan, library
        self.outcome = Outcome(Memory(server))
        self.jobs: dict[str, str] = {}
        """What each job that was made, and not deleted, must be at the end."""
        self._streamed: dict[str, str] = {}
        self._answers: Counter[tuple[str, int]] = Counter()
        self._ends: Counter[str] = Counter()
        self._limits: Mapping[str, Any] = {}

    async def run(self, clients: int) -> Outcome:
        """Carry out all steps; what is wrong stands in the outcome."""
        outcome = self.outcome
        async with asyncio.timeout(PATIENCE_S):
            self._limits = (await self.server.connection().request("GET", "/api/v1/models")).json()["limits"]
        watch = [asyncio.create_task(outcome.memory.watch()), asyncio.create_task(self._follow_all())]
        steps = iter(enumerate(self.plan.steps))
        start, own, theirs = time.perf_counter(), time.process_time(), self.server.cpu_seconds()
        await asyncio.gather(*(self._client(steps) for _ in range(clients)))
        outcome.seconds = time.perf_counter() - start
        outcome.client_cpu, outcome.server_cpu = time.process_time() - own, self.server.cpu_seconds() - theirs
        await self._check_end(watch[1])
        for task in watch:
            task.cancel()
        await asyncio.gather(*watch, return_exceptions=True)
        return outcome

    async def _client(self, steps: Iterator[tuple[int, Step]]) -> None:
        connection = self.server.connection()
        for index, step in steps:
            try:
                async with asyncio.timeout(PATIENCE_S) as patience:
                    what = await self._step(connection, step, patience)
            except BrokenAnswerError as error:
                what = "broken"
                self._fault(index, step, str(error))
                connection.close()
            except TimeoutError:
                what = "hangs"
                self._fault(index, step, f"no answer in {PATIENCE_S:g} s")
                connection.close()
            except WrongAnswerError as error:
                what = "wrong"
                self._fault(index, step, str(error))
            self.outcome.counts[what] += 1
        connection.close()

    def _fault(self, index: int, step: Step, why: str) -> None:
        what = f"{step.way}{f', {step.fault}' if step.fault else ''}, {ORDERS[step.order].query or 'no fields'}"
        self.outcome.faults.append(f"step {index} ({what}): {why}")

    async def _step(self, connection: Connection, step: Step, patience: asyncio.Timeout) -> str:
        if step.fault in ("half", "sent", "answer"):
            return await self._leave(connection, step)
        answer, start = await self._accepted(connection, step, patience)
        kind = step.fault or step.way
        if step.way == "job" and answer.status == 202:
            answer = await self._through_job(connection, step, answer)
            if step.fault == "events":
                return "left"
        self.outcome.latencies.setdefault(kind, []).append(time.perf_counter() - start)
        return self._checked(step, answer)

    async def _accepted(self, connection: Connection, step: Step, patience: asyncio.Timeout) -> tuple[Answer, float]:
        """The answer to the step's request once it is no 503, and when that request began."""
        while True:
            start = time.perf_counter()
            answer = await self._send_with_file(connection, step)
            if answer.status != 503:
                return answer, start
            _check_problem(answer)
            if not (wait := answer.headers.get("retry-after", "")).isdecimal():
                raise WrongAnswerError(f"503 with Retry-After {wait!r}")
            self.outcome.retries += 1
            await asyncio.sleep(int(wait))
            patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)

    async def _send_with_file(self, connection: Connection, step: Step) -> Answer:
        """Send the step's request, and before it the file that it names, which is deleted behind it."""
        if not (ahead := ORDERS[step.order].ahead) or step.fault == "bytes":
            return await self._send(connection, step)
        file = sent_ahead(self.plan.photos[step.photo])
        sent = await connection.request("POST", "/api/v1/files", file.content, {"Content-Type": file.media_type})
        if sent.status == 503:
            return sent
        if sent.status != 201:
            raise WrongAnswerError(f"{sent.status} for a file that is sent ahead: {sent.body[:300]!r}")
        key = sent.json()["id"]
        answer = await self._send(connection, step, f"{ahead}={key}")
        if (gone := await connection.request("DELETE", f"/api/v1/files/{key}")).status != 204:
            raise WrongAnswerError(f"DELETE of a file gave {gone.status}")
        return answer

    async def _send(self, connection: Connection, step: Step, more: str = "") -> Answer:
        target, headers, photo = self._request(step, more)
        if step.fault != "bytes":
            answer = await connection.request("POST", target, photo.content, headers)
        else:
            answer = await self._send_too_much(connection, target, headers, chunked=step.photo % 2 == 1)
        self._answers[f"/api/v1/{'jobs' if step.way == 'job' else 'remove'}", answer.status] += 1
        return answer

    async def _send_too_much(
        self, connection: Connection, target: str, headers: Mapping[str, str], *, chunked: bool
    ) -> Answer:
        length = int(self._limits["body_bytes"]) + 1
        if chunked and length <= MOST_SENT:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (length, bytes(length))
            return await connection.request("POST", target, body, {**headers, "Transfer-Encoding": "chunked"})
        body = bytes(min(length, MOST_SENT))
        answer = await connection.request("POST", target, body, {**headers, "Content-Length": str(length)})
        connection.close()  # the rest of the body may not have come
        return answer

    def _request(self, step: Step, more: str = "") -> tuple[str, dict[str, str], Photo]:
        photo, order = step.content or self.plan.photos[step.photo], ORDERS[step.order]
        headers = {"Content-Type": photo.media_type}
        if order.accept:
            headers["Accept"] = order.accept
        path = "/api/v1/jobs" if step.way == "job" else "/api/v1/remove"
        query = "&".join(filter(None, (order.query, more)))
        return f"{path}?{query}" if query else path, headers, photo

    async def _leave(self, connection: Connection, step: Step) -> str:
        target, headers, photo = self._request(step)
        data = connection.encoded("POST", target, headers, len(photo.content))
        half = len(photo.content) // 2
        with suppress(BrokenAnswerError):  # of an earlier connection, which the server has closed meanwhile
            if step.fault == "half":
                await connection.send_raw(data + photo.content[:half])
                await asyncio.sleep(0.02)
            elif step.fault == "sent":
                await connection.send_raw(data + photo.content)
                await asyncio.sleep(0.1)
            else:
                head = await connection.begin("POST", target, photo.content, headers)
                if head.status not in (200, 503):
                    raise WrongAnswerError(f"{head.status} in place of a picture")
        connection.leave(reset=step.photo % 2 == 1)
        return "left"

    async def _through_job(self, connection: Connection, step: Step, answer: Answer) -> Answer:
        """Follow a job that was accepted to its end, and ask for its result."""
        job = answer.json()
        path = f"/api/v1/jobs/{job['id']}"
        if answer.headers.get("location") != path or job["state"] not in ("waiting", "running", *ENDS):
            raise WrongAnswerError(f"202 with Location {answer.headers.get('location')!r} and {job}")
        if step.fault == "events":
            await self._drop(connection, path, reset=step.photo % 2 == 1)
            return answer
        await self._follow(path)
        result = await connection.request("GET", path + "/result")
        self.jobs[job["id"]] = "failed" if step.fault else "done"
        if step.forgets:
            del self.jobs[job["id"]]
            if (gone := await connection.request("DELETE", path)).status != 204:
                raise WrongAnswerError(f"DELETE gave {gone.status}")
        return result

    async def _drop(self, connection: Connection, path: str, *, reset: bool) -> None:
        """Leave a job's events, and delete it."""
        follower = self.server.connection()
        await follower.begin("GET", path + "/events")
        follower.leave(reset=reset)
        gone = await connection.request("DELETE", path)
        after = await connection.request("GET", path)
        if (gone.status, after.status) != (204, 404):
            raise WrongAnswerError(f"DELETE gave {gone.status}, and GET behind it {after.status}")

    async def _follow(self, path: str) -> None:
        """Read a job's events to their end. Raises WrongAnswerError where their order is none that can be."""
        connection = self.server.connection()
        head = await connection.begin("GET", path + "/events")
        if head.status != 200 or not head.headers.get("content-type", "").startswith("text/event-stream"):
            raise WrongAnswerError(f"events: {head.status} {head.headers.get('content-type')}")
        numbers, states, progress = [], [], []
        async for number, job in connection.events(head):
            numbers.append(number or 0)
            states.append(job["state"])
            progress.append(job.get("progress", 1))
        connection.close()
        if not states or states[-1] not in ENDS:
            raise WrongAnswerError(f"events end with {states[-1:]}")
        rank = {"waiting": 0, "running": 1}
        for what in (numbers, progress, [rank.get(state, 2) for state in states]):
            if any(after < before for before, after in pairwise(what)):
                raise WrongAnswerError(f"events are out of order: {numbers} {states} {progress}")

    def _checked(self, step: Step, answer: Answer) -> str:
        """What came of it. Raises WrongAnswerError where that is not what should have."""
        wanted = {"": 200, "damaged": 422, "bytes": 413, "pixels": 413}[step.fault]
        if answer.status != wanted:
            raise WrongAnswerError(f"{answer.status} in place of {wanted}: {answer.body[:300]!r}")
        if step.fault:
            _check_problem(answer)
            self._ends["failed"] += step.fault == "damaged"
            return "refused"
        expected = self.library.result(step.photo, step.order)
        if not is_same_file(answer.body, expected):
            raise WrongAnswerError(f"{len(answer.body)} bytes that are not the {len(expected)} of the library")
        order = ORDERS[step.order]
        types = {NETWORK_MASK} if order.encoding is None else {f"image/{order.encoding.format}"}
        if answer.headers.get("content-type") not in types:
            raise WrongAnswerError(f"a picture of type {answer.headers.get('content-type')}, not {types}")
        if "nss-info" not in answer.headers or "server-timing" not in answer.headers:
            raise WrongAnswerError("a picture without Nss-Info or Server-Timing")
        self._ends["done"] += 1
        return "right"

    async def _follow_all(self) -> None:
        connection = self.server.connection()
        head = await connection.begin("GET", "/api/v1/events")
        last = -1
        async for number, job in connection.events(head):
            if number is not None and number < last:
                self.outcome.faults.append(f"/api/v1/events: event {number} comes behind {last}")
            last = last if number is None else number
            self._streamed[job["id"]] = job["state"]

    async def _check_end(self, following: asyncio.Task[None]) -> None:
        """Hold the list of jobs, the stream of all events and the metrics to what was done."""
        faults, connection = self.outcome.faults, self.server.connection()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:  # what clients left behind may still be in work
                    listed = (await connection.request("GET", "/api/v1/jobs")).json()["jobs"]
                    metrics = (await connection.request("GET", "/metrics")).body.decode()
                    if all(job["state"] in ENDS for job in listed):
                        break
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.2)
        except (BrokenAnswerError, TimeoutError, KeyError) as error:
            faults.append(f"at the end: {type(error).__name__}: {error}")
            return
        if following.done():
            faults.append(f"/api/v1/events has ended: {following.exception() or 'by the server'}")
        faults += _wrong_list(listed, self.jobs, int(self._limits["keep_count"]))
        for name, state in self.jobs.items():
            if self._streamed.get(name) not in (state, "removed"):
                faults.append(f"/api/v1/events told last of {name} that it is {self._streamed.get(name)}, not {state}")
        left = sum(bool(step.fault) and step.fault not in ("damaged", "bytes") for step in self.plan.steps)
        faults += wrong_metrics(metrics, self._answers, self._ends, left)
        faults += memory_in_use(metrics, "waiting", "work")


def _wrong_list(listed: list[Any], jobs: Mapping[str, str], most: int) -> list[str]:
    faults = [
        f"the list has {job['id']} as {job['state']}, not {jobs.get(job['id'])}"
        for job in listed
        if job["state"] != jobs.get(job["id"])
    ]
    if len(listed) > most or (len(listed) < min(most, len(jobs))):
        faults.append(
            f"the list has {len(listed)} jobs, of {len(jobs)} that were made and at most {most} that are kept"
        )
    created = [job["created"] for job in listed]
    if created != sorted(created):
        faults.append("the list is not in the order of creation")
    return faults


def is_same_file(content: bytes, expected: bytes) -> bool:
    """Whether two files are the same byte for byte; of TIFF, as long, and the same picture.

    libtiff leaves the byte that makes a strip of odd length even as its memory was.
    """
    if content == expected or content[:4] != b"II*\0" or len(content) != len(expected):
        return content == expected
    with Image.open(io.BytesIO(content)) as picture, Image.open(io.BytesIO(expected)) as other:
        return (picture.mode, picture.size, picture.tobytes()) == (other.mode, other.size, other.tobytes())


def _check_problem(answer: Answer) -> None:
    if answer.headers.get("content-type") != PROBLEM:
        raise WrongAnswerError(f"{answer.status} of type {answer.headers.get('content-type')}: {answer.body[:200]!r}")
    problem = answer.json()
    if problem.get("status") != answer.status or not problem.get("title") or "\n" in problem.get("detail", "\n"):
        raise WrongAnswerError(f"{answer.status} with the problem {problem}")
