"""Which operation of the API serves a request."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.routes import ApiRoute, ApiRoutes


def nothing(request: ApiRequest) -> ApiAnswer:
    return ApiAnswer()


ROUTES = ApiRoutes(
    [
        ApiRoute("GET", "/api/v1/pools", nothing),
        ApiRoute("GET", "/api/v1/pools/{pool}/backends/{backend}", nothing),
        ApiRoute("PATCH", "/api/v1/pools/{pool}/backends/{backend}", nothing),
    ]
)


def find(method: str, path: str) -> tuple[str, dict[str, str]]:
    route, named = ROUTES.find(ApiRequest(method=method, path=path))
    return route.method, dict(named.names)


def refused(method: str, path: str) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        find(method, path)
    return refusal.value


def test_parts_of_the_path_have_names() -> None:
    assert find("GET", "/api/v1/pools/web/backends/a") == ("GET", {"pool": "web", "backend": "a"})
    assert find("PATCH", "/api/v1/pools/web/backends/a")[0] == "PATCH"


def test_a_name_may_have_a_slash_that_is_escaped() -> None:
    assert find("GET", "/api/v1/pools/web/backends/unix:%2Frun%2Fa")[1]["backend"] == "unix:/run/a"


def test_head_is_served_as_get() -> None:
    assert find("HEAD", "/api/v1/pools") == ("GET", {})


def test_another_path_is_not_found_and_the_nearest_is_proposed() -> None:
    error = refused("GET", "/api/v1/pool")
    assert (error.status, error.code) == (404, "no_such_path")
    assert "did you mean /api/v1/pools?" in str(error)
    assert refused("GET", "/api/v1/pools/").status == 404


def test_another_method_is_refused_with_those_that_there_are() -> None:
    error = refused("DELETE", "/api/v1/pools/web/backends/a")
    assert (error.status, error.headers["allow"]) == (405, "GET, HEAD, PATCH")


@given(st.text(max_size=60))
def test_any_path_is_found_or_refused(path: str) -> None:
    with suppress(ApiError):
        find("GET", path)
