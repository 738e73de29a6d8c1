"""The description of the API has all that there is to ask for, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from twisted.internet.task import Clock

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.events import Events
from tcpbalance.control.openapi import description
from tcpbalance.control.operations import operations
from tcpbalance.control.routes import ApiRoutes

METHODS = ("get", "post", "patch", "delete", "put")


class NoControls:
    """What operations are made with; none is asked for anything."""

    events = Events(Clock())


@pytest.fixture
def routes() -> ApiRoutes:
    controls: Any = NoControls()
    return operations(controls, {"version": "1.2.3"})


@pytest.fixture
def document() -> dict[str, Any]:
    return description("1.2.3")


def described(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def test_each_operation_is_described_and_nothing_else(routes: ApiRoutes, document: dict[str, Any]) -> None:
    # The dashboard is a page that asks the API.
    others = [route for route in routes.routes if route.path != "/" and "/dashboard/" not in route.path]
    served = sorted((route.method, route.path) for route in others)
    assert served == sorted((method, path) for method, path, _ in described(document))
    assert len(set(served)) == len(served)


def test_each_name_in_a_path_is_described(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        names = [parameter["name"] for parameter in item.get("parameters", ())]
        assert names == re.findall(r"{(\w+)}", path), path


def test_a_change_is_described_with_the_content_type_that_it_needs(document: dict[str, Any]) -> None:
    for method, path, operation in described(document):
        kinds = operation["requestBody"]["content"] if "requestBody" in operation else ()
        assert list(kinds) == ([] if method == "GET" else ["application/json"]), path


def test_all_schemas_are_valid_and_used(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used == set(schemas)


def test_it_is_served_without_a_token(routes: ApiRoutes, document: dict[str, Any]) -> None:
    route, request = routes.find(ApiRequest(method="GET", path="/api/v1/openapi.json"))
    answer = route.handler(request)
    assert isinstance(answer, ApiAnswer)
    assert json.loads(b"".join(answer.body)) == document
    assert route.open
