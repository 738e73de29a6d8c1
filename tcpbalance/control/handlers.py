"""The operations of the API that show the state: each takes a request, and asks the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.finding import backend_in, named
from tcpbalance.control.routes import ApiRoute


class Handlers:
    """Serves the requests.

    :param controls: what they ask.
    :param about: what never changes of this balancer, such as its version.
    """

    def __init__(self, controls: Controls, about: Mapping[str, Any]) -> None:
        self._controls = controls
        self._about = about

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

    def _status(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(
                {
                    **self._about,
                    "access": "read_only" if request.reads_only else "full",
                    "config": self._controls.configured.shown(),
                    "processes": view["processes"],
                }
            )
        )

    def _view(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(ApiAnswer.of)

    def _frontends(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(lambda view: ApiAnswer.of({"frontends": view["frontends"]}))

    def _frontend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(named("frontend", view["frontends"], request.names["frontend"]))
        )

    def _pools(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(lambda view: ApiAnswer.of({"pools": view["pools"]}))

    def _pool(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(named("pool", view["pools"], request.names["pool"]))
        )

    def _backend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        names = request.names
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(backend_in(view, names["pool"], names["backend"]))
        )
