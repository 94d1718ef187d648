"""The body of an upload, counted, timed, and paid for out of a budget of memory while it streams.

The file itself is the body: no form is parsed. What a head alone can be refused for, it is refused for before a byte of
the body is read.
"""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from nss.errors import quoted
from nss.pipeline.budget import BudgetClosedError, Lease, MemoryBudget
from nss.serve.limits import Limits
from nss.serve.problem import Problem, busy

STEP = 1 << 20
"""Bytes that are reserved at a time for a body whose length nobody has said."""

UNTYPED = "application/octet-stream"

_IMAGE = re.compile(r"image/[a-z0-9!#$&^_.+-]{1,100}")


@dataclass
class Body:
    """A file that was uploaded.

    Attributes:
        content: its bytes.
        content_type: "image/…" as the caller has it, without parameters, or "application/octet-stream".
        lease: its part of the budget, released by whoever is done with the content.
    """

    content: bytes = field(repr=False)
    content_type: str
    lease: Lease


async def read_body(request: Request, limits: Limits, budget: MemoryBudget) -> Body:
    """The body of a request.

    Raises:
        Problem: 400 for a length that is none, 408 where it stalls or trickles, 413 where it is too long, 415 for a
            type or an encoding that is not taken, 422 where it is empty, 503 where there is no memory for it now.
        ClientDisconnect: the client has gone.
    """
    content_type = _content_type(request)
    length = _length(request)
    if length is not None and length > limits.body_bytes:
        raise _too_long(limits)
    if length == 0:
        raise _empty()
    upload = _Upload(limits, budget, length)
    try:
        await upload.receive(request)
        content = upload.content()
        if not content:
            raise _empty()
    except BaseException:
        upload.lease.release()
        raise
    return Body(content, content_type, upload.lease)


class _Upload:
    """A body that is on its way.

    Attributes:
        lease: what is reserved for it, at least as much as has come.
    """

    def __init__(self, limits: Limits, budget: MemoryBudget, length: int | None) -> None:
        """Raises Problem 503 where there is no memory for it."""
        self._limits, self._budget = limits, budget
        self._parts, self._count = io.BytesIO(), 0
        self.lease = self._reserve(STEP if length is None else length)

    async def receive(self, request: Request) -> None:
        """All of it."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        stall_seconds, slowest = self._limits.stall_seconds, self._limits.slowest
        while True:
            try:
                async with asyncio.timeout(stall_seconds):
                    message = await request.receive()
            except TimeoutError:
                raise _late(f"nothing of the body came for {stall_seconds:g} seconds") from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._add(message.get("body", b""))
            if not message.get("more_body", False):
                return
            seconds = loop.time() - start
            if seconds > stall_seconds and self._count < slowest * seconds:
                raise _late(f"the body comes at less than {slowest} bytes a second")

    def content(self) -> bytes:
        """What has come. Not a copy, which would take as much memory again as was reserved."""
        return self._parts.getvalue()

    def _add(self, part: bytes) -> None:
        self._count += len(part)
        if self._count > self._limits.body_bytes:
            raise _too_long(self._limits)
        while self._count > self.lease.nbytes:
            more = self._reserve(STEP)
            # a budget knows leases by their size: one in the place of two that nobody releases is both
            self.lease = Lease(self._budget, self.lease.nbytes + more.nbytes)
        self._parts.write(part)

    def _reserve(self, nbytes: int) -> Lease:
        try:
            lease = self._budget.try_reserve(nbytes)
        except BudgetClosedError:
            raise busy("the server is stopping; try again later", 10) from None
        if lease is None:
            raise busy("there is no memory for another upload now; try again later")
        return lease


def _content_type(request: Request) -> str:
    """The body's media type. Raises Problem 415."""
    encodings = [value.strip().lower() for value in request.headers.getlist("content-encoding")]
    if any(encoding not in ("", "identity") for encoding in encodings):
        raise Problem(415, f"the body is encoded as {quoted(', '.join(encodings))}: send the file as it is")
    given = request.headers.getlist("content-type")
    types = {value.partition(";")[0].strip().lower() for value in given} - {""}
    if not types:
        return UNTYPED
    media_type = types.pop()
    if types or not (media_type == UNTYPED or _IMAGE.fullmatch(media_type)):
        raise Problem(
            415,
            f"the body is of type {quoted(', '.join(given))}: send the image itself, with Content-Type image/… or "
            f"{UNTYPED}, or without one",
        )
    return media_type


def _length(request: Request) -> int | None:
    """How long the body is by its head, None where that does not say. Raises Problem 400."""
    if (given := ", ".join(request.headers.getlist("content-length"))) == "":
        return 0 if "transfer-encoding" not in request.headers else None
    if not (given.isascii() and given.isdecimal() and len(given) <= 20):
        raise Problem(400, f"Content-Length {quoted(given)}: a number of bytes is wanted")
    return int(given)


def _too_long(limits: Limits) -> Problem:
    return Problem(413, f"the body has more than {limits.body_bytes} bytes, the most that is taken: reduce the photo")


def _empty() -> Problem:
    return Problem(422, "the body is empty: send the image itself as the body")


def _late(what: str) -> Problem:
    # what is left of it would be taken for another request
    return Problem(408, f"{what}, and it was given up", {"Connection": "close"})
