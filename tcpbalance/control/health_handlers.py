"""The operation of the API that is about health checks."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.view import shown_check


@frozen
class HealthHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _controls: Controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/pools/{pool}/backends/{backend}/health", self._health)]

    def _health(self, request: ApiRequest) -> ApiAnswer:
        pool, backend = request.names["pool"], request.names["backend"]
        results = self._controls.checks(pool, backend)
        checks = [shown_check(result) for result in reversed(results)]
        return ApiAnswer.of({"pool": pool, "backend": backend, "checks": checks})
