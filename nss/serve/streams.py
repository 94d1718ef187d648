"""Event streams, which end when the server does: nothing else would end them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVENTS = b"text/event-stream"


class EndingStreams:
    """ASGI around an application: `end` is, for what answers with events, as if the client had gone.

    Attributes:
        count: how many there are now.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ended: asyncio.Event | None = None
        self.count = 0

    def end(self) -> None:
        """End those that there are, and those that are begun later. On the loop."""
        self._event().set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_stream = is_whole = has_body = False

        async def receive_or_end() -> Message:
            nonlocal has_body
            if not has_body:
                message = await receive()
                has_body = not message.get("more_body", False)
                return message
            received = asyncio.ensure_future(receive())
            ended = asyncio.ensure_future(self._event().wait())
            try:
                await asyncio.wait((received, ended), return_when=asyncio.FIRST_COMPLETED)
                return {"type": "http.disconnect"} if is_stream and not received.done() else await received
            finally:
                received.cancel()
                ended.cancel()

        async def send_on(message: Message) -> None:
            nonlocal is_stream, is_whole
            if message["type"] == "http.response.start":
                is_stream = any(
                    name.lower() == b"content-type" and value.startswith(EVENTS)
                    for name, value in message.get("headers", [])
                )
                self.count += is_stream
            else:
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive_or_end, send_on)
        finally:
            self.count -= is_stream
        if is_stream and not is_whole:
            # the end of a body, which a client can tell from one that broke off
            await send({"type": "http.response.body", "body": b""})

    def _event(self) -> asyncio.Event:
        self._ended = self._ended or asyncio.Event()
        return self._ended
