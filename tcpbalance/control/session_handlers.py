"""The operations of the API that are about open sessions."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.controls import Controls
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import no_such_session
from tcpbalance.control.sessions_query import read_sessions_query


class SessionHandlers:
    """Serves the requests.

    :param controls: what they ask.
    """

    _log = Logger()

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/sessions", self._sessions),
            ApiRoute("GET", "/api/v1/sessions/{session}", self._session),
            ApiRoute("DELETE", "/api/v1/sessions/{session}", self._end_session),
        ]

    def _sessions(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        page = self._controls.sessions(read_sessions_query(request.query))
        return page.addCallback(lambda its: ApiAnswer(body=its.body()))

    def _session(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.session(_id(request)).addCallback(ApiAnswer.of)

    def _end_session(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.end_session(_id(request)).addCallback(self._has_ended, request)

    def _has_ended(self, session: dict[str, Any], request: ApiRequest) -> ApiAnswer:
        self._log.info(
            "admin: {peer} has ended session {id} of frontend {frontend}, client {client}",
            peer=request.peer,
            **{key: session[key] for key in ("id", "frontend", "client")},
        )
        return ApiAnswer.of(session)


def _id(request: ApiRequest) -> SessionId:
    found = SessionId.parse(request.names["session"])
    if found is None:
        raise no_such_session(request.names["session"])
    return found
