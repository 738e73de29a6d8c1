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
        self.check_method(request.method, request.path)
        found = self._by_method(request.path)
        if not found:
            raise ApiError(404, "no_such_path", f"there is no {request.path[:200]}{self._hint(request.path)}")
        route, names = found["GET" if request.method == "HEAD" else request.method]
        return route, attrs.evolve(request, names=names)

    def check_method(self, method: str, path: str) -> None:
        """Refuse a method that a path does not have; of a path that there is not, nothing is said.

        :raises ApiError: see above.
        """
        found = self._by_method(path)
        methods = {*found, *(["HEAD"] if "GET" in found else [])}
        if methods and method not in methods:
            allowed = ", ".join(sorted(methods))
            message = f"{path[:200]} takes {allowed}, not {method[:20]}"
            raise ApiError(405, "method_not_allowed", message, {"allow": allowed})

    def _by_method(self, path: str) -> dict[str, tuple[ApiRoute, Mapping[str, str]]]:
        parts = [unquote(part) for part in path.split("/")]
        matches = ((route, route.match(parts)) for route in self.routes)
        return {route.method: (route, names) for route, names in matches if names is not None}

    def _hint(self, path: str) -> str:
        near = get_close_matches(path[:200], {route.path for route in self.routes}, n=1)
        return f", did you mean {near[0]}?" if near else ", see /api/v1/openapi.json"
