"""A server with a stand-in for its service: in this process by ASGI, or on a real socket in a thread."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from nss.pipeline.budget import MemoryBudget
from nss.serve.http import sockets
from nss.serve.http.application import Application
from nss.serve.http.bodies import read_body
from nss.serve.http.browser import BrowserModels
from nss.serve.http.page import Page
from nss.serve.http.server import Server
from nss.serve.http.token import Token
from nss.serve.limits import Limits
from nss.serve.settings import ServeSettings
from tests.wall_clock import wait_until

TOKEN = "a-token-of-the-tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}
BASE = "http://127.0.0.1:8765"
STALL_S = 30.0
"""By the clock of the server's loop, which `Running.pass_time` puts forward."""

LIMITS = Limits(memory=64 << 20, body_bytes=1 << 20, stall_seconds=STALL_S)
PAGE = Page({"index.html": b"<!doctype html>", "page/main.mjs": b"export {};", "big.bin": bytes(8 << 20)})


@dataclass
class FakeService:
    """What `nss.serve.jobs.service.Service` is to those who serve it."""

    limits: Limits = LIMITS
    is_stopping: bool = False
    running: int = 0
    started: int = 0
    stopped: int = 0
    answers: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting_budget = MemoryBudget(self.limits.waiting_bytes)
        self.metrics = SimpleNamespace(request=lambda route, status: self.answers.append((route, status)))
        self.models = SimpleNamespace(names=("u2netp",))
        self.done = threading.Event()
        self.done.set()

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.is_stopping = True
        self.stopped += 1
        while not self.done.is_set():
            await asyncio.sleep(0.01)
        self.running = 0


def settings(**changes: Any) -> ServeSettings:
    """Those of a server with one model."""
    model: Any = SimpleNamespace(requested="u2netp", network={}, model_config={})
    return ServeSettings(**{"models": (model,), "limits": LIMITS, "token": Token(TOKEN), **changes})


def fake_routes(service: FakeService) -> list[BaseRoute]:
    """A few that do what those of the API do with requests."""

    async def upload(request: Request) -> Response:
        body = await read_body(request, service.limits, service.waiting_budget)
        body.lease.release()
        return JSONResponse({"bytes": len(body.content), "type": body.content_type}, 202)

    async def events(_: Request) -> Response:
        async def stream() -> Any:
            yield "data: 1\n\n"
            await asyncio.sleep(60)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def fail(_: Request) -> Response:
        raise ValueError("a secret\nof two lines")

    async def slow(_: Request) -> Response:
        service.running += 1
        while not service.is_stopping:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return PlainTextResponse("late, but whole")

    async def plain(request: Request) -> Response:
        return PlainTextResponse(request.path_params.get("id", "none"))

    return [
        Route("/api/v1/models", plain, methods=["GET"]),
        Route("/api/v1/jobs", upload, methods=["POST"]),
        Route("/api/v1/jobs", plain, methods=["GET"]),
        Route("/api/v1/jobs/{id}", plain, methods=["GET"]),
        Route("/api/v1/jobs/{id}", plain, methods=["DELETE"]),
        Route("/api/v1/events", events, methods=["GET"]),
        Route("/api/v1/fail", fail, methods=["GET"]),
        Route("/api/v1/slow", slow, methods=["GET"]),
        Route("/metrics", plain, methods=["GET"]),
    ]


def application(
    service: FakeService | None = None, said: list[str] | None = None, port: int = 8765, **changes: Any
) -> Application:
    """The application of a server with the stand-ins; ``said`` gets its lines, ``changes`` are of its settings."""
    service = service or FakeService()
    say = (said if said is not None else []).append
    its_settings = settings(**{"limits": service.limits, **changes})
    any_service: Any = service
    return Application(
        any_service,
        its_settings,
        port=port,
        say=say,
        page=PAGE,
        browser=BrowserModels(its_settings.models, lambda: service.models.names, say),
        routes=fake_routes(service),
    )


def client(*arguments: Any, headers: dict[str, str] | None = None, **changes: Any) -> TestClient:
    """A client of that application, which sends the token with each request."""
    asgi = application(*arguments, **changes)
    return TestClient(asgi, base_url=BASE, headers=BEARER if headers is None else headers, follow_redirects=False)


@dataclass
class Running:
    """A server on a real socket.

    Attributes:
        port: of 127.0.0.1.
        said: its lines.
    """

    port: int
    said: list[str]
    service: FakeService
    server: Server
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    _passed_s: float = 0.0

    def __post_init__(self) -> None:
        clock = self.loop.time
        self.loop.time = lambda: clock() + self._passed_s  # type: ignore[method-assign]

    def pass_time(self, seconds: float) -> None:
        """Put its clock forward, once it has heard what was sent, and let it do what is due then."""
        self._settle()
        self._passed_s += seconds
        self._settle()

    def wait_out(self, connection: socket.socket) -> None:
        """Let time pass until something comes, be it the end."""
        wait_until(lambda: self.pass_time(STALL_S) or select.select([connection], [], [], 0)[0])

    def _settle(self) -> None:
        """Let the loop go round a few times: what lies in its sockets before is read by then."""
        for _ in range(8):
            has_gone_round = threading.Event()
            self.loop.call_soon_threadsafe(has_gone_round.set)
            assert has_gone_round.wait(60)

    def finish(self) -> None:
        """Ask it to end."""
        self.loop.call_soon_threadsafe(self.server.finish)

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def ask(self, *parts: bytes) -> bytes:
        """All that comes back for these bytes until the server closes."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)

    def head(self, request: str = "GET / HTTP/1.1", *lines: str, end: bool = True) -> bytes:
        """The head of a request with the right Host and token, and further lines."""
        base = (f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {TOKEN}")
        return ("\r\n".join((request, *base, *lines)) + ("\r\n\r\n" if end else "\r\n")).encode()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    content = b""
    try:
        while part := connection.recv(1 << 16):
            content += part
    except ConnectionResetError:
        content += b"<reset>"
    return content


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers that came one behind the other, of HTTP/1.1."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@contextmanager
def running(
    service: FakeService | None = None, *, most_connections: int | None = None, **changes: Any
) -> Iterator[Running]:
    """A server on a free port for the block."""
    service = service or FakeService()
    listening = sockets.listen("127.0.0.1", 0)
    port, said = sockets.port_of(listening), list[str]()
    asgi = application(service, said, port, **changes)
    any_service: Any = service
    is_listening = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def begin() -> None:
        loops.append(asyncio.get_running_loop())
        is_listening.set()

    server = Server(any_service, asgi, service.limits.stall_seconds, said.append, begin)
    if most_connections is not None:
        server.config.http.most_connections = most_connections
    thread = threading.Thread(target=server.serve_until_signal, args=(listening, lambda: None))
    thread.start()
    try:
        assert is_listening.wait(60)
        yield Running(port, said, service, server, loops[0], thread)
    finally:
        service.done.set()
        if thread.is_alive():
            loops[0].call_soon_threadsafe(server.finish)
        thread.join(60)
        assert not thread.is_alive()


def closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes within so many seconds."""
    connection.settimeout(seconds)
    try:
        read_all(connection)
    except TimeoutError:
        return False
    return True
