"""The operations of the API that are about affinity."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.affinity import Forgotten, read_affinity_query, read_what_to_forget
from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.controls import Controls
from tcpbalance.control.routes import ApiRoute


@frozen
class AffinityHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _controls: Controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/affinity", self._affinity),
            ApiRoute("DELETE", "/api/v1/affinity", self._forget),
        ]

    def _affinity(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.affinity(read_affinity_query(request.query)).addCallback(ApiAnswer.of)

    def _forget(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        query = read_what_to_forget(request.query)
        what = ", ".join(f"{name} {value}" for name, value in request.query.items())
        forget = partial(self._controls.forget_affinity, query)
        forgotten = log_change(request, f"forgets the affinity of {what}", forget, _outcome)
        return forgotten.addCallback(
            lambda its: ApiAnswer.of({"forgotten": its.count, "unanswered": list(its.unanswered)})
        )


def _outcome(forgotten: Forgotten) -> str:
    clients = f"{forgotten.count} {'client' if forgotten.count == 1 else 'clients'}"
    if not forgotten.unanswered:
        return f"done, {clients}"
    silent = ", ".join(f"worker {place} has not answered" for place in forgotten.unanswered)
    return f"done in part, {clients}: {silent}"
