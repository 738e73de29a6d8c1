"""What the admin side can ask of what serves, and have it do; the same for one process and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from tcpbalance.config.models import Config
from tcpbalance.control.affinity import AffinityQuery
from tcpbalance.control.bans import BansQuery
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

    def bans(self, query: BansQuery) -> Deferred[dict[str, Any]]:
        """List the clients that are banned."""
        ...

    def ban(self, frontend: str, client: bytes, seconds: float) -> None:
        """Ban a client in all processes; of two bans, the later end counts.

        :param client: what it is known by; see ``clients.group``.
        :raises ApiError: there is no such frontend, or it has no limits on clients.
        """
        ...

    def lift_ban(self, frontend: str | None, client: bytes) -> Sequence[str]:
        """Ban a client no longer, in all processes.

        :param frontend: its name; None for all.
        :returns: the names of the frontends where the client was banned.
        :raises ApiError: there is no such frontend, or it has no limits on clients.
        """
        ...

    def affinity(self, query: AffinityQuery) -> Deferred[dict[str, Any]]:
        """List the clients that are remembered.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def forget_affinity(self, query: AffinityQuery) -> Deferred[int]:
        """Forget clients in all processes.

        :returns: of how many something was remembered; fails with ApiError where a process does not answer.
        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def set_admin_state(self, pool: str, backend: str, state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, in all processes.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...
