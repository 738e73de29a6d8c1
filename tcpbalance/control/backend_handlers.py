"""The operations of the API that change backends."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from tcpbalance.config.draft import Mistakes
from tcpbalance.config.messages import must_be_one_of
from tcpbalance.config.plain import duration
from tcpbalance.config.pools import MAX_WEIGHT
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.config_orders import (
    ChangeConfig,
    read_backend,
    with_backend,
    with_weight,
    without_backend,
)
from tcpbalance.control.config_refusals import change_config, mistakes_text
from tcpbalance.control.controls import Controls
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute
from tcpbalance.errors import SettingError
from tcpbalance.pool.backend import AdminState

_STATES = [state.value for state in AdminState]

_KEYS_OF_CHANGE = ("state", "deadline", "weight")
_KEYS_OF_BACKEND = ("address", "name", "weight", "max_connections", "backup", "server_name", "state")

UNTIL_RESTART = {"lasts": "until the next restart"}
UNTIL_RELOAD = {"lasts": "until the next reload"}
"""The file is the truth: a reload goes back to what it says."""

UNTIL_EITHER = {"lasts": "the state until the next restart, the weight until the next reload"}


@frozen
class _BackendChange:
    """What a request changes of a backend; None for what stays.

    :param deadline: seconds that its open sessions may go on, infinite for no limit.
    """

    state: AdminState | None
    deadline: float | None
    weight: int | None

    @classmethod
    def of(cls, request: ApiRequest) -> _BackendChange:
        """Read it.

        :raises ApiError: it makes no sense.
        """
        wanted = read_object(request, _KEYS_OF_CHANGE)
        state = _state(wanted["state"]) if "state" in wanted else None
        deadline = _deadline(wanted["deadline"], state) if "deadline" in wanted else None
        weight = _weight(wanted["weight"]) if "weight" in wanted else None
        return cls(state, deadline, weight)

    @property
    def lasts(self) -> dict[str, str]:
        """Say how long it holds."""
        if self.weight is None:
            return UNTIL_RESTART
        return UNTIL_RELOAD if self.state is None else UNTIL_EITHER

    def __str__(self) -> str:
        state = [] if self.state is None else [f"state {self.state.value}"]
        deadline = [] if self.deadline is None else [_deadline_text(self.deadline)]
        weight = [] if self.weight is None else [f"weight {self.weight}"]
        return ", ".join([*state, *deadline, *weight])


@frozen
class BackendHandlers:
    """Serves the requests. The answer to a change has what is known without asking workers, which might be
    silent: the change is made.

    :param controls: what they ask.
    """

    _controls: Controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("PATCH", "/api/v1/pools/{pool}/backends/{backend}", self._change),
            ApiRoute("POST", "/api/v1/pools/{pool}/backends", self._add),
            ApiRoute("DELETE", "/api/v1/pools/{pool}/backends/{backend}", self._remove),
        ]

    def _change(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        pool, name = request.names["pool"], request.names["backend"]
        change = _BackendChange.of(request)

        def make() -> Deferred[Any]:
            self._controls.backend(pool, name)
            changed: Deferred[Any] = succeed(None)
            if change.weight is not None:
                changed = self._change_config(request, with_weight(pool, name, change.weight))
            return changed.addCallback(lambda _: self._set_state(request, change))

        changed = log_change(request, f"sets backend {name} of pool {pool} to {change}", make)
        return changed.addCallback(lambda _: self._show(request, name, change.lasts))

    def _set_state(self, request: ApiRequest, change: _BackendChange) -> None:
        pool, name = request.names["pool"], request.names["backend"]
        with self._controls.events.ordered_by(request.peer):
            if change.state is not None:
                self._controls.set_admin_state(pool, name, change.state, request.peer)
            if change.deadline is not None:
                self._controls.limit_drain(pool, name, change.deadline)

    def _add(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        pool = request.names["pool"]
        content = read_object(request, _KEYS_OF_BACKEND)
        self._controls.check_pool(pool)
        try:
            backend = read_backend(content, self._controls.configured.file.path.parent)
        except Mistakes as error:
            raise ApiError(400, "bad_backend", mistakes_text(error.mistakes)) from error
        change = with_backend(pool, backend)
        added = log_change(
            request,
            f"adds backend {backend.name} to pool {pool}",
            partial(self._change_config, request, change),
        )
        return added.addCallback(lambda _: self._show(request, backend.name, UNTIL_RELOAD, 201))

    def _remove(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        pool, name = request.names["pool"], request.names["backend"]

        def make() -> Deferred[Any]:
            self._controls.backend(pool, name)
            return self._change_config(request, without_backend(pool, name))

        removed = log_change(request, f"removes backend {name} of pool {pool}", make)
        return removed.addCallback(lambda _: ApiAnswer.of(UNTIL_RELOAD))

    def _change_config(self, request: ApiRequest, change: ChangeConfig) -> Deferred[Any]:
        order = partial(self._controls.events.ordered_by, request.peer)
        return change_config(self._controls, change, order)

    def _show(self, request: ApiRequest, backend: str, lasts: dict[str, str], status: int = 200) -> ApiAnswer:
        return ApiAnswer.of({**self._controls.backend(request.names["pool"], backend), **lasts}, status)


def _state(value: object) -> AdminState:
    if value not in _STATES:
        raise ApiError(400, "bad_state", f"state {must_be_one_of(value, _STATES)}")
    return AdminState(value)


def _deadline(value: Any, state: AdminState | None) -> float:
    if state in (None, AdminState.READY):
        raise ApiError(400, "bad_deadline", 'deadline goes with state "drain" or "maintenance"')
    if value is None:
        return inf
    try:
        return float(duration(value))
    except SettingError as error:
        raise ApiError(400, "bad_deadline", f"deadline {error}") from error


def _deadline_text(deadline: float) -> str:
    return "no deadline" if deadline == inf else f"deadline {deadline:g} s"


def _weight(value: Any) -> int:
    # JSON has one kind of numbers: 3.0 is as whole as 3.
    is_whole = type(value) is int or (type(value) is float and value.is_integer())
    if not is_whole or not 1 <= value <= MAX_WEIGHT:
        raise ApiError(400, "bad_weight", f"weight must be a whole number from 1 to {MAX_WEIGHT}")
    return int(value)
