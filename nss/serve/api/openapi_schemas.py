"""What JSON of the API holds, as JSON schemas, and the headers of its answers."""

from __future__ import annotations

from typing import Any, get_args

from nss.models.catalogue import Commercial
from nss.serve.api.metrics import STATES
from nss.serve.jobs.tasks import STAGES
from nss.serve.problem import CONTENT_TYPE

Json = dict[str, Any]


def ref(name: str, kind: str = "schemas") -> Json:
    """A reference to one of the components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(help: str, **members: Json) -> Json:  # noqa: A002 - the document's word is description
    return {"type": "object", "description": help, "required": list(members), "properties": members}


def _text(help: str, **more: Any) -> Json:  # noqa: A002
    return {"type": "string", "description": help, **more}


def _number(help: str, **more: Any) -> Json:  # noqa: A002
    return {"type": "number", "description": help, **more}


def _whole(help: str, least: int = 0) -> Json:  # noqa: A002
    return {"type": "integer", "minimum": least, "description": help}


def _flag(help: str) -> Json:  # noqa: A002
    return {"type": "boolean", "description": help}


def _or_null(schema: Json) -> Json:
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **more}


_MILLISECONDS: Json = {"type": "object", "additionalProperties": {"type": "number"}}

SCHEMAS: dict[str, Json] = {
    "Problem": _object(
        "What is wrong, as RFC 9457 has it.",
        title=_text("The status in words."),
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=_text("One line: what is wrong, with what, what to do. Names of fields stand in single quotes."),
    ),
    "Info": _object(
        "What made a result, and in which time.",
        model=_or_null(_text("The model's name; null, as the next three are, where 'mask' took its place.")),
        backend=_or_null(_text("webgpu or numpy.")),
        device=_or_null(_text("The adapter.")),
        precision=_or_null(_text("f32, f32-split on matrix units, or f16.")),
        milliseconds={**_MILLISECONDS, "description": "Of each stage."},
        stages={"type": "object", "description": "Where each stage ran."},
        notes={"type": "array", "items": {"type": "string"}, "description": "What was decided on the way."},
        coverage=_number("The mean of the mask.", minimum=0, maximum=1),
        nothing_found=_flag("No value of the mask was high enough for a subject."),
        box={
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
            "description": "Left, top, right and bottom of the picture in the photo, in pixels.",
        },
        width=_whole("Of the photo, upright, in pixels."),
        height=_whole("Of the photo, upright, in pixels."),
    ),
    "Result": _object(
        "What GET /api/v1/jobs/{id}/result gives.",
        type=_text("The media type."),
        bytes=_whole("How many there are."),
        width=_whole("In pixels."),
        height=_whole("In pixels."),
    ),
    "Job": _object(
        "A photo that was asked for.",
        id=_text("What it is asked for by."),
        name=_text("What the photo is called."),
        state=_text("Where it is.", enum=list(STATES)),
        stage=_or_null(_text("What is being done, while it runs.", enum=list(STAGES))),
        progress=_number("0, 0.333, 0.667 or 1.", minimum=0, maximum=1),
        created=_number("Seconds since 1970."),
        expires=_or_null(_number("When it is forgotten, in seconds since 1970; null until it has ended.")),
        model=_text("The model's name."),
        problem=_or_null(ref("Problem")),
        result=_or_null(ref("Result")),
        info=_or_null(ref("Info")),
        photo=_flag("The photo is kept, for GET /api/v1/jobs/{id}/photo."),
    ),
    "Jobs": _object("All jobs, in the order in which they were sent.", jobs={"type": "array", "items": ref("Job")}),
    "Model": _object(
        "A model that this server has.",
        name=_text("What the field 'model' calls it."),
        title=_text("Its name for people."),
        summary=_text("What it is good for."),
        licence=_text("Its licence."),
        licence_url=_text("Where the licence stands; empty where that is not known."),
        commercial=_text("Whether it allows commercial use; ask: by agreement.", enum=[*get_args(Commercial)]),
        default=_flag("It is what runs without a 'model'."),
        backend=_text("webgpu or numpy."),
        device=_or_null(_text("The adapter.")),
        precision=_text("f32, f32-split on matrix units, or f16."),
        size=_or_null(
            {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 2,
                "maxItems": 2,
                "description": "Height and width of the network's input; null where they follow the photo.",
            }
        ),
        sha256=_or_null(_text("Of the model's file, in hexadecimal.")),
    ),
    "Limits": _object(
        "What this server takes on.",
        body_bytes=_whole("Of one body."),
        pixels=_whole("Of one photo, mask or background."),
        queue=_whole("Jobs that wait or are in work."),
        keep_seconds=_number("How long a job is kept once it has ended."),
        keep_count=_whole("How many ended jobs are kept."),
    ),
    "Models": _object(
        "What this server has.",
        version=_text("Of nss-wgpu."),
        models={"type": "array", "items": ref("Model"), "minItems": 1},
        limits=ref("Limits"),
    ),
    "File": _object(
        "A file that was sent ahead.",
        id=_text("What the fields 'mask' and 'background' name it by.", pattern="^file-"),
        bytes=_whole("How many there are."),
        seconds=_number("How long it is kept, from its last use."),
    ),
    "Browser": _object("Where the models for browsers are.", base=_text("The folder, from the root.")),
}

HEADERS: dict[str, Json] = {
    "Nss-Info": {
        "description": "What made the result, as JSON in one line of ASCII.",
        "content": {"application/json": {"schema": ref("Info")}},
    },
    "Server-Timing": {
        "description": "Milliseconds of each stage, as the tools of a browser show them: decode;dur=12.3, network;…",
        "schema": {"type": "string"},
    },
    "Nss-Width": {"description": "Of a network's mask, in values a row.", "schema": {"type": "integer"}},
    "Nss-Height": {"description": "Of a network's mask, in rows.", "schema": {"type": "integer"}},
    "Location": {"description": "Where the job is.", "schema": {"type": "string", "format": "uri-reference"}},
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "Bearer: the token is wanted.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods that there are.", "schema": {"type": "string"}},
}

PROBLEMS: dict[int, str] = {
    400: "A field is unknown, no such value, or against another one; or it names a file that is not there.",
    401: "The token is missing or wrong.",
    403: "A page of another site asks.",
    404: "There is no such thing, or it is forgotten.",
    405: "There is no such method here; Allow has those that are.",
    406: "Accept allows no type that can be made.",
    408: "The body stopped coming, or comes too slowly.",
    409: "The job is not done yet, or was cancelled.",
    413: "The body has too many bytes, or the photo too many pixels.",
    415: "The body is of no type of an image, or is encoded.",
    421: "The server does not answer to this Host.",
    422: "The photo cannot be used: it is empty, damaged, no image, or nothing was found in it.",
    500: "What no one foresaw.",
    503: "There is no room now, or the server is stopping: try again after a while.",
}
"""Each status that is no success, and when it is answered; the body is a `Problem`."""

_OWN_HEADERS = {401: ("WWW-Authenticate",), 405: ("Allow",), 409: ("Retry-After",), 503: ("Retry-After",)}


def problem_name(status: int) -> str:
    """What the response of a status is called among the components."""
    return f"Problem{status}"


def problem_responses() -> dict[str, Json]:
    """The responses for ``PROBLEMS``, as components."""
    responses = {}
    for status, text in PROBLEMS.items():
        response: Json = {"description": text, "content": {CONTENT_TYPE: {"schema": ref("Problem")}}}
        if names := _OWN_HEADERS.get(status):
            response["headers"] = {name: ref(name, "headers") for name in names}
        responses[problem_name(status)] = response
    return responses
