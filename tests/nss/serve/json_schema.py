"""What JSON breaks a schema of the OpenAPI document: as much of JSON Schema as that document uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: dict[str, Any] = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}
KNOWN = {
    *("$ref", "oneOf", "type", "enum", "minimum", "maximum", "pattern", "required", "properties", "items"),
    *("additionalProperties", "minItems", "maxItems", "description", "format"),
}
"""Keywords that are looked at, or say nothing of what fits."""


def faults(value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Each place where a value does not fit, with what is wrong. Members that are not described are wrong, too.

    ``schemas``: those that references name.
    """
    assert set(schema) <= KNOWN, f"{where}: {set(schema) - KNOWN} is not looked at here"
    if "$ref" in schema:
        yield from faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, where)
        return
    if "oneOf" in schema:
        found = [list(faults(value, one, schemas, where)) for one in schema["oneOf"]]
        if [] not in found:
            yield from min(found, key=len)
        return
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not any(isinstance(value, _TYPES[name]) and isinstance(value, bool) == (name == "boolean") for name in types):
        yield f"{where}: {value!r} is no {' or '.join(types)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: {value!r} is out of its range"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{where}: {len(value)} items"
        for index, item in enumerate(value):
            yield from faults(item, schema["items"], schemas, f"{where}[{index}]")
    if isinstance(value, dict) and "properties" in schema:
        for name in {*schema["required"]} ^ {*value}:
            yield f"{where}.{name}: is missing" if name not in value else f"{where}.{name}: is not described"
        for name in {*schema["properties"]} & {*value}:
            yield from faults(value[name], schema["properties"][name], schemas, f"{where}.{name}")
    if isinstance(value, dict) and "additionalProperties" in schema:
        for name, item in value.items():
            yield from faults(item, schema["additionalProperties"], schemas, f"{where}.{name}")
