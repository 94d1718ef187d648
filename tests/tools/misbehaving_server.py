"""A server of HTTP that does one thing wrong, for the tools that are to notice it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

SAFE = b"x-content-type-options: nosniff\r\ncontent-security-policy: default-src 'none'\r\n"
PROBLEM = json.dumps({"title": "Bad Request", "status": 400, "detail": "no"}).encode()


def answer(status: int, body: bytes, kind: bytes = b"application/problem+json", more: bytes = SAFE) -> bytes:
    """An answer, as it is sent."""
    head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\ncontent-type: %b\r\n" % (status, len(body), kind)
    return head + more + b"\r\n" + body


RIGHT = answer(400, PROBLEM)

FAULTS = {
    "none": RIGHT,
    "500": answer(500, PROBLEM.replace(b"400", b"500")),
    "502 as text": answer(502, b"bad gateway", b"text/plain"),
    "no problem": answer(400, b"<h1>wrong</h1>", b"text/html"),
    "another status": answer(404, PROBLEM),
    "a traceback": answer(200, b"Traceback (most recent call last):", b"text/plain"),
    "no headers of safety": answer(400, PROBLEM, more=b""),
    "a split header": answer(400, PROBLEM, more=SAFE + b"x-split: yes\r\n"),
    "a cookie": answer(400, PROBLEM, more=SAFE + b"set-cookie: a=b\r\n"),
    "twice": RIGHT + RIGHT,
    "no HTTP": b"hello\r\n\r\n",
    "half a body": RIGHT[:-3],
    "half a head": RIGHT[:30],
    "nothing": b"",
    "silence": b"...",
}
"""What is sent for a request; "silence" keeps the connection open."""


@contextmanager
def misbehaving(data: bytes) -> Iterator[SimpleNamespace]:
    """A server that answers each request with these bytes and closes; with ``...`` it answers and closes nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        if data == FAULTS["silence"]:
            await asyncio.sleep(60)
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        await asyncio.sleep(0.05)
        writer.close()

    async def run() -> None:
        nonlocal port
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await stopping.wait()

    port, ready, stopping, loop = 0, threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    ready.wait()
    try:
        yield SimpleNamespace(host="127.0.0.1", port=port, token="token")
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
