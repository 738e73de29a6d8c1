"""Answers of the admin side have the types that their description has for them."""

from __future__ import annotations

from typing import Any

import pytest

from tcpbalance.cli.answer_shape import answer_schema, has_shape
from tcpbalance.control.openapi_schemas import COUNTERS, SCHEMAS, TEXT_OR_NULL, array, ref

POOLS = answer_schema("GET", ["api", "v1", "pools"])


def test_the_description_of_an_answer_is_found_by_its_path() -> None:
    assert list(POOLS["properties"]) == ["pools"]
    backend = ["api", "v1", "pools", "web", "backends", "a/b"]
    assert answer_schema("GET", backend) == ref("Backend")
    assert answer_schema("PATCH", backend) == ref("ChangedBackend")
    assert answer_schema("POST", backend[:-1]) == ref("ChangedBackend")
    for method, path in [("GET", ["metrics"]), ("GET", ["api", "v1"]), ("DELETE", ["api", "v1", "pools"])]:
        assert answer_schema(method, path) == {}


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        ({"pools": []}, POOLS, True),
        ({"pools": [{"name": "web", "more": 5}]}, POOLS, True),
        ({"pools": 5}, POOLS, False),
        ({"pools": [5]}, POOLS, False),
        ({"pools": [{"name": None}]}, POOLS, False),
        ({"pools": [{"backends": {}}]}, POOLS, False),
        ({"pools": [{"backends": [{"last_check": {"time": "t"}}]}]}, POOLS, True),
        ({"pools": [{"backends": [{"last_check": None}]}]}, POOLS, True),
        ({"pools": [{"backends": [{"last_check": 5}]}]}, POOLS, False),
        ({"pools": [{"backends": [{"state": []}]}]}, POOLS, False),
        ({"pools": [{"backends": [{"state": "new"}]}]}, POOLS, True),
        (True, {"type": "integer"}, False),
        (True, {"type": "boolean"}, True),
        (5, {"type": "number"}, True),
        (None, TEXT_OR_NULL, True),
        ({"a": 1}, COUNTERS, True),
        ({"a": "1"}, COUNTERS, False),
        ([1, ""], array({"type": "integer"}), False),
        (None, {"enum": ["allow", None]}, True),
        ("new", {"enum": ["allow", None]}, True),
        (5, {"enum": ["allow", None]}, False),
        (5, {}, True),
    ],
)
def test_types_are_held_against_it(value: Any, schema: Any, fits: bool) -> None:
    assert has_shape(value, schema) is fits


def test_all_types_of_the_description_are_known() -> None:
    for schema in SCHEMAS.values():
        assert has_shape({}, schema)
