"""A local server that plays the place of release files, and a proxy that may be slow."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest

from nss.models import catalogue
from tests.nss.fake_hub import FakeHub, Request, _Handler, isolate, tiny_spec

FILE = "tiny-epoch_7.onnx"


def released_spec(content: bytes, **changes: object) -> catalogue.ModelSpec:
    """A catalogue entry for ``content``, which is fetched from the release."""
    digest = hashlib.sha256(content).hexdigest()
    return tiny_spec(content, **{"repo": None, "filename": None, "release": FILE, "sha256": digest, **changes})


def isolate_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    """Point this process at a test's own release and folders; the hub is nowhere."""
    isolate(monkeypatch, tmp_path, "http://127.0.0.1:9")
    monkeypatch.setenv("NSS_RELEASE_URL", url)
    monkeypatch.setenv("NSS_CACHE_DIR", str(tmp_path / "fetched"))


@dataclass
class FakeRelease(FakeHub):
    """Serves ``content`` as ``FILE``, and understands Range and If-Range."""

    etag: str | None = '"v1"'
    announced_etag: str | None = None
    """What HEAD says where it is not ``etag``."""

    def __enter__(self) -> FakeRelease:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_ReleaseHandler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    @property
    def transfers(self) -> list[Request]:
        """The requests for the bytes themselves."""
        return [r for r in self.requests if r.method == "GET"]


class _ReleaseHandler(_Handler):
    hub: FakeRelease

    def _answer(self) -> None:
        release = self.hub
        release.requests.append(Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if release.hangs:
            release.released.wait(120)
            self.close_connection = True
        elif release.status != 200 or self.path != f"/{FILE}":
            self._send(404 if release.status == 200 else release.status, {})
        else:
            self._send_file()

    def _send_file(self) -> None:
        release = self.hub
        etag = (self.command == "HEAD" and release.announced_etag) or release.etag
        headers = {"ETag": etag} if etag else {}
        content = release.content if self.command == "HEAD" or release.body is None else release.body
        requested_range, condition = self.headers.get("range"), self.headers.get("if-range")
        start = 0
        if requested_range and not release.ignores_range and condition in (None, release.etag):
            start = int(requested_range.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut_at = release.cuts.pop(0) if release.cuts and self.command == "GET" else None
        self._send(206 if start else 200, headers, content[start:], cut_at)


@dataclass
class Proxy:
    """An HTTP proxy that takes every request to a server on this machine, whatever host it names.

    Attributes:
        port: of that server.
        chunk: how many bytes of a body it hands on at a time, after ``pause_s`` each; None: all.
        holds: of a body it hands on nothing until the test is over.
        urls: what it was asked for.
    """

    port: int
    chunk: int | None = None
    pause_s: float = 0.0
    holds: bool = False
    urls: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Proxy:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_ProxyHandler,), {"proxy": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make this process go through the proxy, until `huggingface_hub.close_session` is called again."""
        from huggingface_hub import close_session

        for variable in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(variable, self.url)
        for variable in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        close_session()


class _ProxyHandler(_Handler):
    proxy: Proxy

    def _answer(self) -> None:
        proxy, url = self.proxy, urlsplit(self.path)
        proxy.urls.append(self.path)
        server = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        server.request(self.command, url.path, headers={k: v for k, v in self.headers.items() if k.lower() != "host"})
        answer = server.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("connection", "date", "server"):
                self.send_header(key, value)
        self.end_headers()
        step = proxy.chunk or max(1, len(body))
        if proxy.holds and body:
            proxy.over.wait(60)
        try:
            for start in range(0, len(body), step):
                time.sleep(proxy.pause_s)
                self.wfile.write(body[start : start + step])
                self.wfile.flush()
        except OSError:  # the client has given up
            self.close_connection = True
        server.close()


def program(spec: catalogue.ModelSpec, **extra: Any) -> str:
    """A Python program that runs ``nss-wgpu models`` with its arguments, with ``spec`` in the catalogue."""
    fields = {**vars(spec), "interface": {}, **extra}
    return (
        "import sys\n"
        "from nss.models import catalogue\n"
        "from nss.errors import NssError\n"
        "from nss.cli.commands.models import models_app\n"
        f"catalogue.CATALOGUE['tiny'] = catalogue.ModelSpec(**{fields!r})\n"
        "try:\n"
        "    models_app(sys.argv[1:], standalone_mode=False)\n"
        "except NssError as error:\n"
        "    sys.exit(f'{error.exit_code} {error}')\n"
    )
