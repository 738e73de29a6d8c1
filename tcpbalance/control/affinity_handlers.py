"""The operations of the API that are about affinity."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.config.messages import one_line
from tcpbalance.control.affinity import read_affinity_query, read_what_to_forget
from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.routes import ApiRoute


class AffinityHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _log = Logger()

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/affinity", self._affinity),
            ApiRoute("DELETE", "/api/v1/affinity", self._forget),
        ]

    def _affinity(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.affinity(read_affinity_query(request.query)).addCallback(ApiAnswer.of)

    def _forget(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        forgotten = self._controls.forget_affinity(read_what_to_forget(request.query))
        return forgotten.addCallback(self._has_forgotten, request)

    def _has_forgotten(self, count: int, request: ApiRequest) -> ApiAnswer:
        what = ", ".join(f"{name} {value}" for name, value in request.query.items())
        self._log.info(
            "admin: {peer} has had the affinity of {count} clients forgotten: {what}",
            peer=request.peer,
            count=count,
            what=one_line(what),
        )
        return ApiAnswer.of({"forgotten": count})
