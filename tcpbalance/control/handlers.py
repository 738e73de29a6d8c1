"""The operations of the API: each takes a request, and asks the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.config.messages import must_be_one_of
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.finding import no_such
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.view import View
from tcpbalance.pool.backend import AdminState

_STATES = [state.value for state in AdminState]


class Handlers:
    """Serves the requests.

    :param controls: what they ask.
    :param about: what never changes of this balancer, such as its version.
    """

    _log = Logger()

    def __init__(self, controls: Controls, about: Mapping[str, Any]) -> None:
        self._controls = controls
        self._about = about

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/status", self._status),
            ApiRoute("GET", "/api/v1/frontends", self._frontends),
            ApiRoute("GET", "/api/v1/frontends/{frontend}", self._frontend),
            ApiRoute("GET", "/api/v1/pools", self._pools),
            ApiRoute("GET", "/api/v1/pools/{pool}", self._pool),
            ApiRoute("GET", "/api/v1/pools/{pool}/backends/{backend}", self._backend),
            ApiRoute("PATCH", "/api/v1/pools/{pool}/backends/{backend}", self._change_backend),
        ]

    def _status(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of({**self._about, "processes": view["processes"]})
        )

    def _frontends(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(lambda view: ApiAnswer.of({"frontends": view["frontends"]}))

    def _frontend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(_named("frontend", view["frontends"], request))
        )

    def _pools(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(lambda view: ApiAnswer.of({"pools": view["pools"]}))

    def _pool(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of(_named("pool", view["pools"], request))
        )

    def _backend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.view().addCallback(lambda view: ApiAnswer.of(_backend_of(view, request)))

    def _change_backend(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        wanted = read_object(request, ("state",))
        state = _state(wanted.get("state"))
        names = request.names
        self._controls.set_admin_state(names["pool"], names["backend"], state)
        self._log.info(
            "admin: {peer} has set backend {backend} of pool {pool} to {state}",
            peer=request.peer,
            backend=names["backend"],
            pool=names["pool"],
            state=state.value,
        )
        return self._controls.view().addCallback(
            lambda view: ApiAnswer.of({**_backend_of(view, request), "lasts": "until the next restart"})
        )


def _named(kind: str, those: list[dict[str, Any]], request: ApiRequest) -> dict[str, Any]:
    """Find what the path of a request names."""
    name = request.names[kind]
    for one in those:
        if one["name"] == name:
            return one
    raise no_such(kind, name, [one["name"] for one in those])


def _backend_of(view: View, request: ApiRequest) -> dict[str, Any]:
    return _named("backend", _named("pool", view["pools"], request)["backends"], request)


def _state(value: object) -> AdminState:
    if value not in _STATES:
        raise ApiError(400, "bad_state", f"state {must_be_one_of(value, _STATES)}")
    return AdminState(value)
