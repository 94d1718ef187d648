"""The routes of ``/api/v1``. What is wrong with a request is raised as a `nss.serve.problem.Problem`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import engine
from nss.errors import NssError, quoted
from nss.photos.header import read_header
from nss.pipes import OneTimeFile
from nss.serve.api import events
from nss.serve.api.fields import Order, parse_order
from nss.serve.http import bodies
from nss.serve.jobs.jobs import Job
from nss.serve.jobs.photo_host import MASK_TYPE, Product
from nss.serve.jobs.service import Service
from nss.serve.jobs.uploads import Loan
from nss.serve.problem import Problem, busy, of_error

PREFIX = "/api/v1"

LONGEST_NAME = 255
"""Characters of what a file that is sent ahead is called in messages."""

_NOT_IN_TOKEN = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]")
"""What a name in Server-Timing cannot have (RFC 9110, token)."""


def routes(service: Service) -> list[Route]:
    """All of them, with their whole paths."""
    api = _Api(service)
    return [
        Route(f"{PREFIX}/models", api.models, methods=["GET"]),
        Route(f"{PREFIX}/remove", api.remove, methods=["POST"]),
        Route(f"{PREFIX}/jobs", api.jobs, methods=["GET"]),
        Route(f"{PREFIX}/jobs", api.add_job, methods=["POST"]),
        Route(f"{PREFIX}/jobs/{{id}}", api.job, methods=["GET"]),
        Route(f"{PREFIX}/jobs/{{id}}", api.remove_job, methods=["DELETE"]),
        Route(f"{PREFIX}/jobs/{{id}}/result", api.result, methods=["GET"]),
        Route(f"{PREFIX}/jobs/{{id}}/photo", api.photo, methods=["GET"]),
        Route(f"{PREFIX}/jobs/{{id}}/events", api.job_events, methods=["GET"]),
        Route(f"{PREFIX}/events", api.events, methods=["GET"]),
        Route(f"{PREFIX}/files", api.add_file, methods=["POST"]),
        Route(f"{PREFIX}/files/{{id}}", api.remove_file, methods=["DELETE"]),
    ]


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, _: Request) -> Response:
        """What a request may ask for, and how much."""
        limits = self._service.limits
        return JSONResponse(
            {
                "version": engine.__version__,
                "models": self._service.models.describe(),
                "limits": {
                    "body_bytes": limits.body_bytes,
                    "pixels": limits.pixels,
                    "queue": limits.queue,
                    "keep_seconds": limits.keep_seconds,
                    "keep_count": limits.keep_count,
                },
            }
        )

    async def remove(self, request: Request) -> Response:
        """The answer of a photo, in one request; a client that leaves gives it up."""
        job = await self._begin(request, is_listed=False)
        leaving = asyncio.create_task(_left(request))
        over = asyncio.create_task(job.over.wait())
        try:
            await asyncio.wait((over, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            leaving.cancel()
            self._service.cancel(job)  # where it has not ended
        if job.product is not None:
            return _answer(job.product)
        if job.problem is not None:
            raise job.problem
        if leaving.done():
            raise ClientDisconnect
        raise busy("the photo was given up, since the server is stopping; try again later", 10)

    async def jobs(self, _: Request) -> Response:
        """All jobs."""
        return JSONResponse({"jobs": self._service.jobs.present()})

    async def add_job(self, request: Request) -> Response:
        """A photo, for whose answer others may ask."""
        job = await self._begin(request, is_listed=True)
        return JSONResponse(job.as_json(), 202, {"Location": f"{PREFIX}/jobs/{job.id}"})

    async def job(self, request: Request) -> Response:
        """A job as it is now."""
        return JSONResponse(self._job(request).as_json())

    async def remove_job(self, request: Request) -> Response:
        """Give a job up, and forget it."""
        self._service.forget(request.path_params["id"])
        return Response(status_code=204)

    async def result(self, request: Request) -> Response:
        """What came of a job."""
        job = self._job(request)
        if job.product is not None:
            return _answer(job.product)
        if job.problem is not None:
            raise job.problem
        if job.has_ended:
            raise Problem(409, f"job {job.id} was cancelled: send the photo again")
        raise Problem(409, f"job {job.id} is not done: it is {job.state}", {"Retry-After": "1"})

    async def photo(self, request: Request) -> Response:
        """The upload of a job, as it came."""
        job = self._job(request)
        if job.photo is None:
            raise Problem(404, f"the photo of job {job.id} is not kept: 'keep-photo' asks for that when it is sent")
        content, type_ = job.photo
        return Response(content, headers={"content-type": type_})

    async def job_events(self, request: Request) -> Response:
        """What becomes of a job, until its end."""
        job = self._job(request)
        jobs = self._service.jobs

        def present() -> list[dict[str, Any]]:
            return [each.as_json() for each in jobs if each is job]

        return _stream(request, events.stream(jobs.log, present, _last_event(request), of=job.id))

    async def events(self, request: Request) -> Response:
        """What becomes of all jobs, until the server stops."""
        jobs = self._service.jobs
        return _stream(request, events.stream(jobs.log, jobs.present, _last_event(request)))

    async def add_file(self, request: Request) -> Response:
        """Keep a mask or a background for photos to come."""
        service = self._service
        service.check_open()
        name = _file_name(request)
        body = await bodies.read_body(request, service.limits, service.waiting_budget)
        try:
            file = OneTimeFile(Path(name or "file"), body.content)
            # which fails for what is no image, or too large a one, while its owner is still there to hear of it
            await asyncio.to_thread(partial(read_header, file, max_pixels=service.limits.pixels))
            service.check_open()
            key = service.uploads.add(body.content, name, body.lease)
        except BaseException as error:
            body.lease.release()
            if isinstance(error, NssError):
                raise of_error(error) from error
            raise
        answer = {"id": key, "bytes": len(body.content), "seconds": service.limits.file_seconds}
        return JSONResponse(answer, 201)

    async def remove_file(self, request: Request) -> Response:
        """Forget a file that was sent ahead."""
        self._service.uploads.remove(request.path_params["id"])
        return Response(status_code=204)

    def _job(self, request: Request) -> Job:
        return self._service.jobs.get(request.path_params["id"])

    async def _begin(self, request: Request, *, is_listed: bool) -> Job:
        """Read a request to its end, and have its photo done. What is wrong is said before the body is read."""
        service = self._service
        service.check_open()
        order, loan = self._order(request)
        try:
            if order.keep_photo and not is_listed:
                raise Problem(400, "'keep-photo' is for jobs: nothing is kept of a photo that is answered at once")
            service.models.name_of(order.model)
            service.jobs.check_room()
            body = await bodies.read_body(request, service.limits, service.waiting_budget)
        except BaseException:
            loan.end()
            raise
        return service.begin(order, body, loan, is_listed=is_listed)

    def _order(self, request: Request) -> tuple[Order, Loan]:
        """What a request asks for, and the files that it names, which are kept for it from now on."""
        service = self._service
        accept = ", ".join(request.headers.getlist("accept")) or None
        query = request.query_params.multi_items()
        order = parse_order(query, accept, limits=service.limits, file_of=service.uploads.file)
        return order, service.uploads.lend((order.mask, order.composition.background))


def _answer(product: Product) -> Response:
    """The bytes of a product, with what there is to say of them."""
    timings = product.info["milliseconds"].items()
    headers = {
        "content-type": product.type,
        "nss-info": json.dumps(product.info, separators=(",", ":")),
        "server-timing": ", ".join(f"{_NOT_IN_TOKEN.sub('-', name)};dur={time:g}" for name, time in timings),
    }
    if product.type == MASK_TYPE:
        headers |= {"nss-width": str(product.width), "nss-height": str(product.height)}
    return Response(product.content, headers=headers)


def _stream(request: Request, content: AsyncIterator[bytes]) -> Response:
    """Server-sent events; a HEAD gets their head alone, and would else wait for them for ever."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Response(headers=headers) if request.method == "HEAD" else StreamingResponse(content, headers=headers)


async def _left(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _last_event(request: Request) -> int | None:
    """The number of the last event that a reader has; None where it says none, or nonsense."""
    with suppress(ValueError):
        text = request.headers.get("last-event-id", "")
        return int(text) if len(text) < 20 and text.isascii() and text.isdigit() else None
    return None


def _file_name(request: Request) -> str:
    """What the file is to be called in messages, without a path; "" where it has no name. Raises Problem 400."""
    query: Mapping[str, str] = request.query_params
    if unknown := [name for name in query if name != "name"]:
        raise Problem(400, f"{quoted(unknown[0][:80])} is no field here: 'name' is")
    name = re.split(r"[/\\]", query.get("name", ""))[-1]
    return "".join(character for character in name if character.isprintable())[:LONGEST_NAME]
