"""What the admin side can ask of what serves, and have it do; the same for one process and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from tcpbalance.config.models import Config
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import SessionsPage
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.view import View
from tcpbalance.health.history import CheckResult
from tcpbalance.pool.backend import AdminState


class Controls(Protocol):
    """A balancer, or a supervisor with its workers.

    :ivar config: that is in use.
    """

    @property
    def config(self) -> Config: ...

    def view(self) -> Deferred[View]:
        """Look at everything.

        :returns: fails with ApiError where a part of it cannot be had.
        """
        ...

    def sessions(self, query: SessionsQuery) -> Deferred[SessionsPage]:
        """List open sessions.

        :returns: fails with ApiError where a part of them cannot be had.
        """
        ...

    def session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """Look at one open session.

        :returns: fails with ApiError where there is none of this id.
        """
        ...

    def end_session(self, session_id: SessionId) -> Deferred[dict[str, Any]]:
        """End an open session.

        :returns: what it was before; fails with ApiError where there is none of this id.
        """
        ...

    def checks(self, pool: str, backend: str) -> Sequence[CheckResult]:
        """Give the last results of the checks of a backend, the last one last.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def set_admin_state(self, pool: str, backend: str, state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, in all processes.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...
