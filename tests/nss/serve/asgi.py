"""A client for an ASGI application in the same loop, and a server's service around the network without weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from nss.serve.api import endpoints
from nss.serve.http.token import Token
from nss.serve.jobs.models import ModelChoice
from nss.serve.jobs.service import Service
from nss.serve.limits import Limits
from nss.serve.problem import CONTENT_TYPE, Problem
from nss.serve.settings import ServeSettings

SECONDS = 120.0


@dataclass
class Answer:
    """What came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to an application; ``leave`` makes the client go."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        leave: asyncio.Event | None = None,
        got: Callable[[bytes], object] | None = None,
        **headers: str,
    ) -> Answer:
        path, _, query = target.partition("?")
        names = {"content-length": str(len(body)), **{n.replace("_", "-"): text for n, text in headers.items()}}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), text.encode()) for name, text in names.items()],
            "server": ("127.0.0.1", 8765),
            "client": ("127.0.0.1", 1),
        }
        answer, is_sent, left = Answer(), False, leave or asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal is_sent
            if not is_sent:
                is_sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): text.decode() for name, text in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if got is not None:
                    got(message.get("body", b""))

        await self._app(scope, receive, send)
        return answer


def application(service: Service) -> Starlette:
    """The API's routes, with problems as answers."""

    def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return Response(error.body(), error.status, error.headers, CONTENT_TYPE)

    return Starlette(routes=endpoints.routes(service), exception_handlers={Problem: problem})


@asynccontextmanager
async def serving(said: list[str] | None = None, **limits: Any) -> AsyncIterator[tuple[Service, Client]]:
    """A service with the built-in model on NumPy, and a client of its API."""
    lines: list[str] = [] if said is None else said
    choice = ModelChoice("u2netp", {"backend": "numpy", "cache": False})
    settings = ServeSettings((choice,), Limits(**{"memory": 4 << 30, **limits}), Token("t" * 43), jobs=2)
    service = Service(settings, lines.append)
    service.open()
    try:
        await service.start()
        yield service, Client(application(service))
        await service.stop()
    finally:
        await asyncio.to_thread(service.close)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """A test on a loop of its own."""

    async def in_time() -> None:
        await asyncio.wait_for(test(), SECONDS)

    asyncio.run(in_time())


async def until(condition: Callable[[], object]) -> None:
    """Wait for what becomes true soon."""
    while not condition():
        await asyncio.sleep(0.005)
