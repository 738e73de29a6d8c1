"""The operation of the API that explains what would become of a connection, or of a request."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.explain_query import read_explain_query
from tcpbalance.control.json_pieces import json_pieces
from tcpbalance.control.long_answers import LongAnswers
from tcpbalance.control.routes import ApiRoute


class ExplainHandlers:
    """Serves the requests.

    :param controls: what they ask.
    :param long_answers: bounds how many there are at a time: one names all backends of a pool.
    """

    def __init__(self, controls: Controls, long_answers: LongAnswers) -> None:
        self._controls = controls
        self._long_answers = long_answers

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/explain", self._explain)]

    def _explain(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        query = read_explain_query(request.query, self._controls.config.frontends)
        return self._long_answers.answer(lambda: self._controls.explain(query), json_pieces)
