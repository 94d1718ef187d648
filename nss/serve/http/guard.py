"""What stands before every route: who asks, from which page, and with which token; and the last word on every answer.

All of it goes by the head, before a byte of a body is read. Whatever the application raises becomes one line of
problem+json, and what nobody foresaw one line of the server's too; a traceback goes to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from nss.errors import one_line, quoted
from nss.serve import problem
from nss.serve.problem import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from nss.serve.http.addresses import Addresses
    from nss.serve.http.token import Token

POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "style-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""Of every answer, whatever it is."""

PRIVATE = ("/api", "/metrics")
"""What these paths begin with needs the token."""

EXPOSED = "location, nss-height, nss-info, nss-width, retry-after, server-timing"
"""Headers of answers that a page of a named origin may read."""

PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "authorization, content-type, last-event-id",
    "access-control-max-age": "600",
}

HEAD_BYTES = 64 << 10
"""Of a request's head: its target and its headers."""

TOO_LARGE = f"at most {HEAD_BYTES} bytes of head are taken"

PIECE = 256 << 10
"""Bytes that are handed to a connection at once: what a slow reader has not taken waits where it is kept anyway."""

Answered = Callable[[str, int], None]
"""Is told the route and the status of each answer."""


class Guard:
    """ASGI around an application."""

    def __init__(
        self,
        app: ASGIApp,
        addresses: Addresses,
        token: Token,
        *,
        say: Callable[[str], None],
        answered: Answered | None = None,
    ) -> None:
        self._app, self._addresses, self._token = app, addresses, token
        self._say, self._answered = say, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        head = _Head(scope)
        answer = _Answer(head, receive, send)
        try:
            if await self._is_let_in(scope, head, answer):
                await self._app(scope, answer.receive, answer.send)
        except ClientDisconnect:
            pass
        except Exception as error:
            await self._answer_failure(scope, answer, error)
        if self._answered is not None and answer.status is not None:
            self._answered(_route(scope), answer.status)

    async def _is_let_in(self, scope: Scope, head: _Head, answer: _Answer) -> bool:
        """Whether the application is to answer; a preflight is answered here. Raises Problem."""
        path = str(scope["path"])
        if head.nbytes + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > HEAD_BYTES:
            raise Problem(431, TOO_LARGE, {"Connection": "close"})
        if not path.startswith("/"):
            raise Problem(400, "the target of a request begins with a slash; this server is no proxy")
        if head.values("transfer-encoding") and head.values("content-length"):
            # a proxy before it may have taken the other one for the end of the body, and the rest for a request
            raise Problem(400, "Transfer-Encoding and Content-Length exclude each other", {"Connection": "close"})
        self._check_host(head)
        is_private = any(path == prefix or path.startswith(f"{prefix}/") for prefix in PRIVATE)
        is_named = self._check_origin(head, path)
        if is_named:
            answer.allow(head.values("origin")[0])
            if scope["method"] == "OPTIONS" and head.values("access-control-request-method"):
                private_network = {"access-control-allow-private-network": "true"}
                asked = head.values("access-control-request-private-network") == ["true"]
                await answer.give(204, {**PREFLIGHT, **(private_network if asked else {})})
                return False
        else:
            _check_site(head, str(scope["method"]), is_private=is_private)
        if is_private:
            self._check_token(head)
        return True

    def _check_host(self, head: _Head) -> None:
        hosts = head.values("host")
        if len(hosts) != 1:
            raise Problem(400, f"{len(hosts)} Host headers: one is wanted")
        if hosts[0].lower() not in self._addresses.hosts:
            raise Problem(
                421,
                f"this server does not answer to the Host {quoted(hosts[0][:100])}: take the address that it printed, "
                "or start it with this one as --public-url",
            )

    def _check_origin(self, head: _Head, path: str) -> bool:
        """Whether the request is from a named origin; raises Problem 403 where it is from another page than ours."""
        origins = head.values("origin")
        if not origins:
            return False
        origin = origins[0].lower()
        if len(origins) == 1 and origin in self._addresses.origins:
            return False
        if len(origins) == 1 and origin in self._addresses.named_origins and path.startswith("/api/"):
            return True
        raise Problem(
            403,
            f"a page of {quoted(', '.join(origins)[:100])} asks, which is not this server's; for a page of yours start "
            "the server with --allow-origin",
        )

    def _check_token(self, head: _Head) -> None:
        given = head.values("authorization")
        scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorised("the header Authorization: Bearer TOKEN is wanted, once")
        if not self._token.is_right(text.strip()):
            raise _unauthorised("the token is not that of this server")

    async def _answer_failure(self, scope: Scope, answer: _Answer, error: Exception) -> None:
        if isinstance(error, HTTPException):
            failure = _of_http(scope, error)
        else:
            failure = problem.of_error(error)
            if failure.status == 500 or answer.status is not None:
                self._say(f"{scope['method']} {quoted(scope['path'][:200])}: {failure.detail}")
        if answer.status is None:  # else what was begun ends in the middle, and the connection with it
            headers = {"content-type": problem.CONTENT_TYPE, **failure.headers}
            await answer.give(int(failure.status), headers, failure.body())


class _Head:
    """The headers of a request, each as often as it is there.

    Attributes:
        nbytes: of all of them.
    """

    def __init__(self, scope: Scope) -> None:
        self.nbytes = sum(len(name) + len(value) for name, value in scope["headers"])
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())

    def values(self, name: str) -> list[str]:
        """All that have this name, in their order."""
        return self._values.get(name, [])


class _Answer:
    """The way of an answer out: with the headers of all answers, and in pieces.

    Attributes:
        status: its status, once it was begun.
    """

    def __init__(self, head: _Head, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._extra: dict[str, str] = {}
        self._awaits_body = bool(head.values("transfer-encoding")) or head.values("content-length") not in ([], ["0"])
        self.status: int | None = None

    def allow(self, origin: str) -> None:
        """Let a page of this origin read it."""
        self._extra = {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": EXPOSED,
            "vary": "Origin",
        }

    async def give(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """A whole answer."""
        length = {} if status == 204 else {"content-length": str(len(body))}
        encoded = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in {**headers, **length}.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})

    async def receive(self) -> Message:
        """A part of the request's body, as ASGI has it."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._awaits_body = False
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer, as ASGI has it."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            await self._send({**message, "headers": self._headers(message)})
            return
        body = message.get("body", b"")
        for start in range(0, max(1, len(body)), PIECE):
            more = message.get("more_body", False) or start + PIECE < len(body)
            await self._send({**message, "body": body[start : start + PIECE], "more_body": more})

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given = [(name.lower(), value) for name, value in message.get("headers", [])]
        names = {name for name, _ in given}
        ours = {**HEADERS, **self._extra}
        if b"cache-control" not in names:
            ours["cache-control"] = "no-store"
        if self._awaits_body and b"connection" not in names:
            # the rest of the body would stand before the next request
            ours["connection"] = "close"
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in ours.items()]
        replaced = {name for name, _ in encoded} - {b"vary"}
        return [*((name, value) for name, value in given if name not in replaced), *encoded]


def _check_site(head: _Head, method: str, *, is_private: bool) -> None:
    """Raise Problem 403 where a browser says that another site asks, unless it is a link to a page of ours."""
    sites = head.values("sec-fetch-site")
    if not sites or (len(sites) == 1 and sites[0] in ("same-origin", "none")):
        return
    is_link = head.values("sec-fetch-mode") == ["navigate"] and head.values("sec-fetch-dest") == ["document"]
    if len(sites) == 1 and is_link and method == "GET" and not is_private:
        return
    raise Problem(403, "a page of another site asks, which is not this server's; open the address that it printed")


def _unauthorised(detail: str) -> Problem:
    help_ = "the address that the server printed has it, and a new one at each start unless it was given"
    return Problem(401, f"{detail}: {help_}", {"WWW-Authenticate": "Bearer"})


def _of_http(scope: Scope, error: HTTPException) -> Problem:
    path = quoted(scope["path"][:200])
    if error.status_code == 404:
        detail = f"there is nothing at {path}"
    elif error.status_code == 405:
        detail = f"{quoted(scope['method'][:50])} is not possible at {path}"
        if allowed := (error.headers or {}).get("Allow"):
            detail += f"; possible: {allowed}"
    else:
        detail = one_line(error.detail)
    return Problem(error.status_code, detail, error.headers)


def _route(scope: Scope) -> str:
    """The route of a request, with names where paths have values, so that there are only so many."""
    if "endpoint" not in scope:
        return "other"
    if path := getattr(scope.get("route"), "path", None):
        return str(path)
    path = str(scope["path"])  # before Starlette 1
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(str(value), f"{{{name}}}") if value else path
    return path
