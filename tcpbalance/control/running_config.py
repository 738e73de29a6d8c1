"""The operation of the API that shows the configuration as it runs."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.routes import ApiRoute


@frozen
class RunningConfigHandler:
    """Serves the requests.

    :param controls: have the configuration.
    """

    _controls: Controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/config", self._config)]

    def _config(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.shown_config().addCallback(ApiAnswer.of)
