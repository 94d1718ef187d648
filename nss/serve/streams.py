"""Event streams, which end when the server does: nothing else would end them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVENTS = b"text/event-stream"


class EndingStreams:
    """ASGI around an application: `end` cancels what answers with events, and lets the answer end as a whole one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[Any]] = set()
        self._has_ended = False

    def end(self) -> None:
        """End those that there are, and those that are begun later. On the loop."""
        self._has_ended = True
        for task in self._tasks:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        is_stream = is_whole = False

        async def send_on(message: Message) -> None:
            nonlocal is_stream, is_whole
            await send(message)
            if message["type"] == "http.response.body":
                is_whole = not message.get("more_body", False)
            elif _has_events(message):
                is_stream = True
                self._tasks.add(task)
                if self._has_ended:
                    task.cancel()

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:
            if not (is_stream and self._has_ended):
                raise
            task.uncancel()
        finally:
            self._tasks.discard(task)
        if is_stream and not is_whole:
            # a client can tell an end from a connection that broke
            await send({"type": "http.response.body", "body": b""})


def _has_events(message: Message) -> bool:
    headers = message.get("headers", [])
    return any(name.lower() == b"content-type" and value.startswith(EVENTS) for name, value in headers)
