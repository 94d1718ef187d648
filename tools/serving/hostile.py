"""Requests that a server must bear: each made from a seed and its number, whole ones and what is none at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tools.fuzzing import image_mutations, image_seeds
from tools.serving import hostile_heads as heads
from tools.serving.photos import too_many_pixels

Ending = Literal["wait", "half-close", "leave", "reset"]
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Request:
    """A request before it is bytes. ``{job}`` and ``{file}`` stand for ids that the server has given last.

    Attributes:
        framed, says_host: the length of its body, and Host, go in front of the other headers.
        remark: how it was made.
        forbidden: nothing of the interface may be answered with success.
        whole: it is as HTTP has it, so that an answer must come.
    """

    method: bytes = b"GET"
    target: bytes = b"/"
    query: bytes = b""
    version: bytes = b"HTTP/1.1"
    headers: Headers = ()
    body: bytes = b""
    framed: bool = True
    says_host: bool = True
    line_end: bytes = b"\r\n"
    remark: tuple[str, ...] = ()
    forbidden: bool = False
    whole: bool = True

    def remarked(self, what: str) -> Request:
        """The same, with what was done to it."""
        return replace(self, remark=(*self.remark, what))

    def encoded(self) -> bytes:
        """As bytes, with ``{host}``, ``{port}``, ``{token}``, ``{job}`` and ``{file}`` still to be filled in."""
        target = self.target + (b"?" + self.query if self.query else b"")
        given = {name.lower() for name, _ in self.headers}
        lines = [(b"Host", b"{host}:{port}")] if self.says_host and b"host" not in given else []
        if b"authorization" not in given:
            lines.append((b"Authorization", b"Bearer {token}"))
        if self.framed and (self.body or self.method in (b"POST", b"PUT", b"PATCH")):
            lines.append((b"Content-Length", b"%d" % len(self.body)))
        first = b" ".join((self.method, target, self.version)) + self.line_end
        return (
            first + b"".join(b"%b: %b%b" % (*line, self.line_end) for line in (*lines, *self.headers)) + self.line_end
        )


@dataclass(frozen=True)
class Case:
    """What one connection sends.

    Attributes:
        pieces: bytes and the seconds to wait behind them.
        ending: what the client does then.
        answers: at most so many can come.
        must_answer: one must come.
        forbidden: none may be a success.
        bodiless: the first answer has no body, whatever its head says.
        remark: how it was made.
    """

    pieces: tuple[tuple[bytes, float], ...]
    ending: Ending
    answers: int
    must_answer: bool
    forbidden: bool
    bodiless: bool
    remark: str

    def filled(self, places: Mapping[bytes, bytes]) -> list[tuple[bytes, float]]:
        """The pieces, with what stands in the place of each name in braces."""
        filled = []
        for data, pause in self.pieces:
            for name, value in places.items():
                data = data.replace(b"{%b}" % name, value)
            filled.append((data, pause))
        return filled


NO_PHOTOS = (
    b"",
    bytes(1500),
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"%PDF-1.4\n",
)


def _image(rng: random.Random) -> bytes:
    name, data = rng.choice(sorted(image_seeds.seeds().items()))
    chance = rng.random()
    if chance < 0.4:
        return data
    if chance < 0.75:
        return image_mutations.mutate(name, data, rng)
    if chance < 0.85:
        return data[: rng.randrange(len(data))]
    return rng.choice((*NO_PHOTOS, too_many_pixels().content, rng.randbytes(300), data + rng.randbytes(9000)))


GETS = (
    b"/api/v1/models", b"/api/v1/jobs", b"/api/v1/jobs/{job}", b"/api/v1/jobs/{job}/result",
    b"/api/v1/jobs/{job}/photo", b"/api/v1/jobs/none", b"/metrics", b"/healthz", b"/", b"/site.json", b"/openapi.json",
    b"/docs", b"/style.css", b"/browser/site.json", b"/nothing",
)  # fmt: skip
STREAMS = (b"/api/v1/events", b"/api/v1/jobs/{job}/events")
POSTS = (b"/api/v1/remove", b"/api/v1/remove", b"/api/v1/jobs", b"/api/v1/jobs", b"/api/v1/files", b"/api/v1/browser")


def _template(rng: random.Random) -> Request:
    """A request that is right, or nearly."""
    chance = rng.random()
    if chance < 0.3:
        return Request(target=rng.choice(GETS))
    if chance < 0.34:
        target = rng.choice((b"/api/v1/jobs/{job}", b"/api/v1/files/{file}", b"/api/v1/jobs/x", b"/api/v1/files/x"))
        return Request(b"DELETE", target)
    query = b"keep-photo=true" if rng.random() < 0.1 else b""
    return Request(b"POST", rng.choice(POSTS), query, body=_image(rng))


def _method(request: Request, rng: random.Random) -> Request:
    method = rng.choice(heads.METHODS)
    return replace(
        request, method=method, whole=request.whole and method in (b"HEAD", b"PUT", b"PATCH", b"OPTIONS", b"DELETE")
    )


def _target(request: Request, rng: random.Random) -> Request:
    return replace(request, target=rng.choice(heads.TARGETS), whole=False)


def _query(request: Request, rng: random.Random) -> Request:
    query = heads.query(rng)
    return replace(request, query=query, whole=request.whole and query.isascii() and len(query) < 20000)


def _version(request: Request, rng: random.Random) -> Request:
    return replace(request, version=rng.choice(heads.VERSIONS), whole=False)


def _forbidden(request: Request, rng: random.Random) -> Request:
    name, value = rng.choice(heads.FORBIDDEN)
    kept = tuple(line for line in request.headers if line[0].lower() != name.lower())
    return replace(request, headers=(*kept, (name, value)), forbidden=True, whole=False)


ONCE = (
    (b"Host", b"{host}:{port}"),
    (b"Authorization", b"Bearer {token}"),
    (b"Content-Type", b"image/png"),
    (b"Origin", b"http://{host}:{port}"),
    (b"Sec-Fetch-Site", b"same-origin"),
)


def _twice(request: Request, rng: random.Random) -> Request:
    """A header that may stand once only, twice."""
    name, value = rng.choice(ONCE)
    other = rng.choice((value, b"x"))
    lines = [(name, value), (name, other)]
    rng.shuffle(lines)
    return replace(
        request, headers=(*request.headers, *lines), forbidden=other != value and name != b"Content-Type", whole=False
    )


def _odd(request: Request, rng: random.Random) -> Request:
    return replace(request, headers=(*request.headers, rng.choice(heads.ODD)), whole=False)


def _many(request: Request, rng: random.Random) -> Request:
    count = rng.choice((50, 500, 5000))
    return replace(
        request, headers=(*request.headers, *((b"X-%d" % index, b"y") for index in range(count))), whole=count == 50
    )


def _framing(request: Request, rng: random.Random) -> Request:
    return replace(
        request, headers=(*request.headers, *rng.choice(heads.FRAMINGS)), framed=rng.random() < 0.3, whole=False
    )


def _chunks(request: Request, rng: random.Random) -> Request:
    if rng.random() < 0.5:
        body, data, whole = b"", request.body, True
        while data:
            size = rng.choice((1, 7, 1000, 70000))
            body += b"%x\r\n%b\r\n" % (len(data[:size]), data[:size])
            data = data[size:]
        body += b"0\r\n\r\n"
    else:
        body, whole = rng.choice(heads.CHUNKS), False
    whole = whole and request.whole and request.framed
    headers = (*request.headers, (b"Transfer-Encoding", b"chunked"))
    return replace(request, method=b"POST", headers=headers, body=body, framed=False, whole=whole)


FOLDED = (
    (b"X-Folded", b"a\r\n b"),
    (b"Authorization", b"Bearer\r\n {token}"),
    (b"Host", b"{host}:\r\n {port}"),
    (b"Transfer-Encoding", b"\r\n chunked"),
    (b"X", b"\r\n\t"),
)


def _folded(request: Request, rng: random.Random) -> Request:
    return replace(request, headers=(*request.headers, rng.choice(FOLDED)), whole=False)


def _line_end(request: Request, rng: random.Random) -> Request:
    return replace(request, line_end=rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")), whole=False)


def _no_host(request: Request, _: random.Random) -> Request:
    return replace(request, says_host=False, forbidden=True, whole=False)


MUTATIONS: tuple[tuple[Callable[[Request, random.Random], Request], int], ...] = (
    (_query, 6), (_odd, 6), (_forbidden, 4), (_method, 3), (_target, 4), (_framing, 3), (_chunks, 4), (_twice, 2),
    (_version, 1), (_folded, 1), (_line_end, 1), (_many, 1), (_no_host, 1),
)  # fmt: skip


def make(seed: int, index: int) -> Case:
    """The case of that number."""
    rng = random.Random(f"siege {seed} {index}")
    chance = rng.random()
    if chance < 0.04:
        return _stream(rng)
    if chance < 0.09:
        return _nothing_much(rng)
    request = _template(rng)
    functions, weights = zip(*MUTATIONS, strict=True)
    for mutation in rng.choices(functions, weights, k=rng.choice((0, 1, 1, 1, 2, 3))):
        request = mutation(request, rng).remarked(mutation.__name__.strip("_"))
    return _sent(request, rng)


def _sent(request: Request, rng: random.Random) -> Case:
    """A request as a connection sends it: at once, in pieces, slowly, cut, or with others behind it."""
    head, body = request.encoded(), request.body
    how = rng.choices(("at once", "pieces", "slowly", "cut", "pipelined", "smuggled", "leaves", "half-closed"),
                      (60, 8, 4, 6, 6, 4, 10, 2))[0]  # fmt: skip
    pieces: tuple[tuple[bytes, float], ...] = ((head, 0.0), (body, 0.0))
    ending: Ending = "wait"
    # where a length is too small, the rest of the body is another request, and a wrong one
    answers, must = 1 + ("framing" in request.remark), request.whole
    if how == "pieces":
        cuts = sorted(rng.randrange(len(head) + 1) for _ in range(3))
        parts = [head[a:b] for a, b in zip([0, *cuts], [*cuts, len(head)], strict=True)]
        pieces = (*((part, 0.01) for part in parts), (body[:1], 0.01), (body[1:], 0.0))
    elif how == "slowly":
        step = max(1, len(body) // 6)
        pieces = ((head, 0.1), *((body[at : at + step], 0.12) for at in range(0, len(body), step)))
    elif how == "cut":
        data = head + body
        pieces, must, ending = (
            ((data[: rng.randrange(len(data))], 0.0),),
            False,
            rng.choice(("wait", "half-close", "leave")),
        )
    elif how in ("pipelined", "smuggled"):
        more = rng.randint(1, 4)
        if how == "pipelined":
            pieces, answers = (
                (*pieces, (b"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n" * more, 0.0)),
                answers + more,
            )
        elif request.framed and request.method == b"POST":
            request = replace(request, body=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            pieces = ((request.encoded(), 0.0), (request.body, 0.0))
    elif how == "leaves":
        ending = rng.choice(("leave", "reset"))
        must = False
        pieces = (*pieces, (b"", rng.choice((0.0, 0.02, 0.1))))
    elif how == "half-closed":
        ending, must = "half-close", False
    return Case(
        pieces,
        ending,
        answers,
        must,
        request.forbidden and request.target.startswith((b"/api/", b"/metrics")),
        request.method == b"HEAD",
        f"{request.method[:20].decode('latin-1')} {request.target[:60].decode('latin-1')}: "
        f"{', '.join((*request.remark, how))}",
    )


def _stream(rng: random.Random) -> Case:
    """Events that are opened, and dropped."""
    header = rng.choice(((), ((b"Last-Event-ID", rng.choice((b"0", b"-5", b"x", b"99999999"))),)))
    request = Request(target=rng.choice(STREAMS), headers=header)
    ending: Ending = rng.choice(("leave", "reset", "half-close"))
    pieces = ((request.encoded(), rng.choice((0.0, 0.05, 0.3))),)
    return Case(pieces, ending, 1, False, False, False, f"events, {ending}")


def _nothing_much(rng: random.Random) -> Case:
    """Connections that say nothing, or nothing that is HTTP, and stay."""
    what = rng.choice(
        (
            "",
            "\r\n\r\n",
            "GET",
            "GET / HTTP/1.1\r\nHost:",
            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        )
    )
    data = what.encode("latin-1") if rng.random() < 0.8 else rng.randbytes(rng.choice((1, 100, 70000)))
    ending: Ending = rng.choice(("wait", "leave", "half-close", "reset"))
    return Case(((data, 0.05),), ending, 2, False, False, False, f"{data[:20]!r}, {ending}")
