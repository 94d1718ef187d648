"""HTTP/1.1 on plain sockets: one connection of one client, which sees what a browser or a library would hide."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

LONGEST_HEAD = 1 << 18
"""Bytes of an answer's head, and of one line of events, that are taken."""

PIECE = 1 << 16
"""Bytes of a body that are sent at a time."""


class BrokenAnswerError(Exception):
    """What came is no whole answer; the text says how far it went."""


@dataclass(frozen=True)
class Answer:
    """An answer: ``headers`` by names in lower case, ``seconds`` from the request's first byte to the answer's last."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        """The body as JSON. Raises BrokenAnswerError where it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise BrokenAnswerError(f"{self.status} with a body that is no JSON: {self.body[:200]!r}") from error


@dataclass(frozen=True)
class Head:
    """The head of an answer."""

    status: int
    headers: Mapping[str, str]


class Connection:
    """A connection to a server, opened when it is first used, and anew once the server has closed it.

    A body has its length in the head, or with a header Transfer-Encoding whatever form the caller gave it.

    Attributes:
        headers: sent with every request, beside Host.
        opened: how often it was opened.
    """

    def __init__(self, host: str, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.host, self.port, self.headers = host, port, dict(headers or {})
        self.opened = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request, and read its answer. Raises BrokenAnswerError where none comes, or half of one."""
        start = time.perf_counter()
        head = await self.begin(method, target, body, headers)
        content = b""
        if method != "HEAD" and head.status not in (204, 304):
            content = b"".join([part async for part in self.parts(head)])
        if head.headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(head.status, head.headers, content, time.perf_counter() - start)

    async def begin(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Head:
        """Send a request, and read the head of its answer, which may come before all of the body is sent."""
        data = self.encoded(method, target, headers, None if body is None else len(body))
        is_reused = self._writer is not None
        try:
            return await self._exchange(data, body or b"")
        except BrokenAnswerError:
            if not is_reused:
                raise
        return await self._exchange(data, body or b"")  # it was closed between two requests, as servers may

    def encoded(self, method: str, target: str, headers: Mapping[str, str] | None, length: int | None) -> bytes:
        """The head of a request, as it is sent."""
        lines = {"Host": f"{self.host}:{self.port}", **self.headers, **(headers or {})}
        if length is not None and "Transfer-Encoding" not in lines:
            lines.setdefault("Content-Length", str(length))
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")

    async def _exchange(self, data: bytes, body: bytes) -> Head:
        with self._ends_if_broken():
            reader, writer = await self._streams()
            writer.write(data)
            sending = asyncio.create_task(_send(writer, body))
            try:
                head = await read_head(reader)
            finally:
                was_sent = sending.done()
                sending.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await sending
            # what is left of the body would be taken for a request
            return head if was_sent else Head(head.status, {**head.headers, "connection": "close"})

    async def parts(self, head: Head) -> AsyncIterator[bytes]:
        """The body of an answer, as it comes."""
        reader, _ = await self._streams()
        with self._ends_if_broken():
            if "chunked" in head.headers.get("transfer-encoding", "").lower():
                while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    yield (await reader.readexactly(size + 2))[:-2]
                await reader.readuntil(b"\r\n")
            elif "content-length" in head.headers:
                if length := int(head.headers["content-length"]):
                    yield await reader.readexactly(length)
            else:
                yield await reader.read()
                self.close()

    async def events(self, head: Head) -> AsyncIterator[tuple[int | None, Any]]:
        """The events of an answer: the id of each, and its data as JSON; comments are passed over."""
        waiting = b""
        async for part in self.parts(head):
            *blocks, waiting = (waiting + part).split(b"\n\n")
            for block in blocks:
                fields = dict(_fields(block.decode()))
                if "data" in fields:
                    yield int(fields["id"]) if "id" in fields else None, json.loads(fields["data"])

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        _, writer = await self._streams()
        writer.write(data)
        await writer.drain()

    def leave(self, *, reset: bool) -> None:
        """Close at once, whatever is on its way; with ``reset`` as a process that was killed under load does."""
        if reset and self._writer is not None:
            own: socket.socket = self._writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port, limit=LONGEST_HEAD)
            self.opened += 1
        return self._reader, self._writer

    @contextmanager
    def _ends_if_broken(self) -> Iterator[None]:
        try:
            yield
        except asyncio.IncompleteReadError as error:
            self.close()
            raise BrokenAnswerError(f"the connection was closed after {len(error.partial)} bytes") from error
        except (OSError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BrokenAnswerError(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The head of the next answer that is no interim one (100 Continue). Raises ValueError where it is none."""
    while True:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = first.split(" ", 2)
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise ValueError(f"no answer begins with {first!r}")
        headers: dict[str, str] = {}
        for line in lines:
            name, value = line.split(":", 1)
            key = name.lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
        if int(status) >= 200:
            return Head(int(status), headers)


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for line in block.splitlines():
        name, colon, value = line.partition(":")
        if colon and name:
            yield name, value.removeprefix(" ")


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    for start in range(0, len(body), PIECE):
        writer.write(body[start : start + PIECE])
        await writer.drain()
