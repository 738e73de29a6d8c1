"""The operations of the API that are about the clients whose connections are logged step by step."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tcpbalance.config import plain
from tcpbalance.config.addresses import Network
from tcpbalance.config.bounds import MAX_DEBUG_NETWORKS
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.backend_handlers import UNTIL_RELOAD
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.config_orders import with_debug_clients
from tcpbalance.control.config_refusals import change_config
from tcpbalance.control.controls import Controls
from tcpbalance.control.request_body import read_object
from tcpbalance.control.routes import ApiRoute
from tcpbalance.errors import SettingError

_DEBUG_CLIENTS = "debug_clients"


class DebugHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/debug_clients", self._show),
            ApiRoute("PUT", "/api/v1/debug_clients", self._set),
        ]

    def _show(self, request: ApiRequest) -> ApiAnswer:
        return ApiAnswer.of({_DEBUG_CLIENTS: self._networks})

    @property
    def _networks(self) -> list[str]:
        return [str(network) for network in self._controls.config.debug_clients]

    def _set(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        networks = _read_networks(read_object(request, (_DEBUG_CLIENTS,))[_DEBUG_CLIENTS])
        names = ", ".join(map(str, networks)) or "none"
        changed = log_change(request, f"sets {_DEBUG_CLIENTS} to {names}", lambda: self._change(networks))
        return changed.addCallback(lambda _: ApiAnswer.of({_DEBUG_CLIENTS: self._networks, **UNTIL_RELOAD}))

    def _change(self, networks: tuple[Network, ...]) -> Deferred[Any]:
        return change_config(self._controls, with_debug_clients(networks))


def _read_networks(value: Any) -> tuple[Network, ...]:
    if not isinstance(value, list) or len(value) > MAX_DEBUG_NETWORKS:
        raise ApiError(
            400, "bad_value", f"{_DEBUG_CLIENTS} must be a list of at most {MAX_DEBUG_NETWORKS} networks"
        )
    try:
        return plain.networks(value)
    except SettingError as error:
        raise ApiError(400, "bad_value", f"{_DEBUG_CLIENTS} {error}") from error
