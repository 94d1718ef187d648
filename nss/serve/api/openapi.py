"""The OpenAPI 3.1 document of the API, made of the tables of calls and of fields."""

from __future__ import annotations

import engine
from nss.serve.api.calls import CALLS, Call
from nss.serve.api.field_table import FIELDS, OF_NETWORK_MASK, REFUSED, Field
from nss.serve.api.negotiation import MEDIA_TYPES, NETWORK_MASK
from nss.serve.api.openapi_schemas import HEADERS, SCHEMAS, Json, problem_name, problem_responses, ref

PATH = "/openapi.json"

_BINARY: Json = {"type": "string", "contentMediaType": "application/octet-stream"}

_TEXT_TYPES = {
    "text": "text/plain",
    "html": "text/html",
    "css": "text/css",
}

_ABOUT = """Cut the foreground out of photos, on the computer that runs `nss-wgpu serve`.

Each call below `/api/` wants the token that the server printed, as `Authorization: Bearer TOKEN`.
A photo is the body of a request as it is, and what is to be done with it are fields of the query: the options of
`nss-wgpu remove`, each at most once.
Any other path gets 404, and any other method 405 with `Allow`, both as `application/problem+json`.
"""


def document() -> Json:
    """The document, as JSON has it."""
    paths: dict[str, Json] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nss-wgpu serve",
            "version": engine.__version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "api", "description": "Wants the token."}, {"name": "page", "description": "Wants none."}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "headers": HEADERS,
            "parameters": {_component(field): _parameter(field) for field in FIELDS.values()},
            "responses": problem_responses(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What stands behind #token= in the address that the server printed, or what "
                    "NSS_SERVE_TOKEN_FILE holds.",
                }
            },
        },
        "x-refused": REFUSED,
    }


def _operation(call: Call) -> Json:
    operation: Json = {
        "operationId": call.name,
        "summary": call.help,
        "tags": ["api" if call.needs_token else "page"],
        "security": [{"token": []}] if call.needs_token else [],
    }
    if parameters := _parameters(call):
        operation["parameters"] = parameters
    if call.takes_image:
        content = {type_: {"schema": _BINARY} for type_ in ("image/*", "application/octet-stream")}
        operation["requestBody"] = {
            "required": True,
            "description": "The image as its file has it, in any format that Pillow reads; never a form.",
            "content": content,
        }
    problems = {str(status): ref(problem_name(status), "responses") for status in sorted(call.problems)}
    operation["responses"] = {str(call.status): _success(call), **problems}
    return operation


def _parameters(call: Call) -> list[Json]:
    parameters = [_path_parameter(name) for name in ("id", "path") if f"{{{name}}}" in call.path]
    if call.fields == "file":
        parameters.append(ref(_component(FIELDS["name"]), "parameters"))
    elif call.fields != "none":
        fields = [field for field in FIELDS.values() if call.fields == "job" or field.name != "keep-photo"]
        parameters += [ref(_component(field), "parameters") for field in fields]
    if call.reads_events:
        parameters.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "The last event that the reader has: those after it are sent, if still known.",
                "schema": {"type": "string"},
            }
        )
    return parameters


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(field: Field) -> Json:
    text = field.help
    if field.name in OF_NETWORK_MASK:
        text += f" Also with Accept: {NETWORK_MASK}."
    parameter: Json = {"name": field.name, "in": "query", "description": text, "schema": field.schema()}
    return parameter if not field.several else {**parameter, "style": "form", "explode": True}


def _component(field: Field) -> str:
    return f"field-{field.name}"


def _success(call: Call) -> Json:
    response: Json = {"description": call.help}
    if call.gives == "none":
        return response
    content: dict[str, Json]
    if call.gives == "picture":
        content = {type_: {"schema": _BINARY} for type_ in (*MEDIA_TYPES.values(), NETWORK_MASK)}
        headers = ("Nss-Info", "Server-Timing", "Nss-Width", "Nss-Height")
        response["headers"] = {name: ref(name, "headers") for name in headers}
    elif call.gives == "events":
        text = (
            "Events of `id: N` and `data: {job as JSON}`; of a job that was forgotten the data are "
            '`{"id": "…", "state": "removed"}`. A comment comes every 15 seconds.'
        )
        content = {"text/event-stream": {"schema": {"type": "string", "description": text}}}
    elif call.gives == "json":
        content = {"application/json": {"schema": ref(call.schema) if call.schema else {"type": "object"}}}
    elif call.gives == "bytes":
        content = {"*/*": {"schema": _BINARY}}
    else:
        content = {_TEXT_TYPES[call.gives]: {"schema": {"type": "string"}}}
    if call.schema == "Job" and call.status == 202:
        response["headers"] = {"Location": ref("Location", "headers")}
    return {**response, "content": content}
