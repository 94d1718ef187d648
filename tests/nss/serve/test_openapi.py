"""The OpenAPI document: whole, and of what there is.

That it is one was seen by openapi-spec-validator, too, which is no requirement of the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from starlette.routing import Route

from nss.serve import api, docs_page, metrics, openapi
from nss.serve.browser import BrowserModels
from nss.serve.calls import CALLS
from nss.serve.field_table import FIELDS, OURS, REFUSED
from nss.serve.fields import parse_order
from nss.serve.limits import Limits
from nss.serve.negotiation import MEDIA_TYPES, NETWORK_MASK
from nss.serve.openapi_schemas import PROBLEMS

DOCUMENT = openapi.document()
OPERATIONS = {
    (method, path): operation for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
}

CONTRACT = {
    "/api/v1/models": {"get"},
    "/api/v1/remove": {"post"},
    "/api/v1/jobs": {"get", "post"},
    "/api/v1/jobs/{id}": {"get", "delete"},
    "/api/v1/jobs/{id}/result": {"get"},
    "/api/v1/jobs/{id}/photo": {"get"},
    "/api/v1/jobs/{id}/events": {"get"},
    "/api/v1/events": {"get"},
    "/api/v1/files": {"post"},
    "/api/v1/files/{id}": {"delete"},
    "/api/v1/browser": {"post"},
    "/metrics": {"get"},
    "/healthz": {"get"},
    "/": {"get"},
    "/site.json": {"get"},
    "/browser/{path}": {"get"},
    "/docs": {"get"},
    "/docs.css": {"get"},
    "/openapi.json": {"get"},
}


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """All objects of the document."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(item)


def resolve(pointer: str) -> Any:
    value: Any = DOCUMENT
    for key in pointer.removeprefix("#/").split("/"):
        value = value[key]
    return value


def methods_of(routes: list[Any]) -> dict[str, set[str]]:
    """The methods of each path, as the document has them."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        assert isinstance(route, Route), (
            f"{route} is no route of its own, and the document may not know what it answers"
        )
        path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
        methods.setdefault(path, set()).update(method.lower() for method in route.methods or () if method != "HEAD")
    return methods


def test_it_is_json_of_version_3_1() -> None:
    assert json.loads(json.dumps(DOCUMENT, allow_nan=False)) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["title"] == "nss-wgpu serve"


def test_each_reference_leads_somewhere_and_each_component_is_used() -> None:
    used = {part["$ref"] for part in parts(DOCUMENT) if "$ref" in part}
    for pointer in used:
        assert isinstance(resolve(pointer), dict), pointer
    kinds = ("schemas", "headers", "parameters", "responses")
    there = {f"#/components/{kind}/{name}" for kind in kinds for name in DOCUMENT["components"][kind]}
    # any path answers another method so, which no operation can say
    assert there - used == {"#/components/responses/Problem405"}


def test_it_has_each_call_of_the_contract() -> None:
    assert {path: set(methods) for path, methods in DOCUMENT["paths"].items()} == CONTRACT
    assert len(OPERATIONS) == len(CALLS)
    assert len({operation["operationId"] for operation in OPERATIONS.values()}) == len(CALLS)


def test_it_has_each_route_of_the_application() -> None:
    routes = methods_of(
        [
            *api.routes(MagicMock()),
            *docs_page.routes(),
            metrics.route(MagicMock()),
            *BrowserModels((), tuple, print).routes(),
        ]
    )
    # those that are no routes of a router
    assert routes | {path: {"get"} for path in ("/", "/site.json", "/healthz")} == CONTRACT


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_says_who_may_call_it_and_what_comes_back(method: str, path: str) -> None:
    operation = OPERATIONS[method, path]
    is_private = path.startswith("/api/") or path == "/metrics"
    assert operation["security"] == ([{"token": []}] if is_private else [])
    statuses = [int(status) for status in operation["responses"]]
    assert sum(status < 400 for status in statuses) == 1
    assert {400, 403, 421} <= set(statuses)
    assert (401 in statuses) == is_private
    assert operation["responses"].keys() >= {"204"} or "content" in operation["responses"][str(min(statuses))]
    declared = [parameter["name"] for parameter in operation.get("parameters", []) if parameter.get("in") == "path"]
    assert declared == re.findall(r"{(\w+)}", path)
    assert ("requestBody" in operation) == (
        path in ("/api/v1/remove", "/api/v1/jobs", "/api/v1/files") and method == "post"
    )
    if "requestBody" in operation:
        assert {408, 413, 415, 422, 503} <= set(statuses)


def test_each_status_is_answered_somewhere() -> None:
    there = {int(status) for operation in OPERATIONS.values() for status in operation["responses"]}
    assert there == {200, 201, 202, 204, *PROBLEMS} - {405}
    assert set(PROBLEMS) == {400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 421, 422, 500, 503}


def test_results_have_their_types_and_headers() -> None:
    for method, path in (("post", "/api/v1/remove"), ("get", "/api/v1/jobs/{id}/result")):
        success = OPERATIONS[method, path]["responses"]["200"]
        assert set(success["content"]) == {*MEDIA_TYPES.values(), NETWORK_MASK}
        assert set(success["headers"]) == {"Nss-Info", "Server-Timing", "Nss-Width", "Nss-Height"}
    assert set(OPERATIONS["post", "/api/v1/jobs"]["responses"]["202"]["headers"]) == {"Location"}
    headers = {status: resolve(f"#/components/responses/Problem{status}").get("headers", {}) for status in PROBLEMS}
    assert {status: set(names) for status, names in headers.items() if names} == {
        401: {"WWW-Authenticate"},
        405: {"Allow"},
        409: {"Retry-After"},
        503: {"Retry-After"},
    }


def test_the_fields_are_those_of_the_table() -> None:
    names = {
        path: [
            resolve(parameter["$ref"])["name"]
            for parameter in OPERATIONS["post", path]["parameters"]
            if "$ref" in parameter
        ]
        for path in ("/api/v1/jobs", "/api/v1/remove", "/api/v1/files")
    }
    assert names["/api/v1/jobs"] == list(FIELDS)
    assert names["/api/v1/remove"] == [name for name in FIELDS if name != "keep-photo"]
    assert names["/api/v1/files"] == ["name"]
    assert DOCUMENT["x-refused"] == REFUSED
    assert set(OURS) <= set(names["/api/v1/jobs"])


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.name)
def test_the_schema_of_a_field_is_what_is_parsed(field: Any) -> None:
    schema = field.schema()
    kinds: dict[str, Any] = {"number": (int, float), "integer": int, "boolean": bool, "string": str, "array": list}
    if field.default is not None:
        assert isinstance(schema["default"], kinds[schema["type"]])
    examples = [*schema.get("enum", []), *(schema[end] for end in ("minimum", "maximum") if end in schema)]
    examples += [schema["default"]] if "default" in schema else []
    for example in examples:
        query = [(field.name, str(example))]
        if field.name == "keep-gps":
            query.append(("keep-exif", "true"))
        if field.name == "mask-bits":
            query.append(("mask-only", "true"))
        if field.name == "quality":
            query.append(("format", "webp"))
        parse_order(query, None, limits=Limits(memory=1), file_of=MagicMock())


MEMBERS = {
    "Job": "id name state stage progress created expires model problem result info photo",
    "Info": "model backend device precision milliseconds stages notes coverage nothing_found box width height",
    "Model": "name title summary licence licence_url commercial default backend device precision size sha256",
    "Limits": "body_bytes pixels queue keep_seconds keep_count",
    "Result": "type bytes width height",
    "File": "id bytes seconds",
    "Problem": "title status detail",
}


@pytest.mark.parametrize(("name", "members"), MEMBERS.items())
def test_what_comes_back_is_described_as_the_contract_has_it(name: str, members: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert [*schema["properties"]] == schema["required"] == members.split(" ")
