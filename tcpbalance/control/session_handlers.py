"""The operations of the API that are about open sessions."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.changes_log import log_change
from tcpbalance.control.controls import Controls
from tcpbalance.control.long_answers import LongAnswers
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import SessionsPage, no_such_session
from tcpbalance.control.sessions_query import read_sessions_query


@frozen
class SessionHandlers:
    """Serves the requests.

    :param controls: what they ask.
    :param long_answers: bounds how many pages there are at a time.
    """

    _controls: Controls
    _long_answers: LongAnswers

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [
            ApiRoute("GET", "/api/v1/sessions", self._sessions),
            ApiRoute("GET", "/api/v1/sessions/{session}", self._session),
            ApiRoute("DELETE", "/api/v1/sessions/{session}", self._end_session),
        ]

    def _sessions(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        query = read_sessions_query(request.query)

        def check(page: SessionsPage) -> SessionsPage:
            # Sessions go on without a frontend, pool or backend that was removed: what they name is right.
            if not page.lines and query.after is None:
                self._controls.check_names(query.frontend, query.pool, query.backend)
            return page

        return self._long_answers.answer(
            lambda: self._controls.sessions(query).addCallback(check), lambda page: page.body()
        )

    def _session(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        return self._controls.session(_id(request)).addCallback(ApiAnswer.of)

    def _end_session(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        session_id = _id(request)
        ended = log_change(
            request,
            f"ends session {session_id}",
            partial(self._controls.end_session, session_id),
            lambda before: f"done, frontend {before['frontend']}, client {before['client']}",
        )
        return ended.addCallback(ApiAnswer.of)


def _id(request: ApiRequest) -> SessionId:
    found = SessionId.parse(request.names["session"])
    if found is None:
        raise no_such_session(request.names["session"])
    return found
