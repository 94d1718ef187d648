"""What the examples of ``/docs`` call: a server that answers as the API does, and does nothing to photos."""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from nss.pipes import OneTimeFile
from nss.serve.fields import Order, parse_order
from nss.serve.limits import Limits
from nss.serve.negotiation import NETWORK_MASK, media_type
from nss.serve.problem import CONTENT_TYPE, Problem

TOKEN = "token-of-the-tests"


@dataclass
class Records:
    """What was asked for.

    Attributes:
        url: of the server.
        orders: of each photo.
        files: what was sent ahead, by id.
        removed: ids of jobs that were deleted.
    """

    url: str = ""
    orders: list[Order] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)


@contextmanager
def running() -> Iterator[Records]:
    """The server, in a thread."""
    records = Records()

    class Handler(_Handler):
        own = records

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    records.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield records
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    own: Records
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_DELETE(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        try:
            self._route(body)
        except Problem as problem:
            self._send(int(problem.status), problem.body(), {"Content-Type": CONTENT_TYPE, **problem.headers})

    def _route(self, body: bytes) -> None:
        url = urlsplit(self.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            raise Problem(401, "no token")
        if body:
            kind = self.headers.get("Content-Type", "application/octet-stream")
            if not re.fullmatch(r"image/[a-z0-9.+-]+|application/octet-stream", kind):
                raise Problem(415, f"no {kind}")
        match self.command, url.path.removeprefix("/api/v1/").split("/"):
            case "POST", ["files"]:
                key = f"file-{len(self.own.files)}"
                self.own.files[key] = body
                answer = {"id": key, "bytes": len(body), "seconds": 3600.0}
                self._send(201, json.dumps(answer, separators=(",", ":")).encode(), {})
            case "POST", ["remove"]:
                self._give(self._order(url.query), body)
            case "POST", ["jobs"]:
                self._order(url.query)
                self._send(202, _job("waiting"), {"Location": "/api/v1/jobs/job-1", "Content-Type": "application/json"})
            case "GET", ["jobs", "job-1", "events"]:
                self._events()
            case "GET", ["jobs", "job-1", "result"]:
                self._give(self.own.orders[-1], b"result")
            case "DELETE", ["jobs", key]:
                self.own.removed.append(key)
                self._send(204, b"", {})
            case _:
                raise Problem(404, f"no {self.path}")

    def _order(self, query: str) -> Order:
        pairs = parse_qsl(query, keep_blank_values=True)
        accept = ", ".join(self.headers.get_all("Accept", [])) or None
        order = parse_order(pairs, accept, limits=Limits(memory=1), file_of=self._file_of)
        self.own.orders.append(order)
        return order

    def _file_of(self, key: str) -> OneTimeFile:
        if key not in self.own.files:
            raise Problem(400, f"no {key}")
        return OneTimeFile(Path(key), self.own.files[key])

    def _give(self, order: Order, body: bytes) -> None:
        info = {"model": "u2netp", "backend": "numpy", "device": None, "milliseconds": {"decode": 1.0}}
        headers = {"Nss-Info": json.dumps(info), "Content-Type": media_type(order.encoding)}
        if headers["Content-Type"] == NETWORK_MASK:
            body = struct.pack("<6f", *(number / 8 for number in range(6)))
            headers |= {"Nss-Width": "3", "Nss-Height": "2"}
        self._send(200, body, headers)

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for text in (
            b"id: 1\ndata: " + _job("waiting"),
            b": alive",
            b"id: 2\ndata: " + _job("running"),
            b"id: 3\ndata: " + _job("done"),
        ):
            event = text + b"\n\n"
            for part in (event[:5], event[5:]):  # a reader may get any part of it
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _job(state: str) -> bytes:
    stage = "network" if state == "running" else None
    return json.dumps({"id": "job-1", "state": state, "stage": stage, "progress": 0.333, "problem": None}).encode()
