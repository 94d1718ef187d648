"""An S3 server on this machine behind a proxy that fails as networks and servers do; any process reaches it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, cycle
from typing import Literal

Fault = Literal["503", "slow", "silent", "cut request", "cut answer", "lost answer"]
"""``503``: the server is too busy. ``slow``: half of an answer comes late. ``silent``: nothing of it comes for long.
``cut request``: the connection ends before the server has heard. ``cut answer``: it ends within the body.
``lost answer``: the server has done what was asked, and nothing comes back."""

FAULTS: tuple[Fault, ...] = ("503", "slow", "cut request", "cut answer", "lost answer")

Choose = Callable[[str, str], Fault | None]
"""Takes method and path of a request, and says what is to happen to it."""

SLOW_S, SILENT_S = 0.1, 1.5

_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def every(period: int, faults: tuple[Fault, ...] = FAULTS) -> Choose:
    """Each request of this period, counted over all, fails, by each fault in turn."""
    numbers, turns, lock = count(1), cycle(faults), threading.Lock()

    def choose(_: str, __: str) -> Fault | None:
        with lock:
            return next(turns) if next(numbers) % period == 0 else None

    return choose


class S3Server:
    """A running server.

    Attributes:
        environment: the variables by which S3's clients find it.
        choose: what happens to each request.
        requests: how often each method was asked for, by path.
        happened: how often each fault was.
    """

    def __init__(self, port: int) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.reset()

    def reset(self, choose: Choose = lambda *_: None) -> None:
        """Count anew, and fail so from now on."""
        self.choose = choose
        self.requests: Counter[tuple[str, str]] = Counter()
        self.happened: Counter[str] = Counter()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket, ``s3://bucket``."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    proxy.daemon_threads = True
    server = S3Server(proxy.server_address[1])
    proxy.s3, proxy.behind = server, (host, port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        connection = HTTPConnection(host, port)
        connection.request("POST", "/moto-api/reset")  # its buckets are those of the process
        assert connection.getresponse().read()
        connection.request("PUT", "/bucket", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=test/s3/"})
        assert connection.getresponse().status == 200
        connection.close()
        yield server
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
        moto.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do(self) -> None:
        server: S3Server = self.server.s3  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        server.requests[self.command, path] += 1
        fault = server.choose(self.command, path)
        if fault:
            server.happened[fault] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "cut request":
            return self._cut()
        if fault == "503":
            return self._answer(503, {"Content-Type": "application/xml"}, _BUSY)
        if fault == "silent":
            time.sleep(SILENT_S)
            return self._cut()
        status, headers, answer = self._forwarded(body)
        if fault == "lost answer":
            return self._cut()
        return self._answer(status, dict(headers.items()), answer, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do  # noqa: N815

    def _forwarded(self, body: bytes) -> tuple[int, HTTPMessage, bytes]:
        connection = HTTPConnection(*self.server.behind)  # type: ignore[attr-defined]
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response_only(status)
        is_head = self.command == "HEAD"
        length = headers.get("Content-Length", "0") if is_head else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        body = b"" if is_head else body
        half = len(body) // 2
        self.wfile.write(body[:half])
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == "cut answer":
            return self._cut()
        self.wfile.write(body[half:])
        return None

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None: ...
