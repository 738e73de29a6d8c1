"""The operation of the API that explains what would become of a connection."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.explain import read_explain_query
from tcpbalance.control.json_pieces import json_pieces
from tcpbalance.control.routes import ApiRoute


class ExplainHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/explain", self._explain)]

    def _explain(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        explained = self._controls.explain(read_explain_query(request.query))
        return explained.addCallback(lambda its: ApiAnswer(body=json_pieces(its)))
