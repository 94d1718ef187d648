"""HTTP/1.1 as uvicorn speaks it, with an end to what a client can have a connection wait for.

uvicorn lets a client take for ever over the head of a request, over the rest of a body that was refused, and over
reading an answer. Here each of these has its time, and there are only so many connections: the one that has been idle
longest makes room for another, or else the one that reads its answer most slowly.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nss.errors import one_line
from nss.serve import problem
from nss.serve.http.guard import HEADERS, TOO_LARGE
from nss.serve.problem import Problem

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

CONNECTIONS = 256
"""At most, where the system lets a process have twice as many files open."""

UNREAD_TIMES = 3
"""So many times as long as a head may take, a client may read nothing of its answer: its user may have paused it."""


class TimedProtocol(H11Protocol):
    """A connection. `timed_protocol` makes a class for a server's own limits."""

    stall_seconds = 20.0
    most_connections = CONNECTIONS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._idle_since = self._unread_since = self.loop.time()

    @property
    def is_in_work(self) -> bool:
        """Whether a request has come and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; perhaps another one has to go for it, or it is one too many."""
        lingering = _LingeringTransport(transport, self.loop, self.stall_seconds, self._has_unread)
        super().connection_made(cast(asyncio.Transport, lingering))
        if len(self.connections) > self.most_connections and not self._make_room():
            self._refuse(problem.busy("there are too many connections now; try again later"))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        for timer in (self._head_timer, self._reader_timer):
            if timer is not None:
                timer.cancel()
        cast(_LingeringTransport, self.transport).lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of one whose answer is out already."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._await_head()

    def on_response_complete(self) -> None:
        """An answer is out; perhaps a part of the next request is there already."""
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; uvicorn calls this as it handles h11's error."""
        error = sys.exc_info()[1]
        status = HTTPStatus(getattr(error, "error_status_hint", 400))
        reason = one_line(error or "").partition(": bytearray(")[0]  # behind it Python's spelling of what came
        self._refuse(Problem(status, TOO_LARGE if status == 431 else f"{msg.rstrip('.')}: {reason}"))

    def shutdown(self) -> None:
        """Take nothing more; uvicorn calls this as it stops."""
        if self.transport.is_closing():
            return
        try:
            super().shutdown()
        except h11.LocalProtocolError:  # it is in the middle of what has no other end
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read as quickly as it is answered."""
        super().pause_writing()
        self._unread_since = self.loop.time()
        self._await_reader(-1)

    def resume_writing(self) -> None:
        """It has read on."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _await_head(self) -> None:
        """A timer for as long as a head is awaited. More of the head does not wind it up again."""
        awaited = not self.is_in_work and not self.transport.is_closing()
        if not awaited and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        elif awaited and self._head_timer is None:
            self._head_timer = self.loop.call_later(self.stall_seconds, self._end_wait)

    def _end_wait(self) -> None:
        self._head_timer = None
        if self.is_in_work or self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(Problem(408, f"the head of the request was not whole after {self.stall_seconds:g} seconds"))
        elif self.conn.their_state is h11.IDLE:
            self.transport.close()
        else:  # the rest of a body that an answer did not wait for
            self.transport.abort()

    def _await_reader(self, unread: int) -> None:
        """Give up a client that has read nothing since ``unread`` bytes were waiting for it."""
        now = self.transport.get_write_buffer_size()
        if now == unread:
            cast(_LingeringTransport, self.transport).reset()
            return
        self._reader_timer = self.loop.call_later(UNREAD_TIMES * self.stall_seconds, self._await_reader, now)

    def _make_room(self) -> bool:
        """Send away the connection that has been idle longest, and say whether there was one.

        Where none is, one goes that has not read on in its answer for longest: a client needs no token to read slowly.
        """
        others = [other for other in self.connections if isinstance(other, TimedProtocol) and other is not self]
        idle = [(other._idle_since, id(other), other) for other in others if not other.is_in_work]
        slow = [(other._unread_since, id(other), other) for other in others if other._reader_timer is not None]
        if not (idle or slow):
            return False
        *_, oldest = min(idle or slow)
        self.connections.discard(oldest)  # at once, for others that are accepted before it hears of its end
        oldest.transport.abort()
        return True

    def _refuse(self, refusal: Problem) -> None:
        """Answer without the application, and close."""
        if self.is_in_work:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is half out
            self.transport.abort()
            return
        body = refusal.body()
        headers = {
            **HEADERS,
            **refusal.headers,
            "cache-control": "no-store",
            "connection": "close",
            "content-type": problem.CONTENT_TYPE,
            "content-length": str(len(body)),
        }
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        response = h11.Response(status_code=refusal.status, headers=encoded, reason=refusal.status.phrase.encode())
        # of a HEAD that has a body, which is broken, h11 takes none back
        is_head = self.is_in_work and self.scope["method"] == "HEAD"
        for event in (response, h11.Data(data=b"" if is_head else body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        cast(_LingeringTransport, self.transport).linger()

    def _has_unread(self) -> bool:
        """Whether the client may be in the middle of sending."""
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR) or bool(self.conn.trailing_data[0])


def most_connections() -> int:
    """So many that photos and models can still be opened beside them."""
    try:
        import resource
    except ImportError:  # Windows
        return CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files < 0 else max(1, min(CONNECTIONS, files // 2))


def timed_protocol(stall_seconds: float, most_connections: int) -> type[TimedProtocol]:
    """A class of connections with limits: uvicorn takes a class, and makes the connections itself."""
    limits = {"stall_seconds": stall_seconds, "most_connections": most_connections}
    return type("Connection", (TimedProtocol,), limits)


class _LingeringTransport:
    """A connection's transport, whose `close` loses no answer.

    A socket that is closed with something unread in it is reset, and the client may lose what it was sent. So the
    answer is ended first, and what the client sends is dropped until it has read that and closes, or its time is up.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        has_unread: Callable[[], bool],
    ) -> None:
        self._transport, self._loop, self._seconds, self._has_unread = transport, loop, seconds, has_unread
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._timer is not None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self.is_closing():
            return
        if self._has_unread():
            self.linger()
            return
        self._transport.close()
        self._end_later()

    def linger(self) -> None:
        """Send what was written and that nothing follows, and drop what comes."""
        if self.is_closing():
            return
        self._end_later()
        with suppress(OSError):  # the client has gone already
            self._transport.write_eof()
        self._transport.resume_reading()

    def reset(self) -> None:
        """Close, and have the system drop what nobody reads, which it would keep and go on sending."""
        with suppress(OSError):
            at_once = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self._transport.abort()

    def lost(self) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_later(self, unread: int = -1) -> None:
        """Make an end when the time is up, unless the client has read on in it and is not through."""
        self._timer = self._loop.call_later(self._seconds, self._end, unread)

    def _end(self, unread: int) -> None:
        now = self._transport.get_write_buffer_size()
        if now in (0, unread):
            self._transport.abort()
        else:
            self._end_later(now)
