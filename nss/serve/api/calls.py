"""The calls that a server answers: what the OpenAPI document and the page at ``/docs`` list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GUARD = (400, 403, 421)
"""Of every call: a request without one Host, from a page of another site, or to a Host that is not ours."""

API = (*GUARD, 401)
"""Of every call that wants the token."""

BODY = (408, 413, 415, 422, 503)
"""Of every call that takes an image."""

Result = Literal["picture", "bytes", "json", "events", "text", "html", "css", "none"]


@dataclass(frozen=True)
class Call:
    """One method of one path.

    Attributes:
        method, path: as OpenAPI has them.
        name: the operation's id.
        help: what it does, in a sentence.
        gives: what the answer is.
        schema: of an answer in JSON.
        status: of success.
        problems: the other statuses.
        fields: which of a request's fields it takes.
        takes_image: its body is an image.
        reads_events: it goes on after Last-Event-ID.
    """

    method: Literal["get", "post", "delete"]
    path: str
    name: str
    help: str
    gives: Result
    schema: str = ""
    status: int = 200
    problems: tuple[int, ...] = API
    fields: Literal["none", "photo", "job", "file"] = "none"
    takes_image: bool = False
    reads_events: bool = False

    @property
    def needs_token(self) -> bool:
        """Whether it wants the token."""
        return 401 in self.problems


CALLS = (
    Call(
        "get",
        "/api/v1/models",
        "listModels",
        "The models that this server has, and its limits.",
        "json",
        "Models",
    ),
    Call(
        "post",
        "/api/v1/remove",
        "remove",
        "Cut out one photo in one request. Nothing is kept; a client that leaves has it given up.",
        "picture",
        problems=(*API, *BODY, 406, 500),
        fields="photo",
        takes_image=True,
    ),
    Call(
        "post",
        "/api/v1/jobs",
        "createJob",
        "Have one photo cut out, and go on at once: its job tells how far it is, and keeps the result for a while.",
        "json",
        "Job",
        202,
        (*API, *BODY, 406),
        fields="job",
        takes_image=True,
    ),
    Call("get", "/api/v1/jobs", "listJobs", "All jobs, in the order in which they were sent.", "json", "Jobs"),
    Call("get", "/api/v1/jobs/{id}", "getJob", "A job as it is now.", "json", "Job", problems=(*API, 404)),
    Call(
        "delete",
        "/api/v1/jobs/{id}",
        "deleteJob",
        "Give a job up where it has not ended, and forget it.",
        "none",
        status=204,
        problems=(*API, 404),
    ),
    Call(
        "get",
        "/api/v1/jobs/{id}/result",
        "getResult",
        "The result of a job that is done; for one that failed its problem, with the problem's status.",
        "picture",
        problems=(*API, 404, 409, 413, 422, 500, 503),
    ),
    Call(
        "get",
        "/api/v1/jobs/{id}/photo",
        "getPhoto",
        "The photo of a job as it was sent, where 'keep-photo' asked for that.",
        "bytes",
        problems=(*API, 404),
    ),
    Call(
        "get",
        "/api/v1/jobs/{id}/events",
        "followJob",
        "What becomes of a job, as server-sent events until its end: first as it is now, then each change.",
        "events",
        problems=(*API, 404),
        reads_events=True,
    ),
    Call(
        "get",
        "/api/v1/events",
        "followJobs",
        "What becomes of all jobs, as server-sent events without an end.",
        "events",
        reads_events=True,
    ),
    Call(
        "post",
        "/api/v1/files",
        "createFile",
        "Send a mask or a background ahead, for the fields of these names; it is kept for a while after its last use.",
        "json",
        "File",
        201,
        (*API, *BODY),
        fields="file",
        takes_image=True,
    ),
    Call(
        "delete",
        "/api/v1/files/{id}",
        "deleteFile",
        "Forget a file that was sent ahead.",
        "none",
        status=204,
        problems=(*API, 404),
    ),
    Call(
        "post",
        "/api/v1/browser",
        "prepareBrowser",
        "Make the models as browsers take them, once, and wait until they are there: the page asks for it where a "
        "visitor wants the work done in the browser.",
        "json",
        "Browser",
        problems=(*API, 500, 503),
    ),
    Call("get", "/metrics", "metrics", "Counts and sizes, as Prometheus reads them.", "text"),
    Call(
        "get",
        "/healthz",
        "health",
        "Whether the server is there: ok, and nothing else.",
        "text",
        problems=(*GUARD, 503),
    ),
    Call("get", "/", "page", "The page.", "html", problems=GUARD),
    Call("get", "/site.json", "site", "What the page consists of, and where the API is.", "json", problems=GUARD),
    Call(
        "get",
        "/browser/{path}",
        "browserFile",
        "A file of the models for browsers, once POST /api/v1/browser has made them.",
        "bytes",
        problems=(*GUARD, 404),
    ),
    Call("get", "/docs", "docs", "A page about all of this, with examples.", "html", problems=GUARD),
    Call("get", "/docs.css", "docsStyle", "The style of that page.", "css", problems=GUARD),
    Call("get", "/openapi.json", "openapi", "This document.", "json", problems=GUARD),
)
"""In the order of the document."""
