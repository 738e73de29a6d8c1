"""The operation of the API that shows the configuration as it runs."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.json_pieces import json_pieces
from tcpbalance.control.long_answers import LongAnswers
from tcpbalance.control.routes import ApiRoute


@frozen
class RunningConfigHandler:
    """Serves the requests.

    :param controls: have the configuration.
    :param long_answers: bounds how many there are at a time: one has all backends.
    """

    _controls: Controls
    _long_answers: LongAnswers

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/config", self._config)]

    def _config(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._long_answers.answer(self._controls.shown_config, json_pieces)
