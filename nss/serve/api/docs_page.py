"""``/docs``, a page for people who write programs, its style, and ``/openapi.json``.

The page has no script and no inline style, as the server's policy wants it. Its tables are those that requests are
parsed by.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.responses import Response
from starlette.routing import Route

import engine
from nss.serve.api import openapi
from nss.serve.api.calls import CALLS
from nss.serve.api.docs_examples import BASE, EXAMPLES
from nss.serve.api.field_table import FIELDS, OF_NETWORK_MASK, REFUSED
from nss.serve.api.negotiation import NETWORK_MASK
from nss.serve.api.openapi_schemas import PROBLEMS
from nss.serve.limits import Limits
from nss.serve.problem import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

PATH = "/docs"
STYLE_PATH = "/docs.css"

FOLDER = Path(__file__).parent
TEMPLATE = "docs_page.html.jinja"
STYLE = "docs_page.css"

GROUPS = (
    (("model",), "Model"),
    (("refinement",), "Mask"),
    (("composition",), "Picture"),
    (("encoding",), "File"),
    (("request",), "Request"),
    (("interface",), "What the model wants of a photo, where its own file does not say it"),
)
"""The owners of fields under a heading each, in the order of the page."""

_QUOTED = re.compile(r"'([a-z-]+)'|`([^`]+)`")


def routes() -> list[Route]:
    """The page, its style and the document. All are made here, once."""
    contents = (
        (PATH, page().encode(), "text/html; charset=utf-8"),
        (STYLE_PATH, (FOLDER / STYLE).read_bytes(), "text/css; charset=utf-8"),
        (openapi.PATH, json.dumps(openapi.document()).encode(), "application/json"),
    )
    return [_route(*content) for content in contents]


def page() -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"pieces": _pieces, "value": _as_text}
    return environment.get_template(TEMPLATE).render(
        version=engine.__version__,
        base=BASE,
        examples=EXAMPLES,
        fields=list(FIELDS.values()),
        groups=GROUPS,
        refused=REFUSED,
        network_mask=NETWORK_MASK,
        network_mask_fields=[name for name in FIELDS if name in OF_NETWORK_MASK],
        calls=[call for call in CALLS if call.needs_token or call.gives == "text"],
        problem=json.dumps(
            Problem(400, "'feather' \"soft\": " + FIELDS["feather"].possible + " is possible").as_json()
        ),
        problems=PROBLEMS,
        limits=_limits(),
    )


def _limits() -> list[tuple[str, str, str]]:
    """What is bounded by default, by how much, and what becomes of more."""
    limits = Limits(memory=1)  # which is this computer's
    return [
        ("The body of a request", f"{limits.body_bytes >> 20} MiB", "413"),
        ("A photo, mask or background", f"{limits.pixels // 1_000_000} megapixels", "413"),
        ("Jobs that wait or are in work", str(limits.queue), "503"),
        ("Jobs that have ended", str(limits.keep_count), "the oldest is forgotten"),
        ("How long one of these is kept", f"{limits.keep_seconds / 60:g} minutes", "it is forgotten"),
        ("Files sent ahead", str(limits.file_count), "503, or one that is not in use is forgotten"),
        (
            "How long one of these is kept after its last use",
            f"{limits.file_seconds / 60:g} minutes",
            "it is forgotten",
        ),
        ("How long a body may bring nothing", f"{limits.stall_seconds:g} seconds", "408"),
    ]


def _problem() -> Problem:
    """One that a program may well meet."""
    return Problem(400, f"'feather' \"soft\": {FIELDS['feather'].possible} is possible")


def _route(path: str, content: bytes, type_: str) -> Route:
    async def answer(_request: Request) -> Response:
        return Response(content, headers={"content-type": type_})

    return Route(path, answer, methods=["GET"])


@dataclass(frozen=True)
class _Piece:
    """A part of a sentence: the name of a field or a command, or plain words."""

    text: str
    is_code: bool


def _pieces(text: str) -> list[_Piece]:
    """A sentence of the tables, in which names stand in single quotes and commands in backticks."""
    pieces, end = [], 0
    for match in _QUOTED.finditer(text):
        pieces += [_Piece(text[end : match.start()], False), _Piece(match[1] or match[2], True)]
        end = match.end()
    return [*pieces, _Piece(text[end:], False)]


def _as_text(value: Any) -> str:
    """A default as a request writes it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
