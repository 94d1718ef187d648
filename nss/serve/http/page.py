"""The page's files, out of memory, and the record by which the page knows that this computer can do the work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response

import engine
from nss.errors import NssError
from nss.web import licences
from nss.web.export import KERNELS, LICENCE
from nss.web.page_files import page_files
from nss.web.site import FORMAT, NAME, SiteFile

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

API = "api/v1/"
"""Where the API is, from the page."""

INDEX = "index.html"

TYPES = {
    ".bin": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
"""By ending. Systems differ in what they think of one, and browsers run no module of another type."""


@dataclass(frozen=True)
class StaticFile:
    """A file of a site.

    Attributes:
        content: its bytes.
        etag: by which a browser knows that it has it.
        media_type: for Content-Type.
    """

    content: bytes = field(repr=False)
    etag: str
    media_type: str

    @staticmethod
    def of(path: str, content: bytes) -> StaticFile:
        """What is served under a path."""
        return StaticFile(content, etag_of(hashlib.sha256(content).hexdigest()), media_type(path))


class Page:
    """The page, as ASGI: each of its files under its path, the index at the root too, and ``site.json``."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        """``contents``: the files of the page by their paths in it."""
        site_files = [
            SiteFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
        ]
        record = {
            "format": FORMAT,
            "version": engine.__version__,
            "models": [],
            "files": [asdict(file) for file in site_files],
            "api": API,
        }
        everything = {**contents, NAME: json.dumps(record, sort_keys=True).encode()}
        self._files = {path: StaticFile.of(path, content) for path, content in everything.items()}
        if INDEX in self._files:
            self._files[""] = self._files[INDEX]

    @staticmethod
    def read() -> Page:
        """That of this package, read from where it is installed. Raises NssError where it is not there."""
        try:
            contents = {path: source.read_bytes() for path, source in page_files().items()}
        except OSError as error:
            raise NssError(f"{error.filename}: cannot be read ({error.strerror}): reinstall nss-wgpu") from error
        contents[KERNELS] = json.dumps(engine.image_kernels(), sort_keys=True, separators=(",", ":")).encode()
        contents[LICENCE] = licences.of_the_page(engine.__version__).encode()
        return Page(dict(sorted(contents.items())))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file. Raises HTTPException 404 and 405."""
        file = self._files.get(str(scope["path"]).removeprefix("/"))
        if file is None:
            raise HTTPException(404)
        check_method(scope)
        if is_known(scope, file.etag):
            response = Response(status_code=304, headers=cache_headers(file.etag))
        else:
            headers = {**cache_headers(file.etag), "content-type": file.media_type}
            response = Response(file.content, headers=headers)
        await response(scope, receive, send)


def media_type(path: str) -> str:
    """The Content-Type of a file by its ending."""
    return TYPES.get(PurePosixPath(path).suffix, TYPES[".bin"])


def etag_of(sha256: str) -> str:
    """The ETag of a file by its hash in hexadecimal."""
    return f'"{sha256[:32]}"'


def cache_headers(etag: str) -> dict[str, str]:
    """Those of a file that a browser may keep, and asks about each time: the next start may have another."""
    return {"cache-control": "no-cache", "etag": etag}


def check_method(scope: Scope) -> None:
    """Raise HTTPException 405 where something other than reading is asked for."""
    if scope["method"] not in ("GET", "HEAD"):
        raise HTTPException(405, headers={"Allow": "GET, HEAD"})


def is_known(scope: Scope, etag: str) -> bool:
    """Whether the browser has the file already."""
    given = b",".join(value for name, value in scope["headers"] if name.lower() == b"if-none-match").decode("latin-1")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return etag in tags or "*" in tags
