"""Holds answers of the admin side against its description: something else may answer, such as a proxy.

A key that is absent, or not described, may be that of another version.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from tcpbalance.control.openapi import DESCRIBED_PATHS
from tcpbalance.control.openapi_schemas import JSON, SCHEMAS, Schema

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def answer_schema(method: str, parts: Sequence[str]) -> Schema:
    """Find what an answer has to be like.

    :param parts: of the path, from its beginning.
    """
    for path, operations in DESCRIBED_PATHS.items():
        if method.lower() in operations and _matches(path, parts):
            responses = operations[method.lower()]["responses"]
            contents = [response["content"] for status, response in responses.items() if status.isdigit()]
            return next((content[JSON]["schema"] for content in contents if JSON in content), {})
    return {}


def _matches(path: str, parts: Sequence[str]) -> bool:
    known = path.strip("/").split("/")
    return all(
        own is not None and part is not None and (own == part or own.startswith("{"))
        for own, part in zip_longest(known, parts)
    )


def has_shape(value: Any, schema: Schema) -> bool:
    """Whether a value, and all in it, has the types that a schema has for it."""
    if "$ref" in schema:
        return has_shape(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(has_shape(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return isinstance(value, tuple({type(one) for one in schema["enum"]}))
    if "type" not in schema:
        return True
    return _has_type(value, schema["type"]) and _has_parts(value, schema)


def _has_type(value: Any, name: str | list[str]) -> bool:
    names = [name] if isinstance(name, str) else name
    allowed = tuple(each for one in names for each in _JSON_TYPES[one])
    # A truth value is a number to Python.
    return isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))


def _has_parts(value: Any, schema: Schema) -> bool:
    if isinstance(value, list):
        return all(has_shape(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        other = others if isinstance(others, dict) else {}
        return all(has_shape(one, known.get(key, other)) for key, one in value.items())
    return True
