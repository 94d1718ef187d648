"""A local HTTP server that plays the Hugging Face hub as far as one repository needs.

As the hub does for LFS files, ``/{repo}/resolve/{revision}/{file}`` carries the commit, the size and the SHA-256 in
headers and redirects to a storage host (here: the same server under another host name), which serves the bytes and
understands ``Range``. Files of JSON are served at once, with Git's own hash. ``/api/models/{repo}/revision/{revision}``
lists the repository. Attributes switch the ways in which a real hub fails.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from nss.interfaces.interface import USUAL, FixedSize
from nss.models import catalogue
from nss.models.weights import transfer

PATIENCE_S = 60
"""How long a local server may take to answer: a busy machine stands still for seconds."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny"
FILE = "onnx/model.onnx"


def tiny_spec(content: bytes, **changes: object) -> catalogue.ModelSpec:
    """A catalogue entry for ``content``; like most entries it is not gated and its hash is not known."""
    spec = catalogue.ModelSpec(
        name="tiny",
        title="Tiny",
        summary="for tests",
        speed="at once",
        licence="Test licence",
        licence_url="https://example.org/licence",
        commercial="ask",
        size=len(content),
        sha256=None,
        interface={**USUAL, "size": FixedSize(32, 32), "output": 0},
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
        "HF_HUB_DOWNLOAD_TIMEOUT": PATIENCE_S,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(transfer, "CONNECTION_LIMIT_S", PATIENCE_S)


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
    files: dict[str, bytes] | None = field(default=None, repr=False)
    """The files of the repository by path; None: the content, as ``FILE``."""
    history: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)
    """Commits that are still served with files of their own."""
    branches: dict[str, str] = field(default_factory=dict)
    """Further branches and tags, and their commits."""
    card: dict[str, Any] = field(default_factory=dict)
    """What stands at the head of the repository's README."""
    gated: str | bool = False
    """What the listing says: False, "auto" or "manual"."""
    listing: bytes | None = None
    """What is sent instead of the listing."""
    body: bytes | None = field(default=None, repr=False)
    """What is sent instead of the content that the headers announce."""
    cuts: list[int] = field(default_factory=list)
    """For each coming transfer, after how many bytes of body the connection is closed; empty: never."""
    ignores_range: bool = False
    status: int = 200
    """401, 404, 500 ... for every request to the repository."""
    error_code: str = ""
    """Value of X-Error-Code."""
    gate_code: str = "GatedRepo"
    """X-Error-Code of a repository that is gated."""
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

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit stands for; None for an unknown one."""
        commit = {"main": self.commit, **self.branches}.get(revision, revision)
        return commit if commit in (self.commit, *self.older, *self.history, *self.branches.values()) else None

    def files_at(self, commit: str) -> dict[str, bytes]:
        """The files of the repository at a commit."""
        return self.history.get(commit) or ({FILE: self.content} if self.files is None else self.files)

    def content_of(self, digest: str) -> bytes:
        """The content that has this SHA-256."""
        trees = [self.files_at(self.commit), *self.history.values()]
        contents = [self.content, *(content for tree in trees for content in tree.values())]
        return next(content for content in contents if hashlib.sha256(content).hexdigest() == digest)

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
            hub.released.wait(120)
            self.close_connection = True
        elif self.path.startswith("/storage/"):
            self._send_content()
        elif self.path.startswith(f"/{REPO}/resolve/"):
            revision, _, file = self.path.removeprefix(f"/{REPO}/resolve/").partition("/")
            self._send_file(unquote(revision), unquote(file))
        elif urlsplit(self.path).path.startswith(f"/api/models/{REPO}"):
            revision = urlsplit(self.path).path.removeprefix(f"/api/models/{REPO}").removeprefix("/revision/")
            self._send_listing(unquote(revision) or "main")
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"})

    def _refuse(self, revision: str, *, gate: bool) -> bool:
        hub = self.hub
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if hub.status != 200:
            self._send(hub.status, {"X-Error-Code": hub.error_code} if hub.error_code else {})
        elif gate and hub.valid_token and token != hub.valid_token:
            self._send(403 if token else 401, {"X-Error-Code": hub.gate_code})
        elif hub.commit_of(revision) is None:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _send_file(self, revision: str, file: str) -> None:
        hub = self.hub
        if self._refuse(revision, gate=True):
            return
        commit = hub.commit_of(revision) or ""
        content = hub.files_at(commit).get(file)
        if content is None:
            self._send(404, {"X-Error-Code": "EntryNotFound"})
        elif file.endswith(".json"):
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send(200, {"X-Repo-Commit": commit, "ETag": f'"{blob}"'}, content)
        else:
            digest = hashlib.sha256(content).hexdigest()
            headers = {
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{digest}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"http://localhost:{hub.port}/storage/{digest}",
            }
            self._send(302, headers)

    def _send_listing(self, revision: str) -> None:
        hub = self.hub
        if self._refuse(revision, gate=False):
            return
        commit = hub.commit_of(revision) or ""
        siblings: list[dict[str, Any]] = []
        for file, content in hub.files_at(commit).items():
            sibling: dict[str, Any] = {"rfilename": file, "size": len(content), "blobId": "b" * 40}
            if not file.endswith(".json"):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        listing = {"id": REPO, "modelId": REPO, "sha": commit, "gated": hub.gated, "cardData": hub.card}
        text = json.dumps({**listing, "siblings": siblings}).encode()
        self._send(200, {"Content-Type": "application/json"}, text if hub.listing is None else hub.listing)

    def _send_content(self) -> None:
        hub = self.hub
        body = hub.content_of(self.path.removeprefix("/storage/")) if hub.body is None else hub.body
        requested_range = self.headers.get("range")
        start = (
            int(requested_range.removeprefix("bytes=").removesuffix("-"))
            if requested_range and not hub.ignores_range
            else 0
        )
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        cut_at = hub.cuts.pop(0) if hub.cuts else None
        self._send(206 if start else 200, headers, body[start:], cut_at)

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"", cut_at: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut_at])
        if cut_at is not None:
            self.close_connection = True
