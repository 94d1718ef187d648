"""The same models for the browser that shows the page: compiled once somebody asks, and kept until the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

import engine
from nss.errors import NssError, one_line
from nss.interfaces.interface import as_json
from nss.serve.http.own_folder import OwnFolder
from nss.serve.http.page import cache_headers, etag_of, is_known, media_type
from nss.serve.problem import Problem
from nss.web import site
from nss.web.export import export_web
from nss.web.site import Site, SiteFile, SiteModel

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from nss.serve.jobs.models import ModelChoice

BASE = "/browser/"
"""Where they are."""

Say = Callable[[str], None]


class BrowserModels:
    """A site without a page, of the models that a server has. Its routes are `routes`."""

    def __init__(self, choices: Sequence[ModelChoice], names: Callable[[], Sequence[str]], say: Say) -> None:
        """Nothing is made yet.

        Args:
            choices: the server's models.
            names: what they are called there, in the same order.
            say: gets a line for a model that no browser can run.
        """
        self._choices, self._names, self._say = tuple(choices), names, say
        self._folder: OwnFolder | None = None
        self._making: asyncio.Task[dict[str, tuple[SiteFile, Path]]] | None = None
        self._files: dict[str, tuple[SiteFile, Path]] = {}

    def routes(self) -> list[Route]:
        """To make them, and to read them."""
        return [
            Route("/api/v1/browser", self._post, methods=["POST"]),
            Route(BASE + "{path:path}", self._get, methods=["GET"]),
        ]

    def close(self) -> None:
        """Remove what was made."""
        if self._folder is not None:
            self._folder.remove()

    async def _post(self, _: Request) -> Response:
        """Make them where nobody has; raises Problem where no model of the server's can run in a browser."""
        if not self._files:
            # one at a time, and not for one caller alone, who may leave
            self._making = self._making or asyncio.create_task(asyncio.to_thread(self._make))
            try:
                self._files = await asyncio.shield(self._making)
            finally:
                if self._making is not None and self._making.done():
                    self._making = None
        return JSONResponse({"base": BASE})

    async def _get(self, request: Request) -> Response:
        """One of the files. Raises HTTPException 404."""
        # of those that were made: a path that leads elsewhere is none of their names
        entry = self._files.get(request.path_params["path"])
        if entry is None:
            raise HTTPException(404)
        file, path = entry
        etag = etag_of(file.sha256)
        if is_known(request.scope, etag):
            return Response(status_code=304, headers=cache_headers(etag))
        headers = {**cache_headers(etag), "accept-ranges": "none"}
        return _WholeFile(path, headers=headers, media_type=media_type(file.path))

    def _make(self) -> dict[str, tuple[SiteFile, Path]]:
        try:
            self._folder = self._folder or OwnFolder()
            return self._export(self._folder.path)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise Problem(503, f"the models for browsers cannot be written: {reason}") from error

    def _export(self, folder: Path) -> dict[str, tuple[SiteFile, Path]]:
        """Blocks for as long as models are compiled; raises the first failure where there is nothing but failures."""
        files: dict[str, tuple[SiteFile, Path]] = {}
        models: list[SiteModel] = []
        failures: list[NssError] = []
        for number, (choice, name) in enumerate(zip(self._choices, self._names(), strict=True)):
            target = folder / str(number)
            try:
                exported = export_web(
                    name if choice.requested == "auto" else choice.requested,
                    target,
                    page=False,
                    model_variant=choice.network.get("model_variant"),
                    model_config=as_json(choice.model_config),
                    overwrite=True,
                    quiet=True,
                )
            except NssError as error:
                self._say(f"{name}: not for browsers: {one_line(error)}")
                failures.append(error)
                continue
            models.append(_renamed(exported.models[0], name, default=not models))
            others = site.recorded_files((target / site.NAME).read_bytes())
            was = exported.models[0].folder
            for file in (other for other in others.values() if not other.path.startswith(was)):
                files.setdefault(file.path, (file, target / file.path))
            for file, before in zip(models[-1].files, exported.models[0].files, strict=True):
                files[file.path] = (file, target / before.path)
        if not models:
            raise failures[0]
        beside = tuple(file for path, (file, _) in sorted(files.items()) if not path.startswith("models/"))
        record = folder / site.NAME
        record.write_bytes(Site(engine.__version__, tuple(models), beside).encode())
        return {**files, site.NAME: (SiteFile.of(site.NAME, record), record)}


class _WholeFile(FileResponse):
    """A file that is sent from its beginning: what it is asked for by hash is fetched whole or not at all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        heads = [(name, value) for name, value in scope["headers"] if name.lower() != b"range"]
        await super().__call__({**scope, "headers": heads}, receive, send)


def _renamed(model: SiteModel, name: str, *, default: bool) -> SiteModel:
    """A site's model under the name that the server has for it."""
    folder = f"models/{name}/"
    files = tuple(replace(file, path=folder + file.path.removeprefix(model.folder)) for file in model.files)
    return replace(model, name=name, folder=folder, files=files, default=default)
