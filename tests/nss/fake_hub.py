"""A local HTTP server that plays the Hugging Face hub as far as one file of one repository needs.

As the hub does for LFS files, ``/{repo}/resolve/{revision}/{file}`` carries the commit, the size and the SHA-256 in
headers and redirects to a storage host (here: the same server under another host name), which serves the bytes and
understands ``Range``. Attributes switch the ways in which a real hub fails.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import pytest
from huggingface_hub import constants

from nss import models
from nss.interface import FixedSize

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny"
FILE = "onnx/model.onnx"


def tiny_spec(content: bytes, **changes: object) -> models.ModelSpec:
    """A catalogue entry for ``content``; like most entries it is not gated and its hash is not known."""
    spec = models.ModelSpec(
        name="tiny",
        title="Tiny",
        summary="for tests",
        speed="at once",
        licence="Test licence",
        licence_url="https://example.org/licence",
        commercial="ask",
        size=len(content),
        sha256=None,
        interface={"size": FixedSize(32, 32), "filter": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)},
        filename=FILE,
        repo=REPO,
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str) -> None:
    """Point this process's model folder, hub cache and hub endpoint at a test's own, without a token.

    huggingface_hub reads its environment when it is imported, hence the constants.
    """
    monkeypatch.setenv("NSS_MODEL_DIR", str(tmp_path / "models"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1,localhost")
    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FakeHub:
    content: bytes = field(repr=False)
    commit: str = COMMIT
    """What the branch main stands for."""
    older: list[str] = field(default_factory=list)
    """Commits that are still served; the content is the same."""
    body: bytes | None = field(default=None, repr=False)
    """What is sent instead of the content that the headers announce."""
    cuts: list[int] = field(default_factory=list)
    """For each coming transfer, after how many bytes of body the connection is closed; empty: never."""
    ignores_range: bool = False
    status: int = 200
    """401, 404, 500 ... for every request to the repository."""
    error_code: str = ""
    """Value of X-Error-Code."""
    valid_token: str | None = None
    """With one, the repository is gated: 401 without a token, 403 with another."""
    hangs: bool = False
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> FakeHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def transfers(self) -> list[Request]:
        """The requests for the bytes themselves."""
        return [r for r in self.requests if r.path.startswith("/storage/")]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name is the base class's)
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        hub.requests.append(Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if hub.hangs:
            hub.released.wait(20)
            self.close_connection = True
        elif self.path.startswith("/storage/"):
            self._send_content()
        elif self.path.startswith(f"/{REPO}/resolve/") and self.path.endswith(f"/{FILE}"):
            self._send_resolve(self.path.split("/")[4])
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"})

    def _send_resolve(self, revision: str) -> None:
        hub = self.hub
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if hub.status != 200:
            self._send(hub.status, {"X-Error-Code": hub.error_code} if hub.error_code else {})
        elif hub.valid_token and token != hub.valid_token:
            self._send(403 if token else 401, {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", hub.commit, *hub.older):
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            headers = {
                "X-Repo-Commit": hub.commit if revision == "main" else revision,
                "X-Linked-Etag": f'"{hub.sha256}"',
                "X-Linked-Size": str(len(hub.content)),
                "Location": f"http://localhost:{hub.port}/storage/{hub.sha256}",
            }
            self._send(302, headers)

    def _send_content(self) -> None:
        hub = self.hub
        body = hub.content if hub.body is None else hub.body
        wanted = self.headers.get("range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not hub.ignores_range else 0
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        cut = hub.cuts.pop(0) if hub.cuts else None
        self._send(206 if start else 200, headers, body[start:], cut)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True
