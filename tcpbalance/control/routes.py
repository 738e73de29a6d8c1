"""Which handler serves a request: by method and path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from urllib.parse import unquote

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest

Handler = Callable[[ApiRequest], ApiAnswer | Deferred[ApiAnswer]]
"""Serves a request; raises ApiError, or fails with it."""


@frozen
class ApiRoute:
    """One operation.

    :param method: ``"GET"`` and so on.
    :param path: a part in braces stands for something, such as ``/api/v1/pools/{pool}``.
    :param handler: see above.
    :param open: whether it is served without a token: it shows nothing of this balancer.
    """

    method: str
    path: str
    handler: Handler
    open: bool = False

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """Give what the parts in braces stand for; None where the path is another one."""
        own = self.path.split("/")
        if len(own) != len(parts):
            return None
        names: dict[str, str] = {}
        for wanted, part in zip(own, parts, strict=True):
            if wanted.startswith("{"):
                names[wanted.strip("{}")] = part
            elif wanted != part:
                return None
        return names


class ApiRoutes:
    """All operations.

    :param routes: no two of one method and path.
    """

    def __init__(self, routes: Iterable[ApiRoute]) -> None:
        self.routes = tuple(routes)

    def find(self, request: ApiRequest) -> tuple[ApiRoute, ApiRequest]:
        """Give what serves a request, and the request with the names in its path.

        :raises ApiError: there is no such path, or it has no such method.
        """
        parts = [unquote(part) for part in request.path.split("/")]
        found = {route.method: (route, names) for route, names in self._matches(parts)}
        method = "GET" if request.method == "HEAD" else request.method
        if method in found:
            route, names = found[method]
            return route, attrs.evolve(request, names=names)
        if found:
            allowed = ", ".join(sorted({*found, *(["HEAD"] if "GET" in found else [])}))
            raise ApiError(
                405,
                "method_not_allowed",
                f"{request.path[:200]} takes {allowed}, not {request.method[:20]}",
                {"allow": allowed},
            )
        raise ApiError(404, "no_such_path", f"there is no {request.path[:200]}{self._hint(request.path)}")

    def _matches(self, parts: list[str]) -> Iterable[tuple[ApiRoute, Mapping[str, str]]]:
        for route in self.routes:
            names = route.match(parts)
            if names is not None:
                yield route, names

    def _hint(self, path: str) -> str:
        near = get_close_matches(path[:200], {route.path for route in self.routes}, n=1)
        return f", did you mean {near[0]}?" if near else ", see /api/v1/openapi.json"
