"""The operations of the API that show the state: each takes a request, and asks the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.finding import check_frontend, named
from tcpbalance.control.json_pieces import json_pieces
from tcpbalance.control.openapi_schemas import JSON
from tcpbalance.control.parameters import check_parameters, read_parameter, read_truth
from tcpbalance.control.report import EVERYTHING, Scope
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.shared_views import SharedViews
from tcpbalance.control.view import View


@frozen
class Handlers:
    """Serves the requests.

    :param controls: what they ask.
    :param views: of the state.
    :param about: what never changes of this balancer, such as its version.
    """

    _controls: Controls
    _views: SharedViews
    _about: Mapping[str, Any]

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/status", self._status),
            ApiRoute("GET", "/api/v1/view", self._view),
            ApiRoute("GET", "/api/v1/frontends", self._frontends),
            ApiRoute("GET", "/api/v1/frontends/{frontend}", self._frontend),
            ApiRoute("GET", "/api/v1/pools", self._pools),
            ApiRoute("GET", "/api/v1/pools/{pool}", self._pool),
            ApiRoute("GET", "/api/v1/pools/{pool}/backends/{backend}", self._backend),
        ]

    def _show(self, scope: Scope, part: Callable[[View], object]) -> Deferred[ApiAnswer]:
        """Answer with a part of the view."""
        return self._views.answer(scope, lambda view: json_pieces(part(view)), JSON)

    def _status(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._show(
            Scope(frontends=(), pools=()),
            lambda view: {
                **self._about,
                "access": "read_only" if request.reads_only else "full",
                "config": self._controls.configured.shown(),
                "processes": view["processes"],
                "workers": view["workers"],
            },
        )

    def _view(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._show(EVERYTHING, lambda view: {"clock": round(monotonic(), 3), **view})

    def _frontends(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._show(
            Scope(pools=(), processes=False, counters=_counters(request)),
            lambda view: {"frontends": view["frontends"]},
        )

    def _frontend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        name = request.names["frontend"]
        check_frontend(list(self._controls.config.frontends), name)
        return self._show(
            Scope(frontends=(name,), pools=(), processes=False, counters=_counters(request)),
            lambda view: named("frontend", view["frontends"], name),
        )

    def _pools(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._show(
            Scope(frontends=(), processes=False, counters=_counters(request)),
            lambda view: {"pools": view["pools"]},
        )

    def _pool(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        name = request.names["pool"]
        self._controls.check_pool(name)
        return self._show(
            Scope(frontends=(), pools=(name,), processes=False, counters=_counters(request)),
            lambda view: named("pool", view["pools"], name),
        )

    def _backend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        pool, name = request.names["pool"], request.names["backend"]
        self._controls.backend(pool, name)
        return self._show(
            Scope((), (pool,), name, processes=False, counters=_counters(request)),
            lambda view: named("backend", named("pool", view["pools"], pool)["backends"], name),
        )


def _counters(request: ApiRequest) -> bool:
    """Whether counters are asked for, for which workers are."""
    check_parameters(request.query, ("counters",))
    return read_parameter(request.query, "counters", read_truth, True)
