"""The application of a server, as ASGI: its routes behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route, Router

from nss.serve.http.browser import BrowserModels
from nss.serve.http.guard import Guard
from nss.serve.http.page import Page
from nss.serve.http.streams import EndingStreams
from nss.serve.problem import busy

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from nss.serve.jobs.service import Service
    from nss.serve.settings import ServeSettings

Say = Callable[[str], None]


class Application:
    """All routes of a server. Its lifespan starts and stops the service, for tests.

    Attributes:
        streams: what ends event streams.
    """

    def __init__(
        self,
        service: Service,
        settings: ServeSettings,
        *,
        port: int | None = None,
        say: Say = lambda _: None,
        page: Page | None = None,
        browser: BrowserModels | None = None,
        routes: Sequence[BaseRoute] | None = None,
    ) -> None:
        """Make one.

        Args:
            service: what does the work.
            settings: whose addresses and token are the right ones.
            port: the one that it got; that of the settings by default.
            say: gets a line on each failure that nobody foresaw.
            page: the page's files; read by default.
            browser: models for browsers; by default those of the settings.
            routes: instead of those of the API, of its documents and of metrics.
        """
        browser = browser or BrowserModels(settings.models, lambda: service.models.names, say)
        self.streams = EndingStreams(
            _Routes(
                [
                    *(_routes(service) if routes is None else routes),
                    *browser.routes(),
                    Route("/healthz", _health(service), methods=["GET"]),
                ],
                page or Page.read(),
                service,
            )
        )
        self._guard = Guard(
            self.streams,
            settings.addresses_at(settings.port if port is None else port),
            settings.token,
            say=say,
            answered=service.metrics.request,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._guard(scope, receive, send)


class _Routes:
    """Routes, and the page behind them. What they have no answer for they raise, as within a Starlette application."""

    def __init__(self, routes: Sequence[BaseRoute], page: Page, service: Service) -> None:
        self._page = page

        @asynccontextmanager
        async def lifespan(_: Any) -> AsyncIterator[None]:
            await service.start()
            yield
            await service.stop()

        # with its default no path with a slash at its end leads to one without, by a Location made of the Host
        self._router = Router(routes, redirect_slashes=False, default=page, lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise HTTPException 404 or 405."""
        scope["app"] = self
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            allowed = self._methods(scope)
            if error.status_code == 405 and allowed:  # a route that has the path knows its own methods alone
                raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))}) from None
            raise

    def _methods(self, scope: Scope) -> set[str]:
        routes = [route for route in self._router.routes if route.matches(scope)[0] is not Match.NONE]
        return {method for route in routes if isinstance(route, Route) for method in route.methods or ()}


def _routes(service: Service) -> list[BaseRoute]:
    from nss.serve.api import docs_page, endpoints, metrics

    return [*endpoints.routes(service), *docs_page.routes(), metrics.route(service.metrics)]


def _health(service: Service) -> Callable[[Request], Any]:
    async def health(_: Request) -> Response:
        """Whether it takes work; tells nothing else, since anybody may ask."""
        if service.is_stopping:
            raise busy("the server is stopping")
        return PlainTextResponse("ok")

    return health
