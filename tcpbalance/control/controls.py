"""What the admin side can ask of what serves, and have it do; the same for one process and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from tcpbalance.config.models import Config
from tcpbalance.control.affinity import AffinityQuery, Forgotten
from tcpbalance.control.bans import Ban, BansQuery
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.control.events import Events
from tcpbalance.control.explain_query import ExplainQuery
from tcpbalance.control.reloading import ConfigState
from tcpbalance.control.report import EVERYTHING, Scope
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import SessionsPage
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.view import View
from tcpbalance.health.history import CheckResult
from tcpbalance.pool.backend import AdminState


class Controls(Protocol):
    """A balancer, or a supervisor with its workers.

    :ivar config: that is in use.
    :ivar configured: what there is to know of its file.
    :ivar events: what has happened lately.
    """

    @property
    def events(self) -> Events: ...

    @property
    def configured(self) -> ConfigState: ...

    @property
    def config(self) -> Config: ...

    def view(self, scope: Scope = EVERYTHING) -> Deferred[View]:
        """Look at the state, which is of one configuration.

        :param scope: the part of it that is asked for.
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

        :returns: what it was before; fails with ApiError where there is none of this id, or it is not known
            whether there is, because a process does not answer.
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

    def ban(self, frontend: str | None, banned: bytes, seconds: float, *, replace: bool) -> Sequence[Ban]:
        """Ban a client or a network in all processes.

        :param frontend: its name; None for all.
        :param banned: what it is known by; see ``bans.read_banned``.
        :param replace: whether the end of an earlier ban by an operator does not count any more; else the
            later one does.
        :returns: the ban that ends last at each of the frontends, this one or one by its limits.
        :raises ApiError: there is no such frontend, or too much is banned there.
        """
        ...

    def lift_ban(self, frontend: str | None, banned: bytes, by: str | None) -> Sequence[str]:
        """Ban a client or a network no longer, in all processes.

        :param frontend: its name; None for all.
        :param by: by what it is banned, see ``bans.BY_OPERATOR``; None for anything.
        :returns: the names of the frontends where it was banned.
        :raises ApiError: there is no such frontend.
        """
        ...

    def affinity(self, query: AffinityQuery) -> Deferred[dict[str, Any]]:
        """List the clients that are remembered.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def forget_affinity(self, query: AffinityQuery) -> Deferred[Forgotten]:
        """Forget clients in all processes.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def explain(self, query: ExplainQuery) -> Deferred[dict[str, Any]]:
        """Explain what would become of a connection, without changing anything.

        :returns: fails with ApiError where the process that would serve it does not answer.
        :raises ApiError: there is no such frontend.
        """
        ...

    def shown_config(self) -> Deferred[dict[str, Any]]:
        """Give the configuration that is in use as the file would write it, without what may be secret."""
        ...

    def set_admin_state(self, pool: str, backend: str, state: AdminState, by: str) -> None:
        """Let a backend serve, be drained, or be left alone, in all processes.

        :param by: the address of the client of the admin side that wants it.
        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def limit_drain(self, pool: str, backend: str, seconds: float) -> None:
        """Have the sessions of a backend that drains ended after a time, in all processes, whatever its pool
        says.

        :param seconds: infinite for no limit.
        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def check_names(self, frontend: str | None, pool: str | None, backend: str | None) -> None:
        """See whether there is what names say; None for any.

        :raises ApiError: there is no such frontend or pool, or the pool, or none, has such a backend.
        """
        ...

    def check_pool(self, pool: str) -> None:
        """See whether there is a pool.

        :raises ApiError: there is none.
        """
        ...

    def backend(self, pool: str, backend: str) -> dict[str, Any]:
        """Look at a backend: all that is known without its counters, which other processes have.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...

    def change_config(self, change: ChangeConfig, order: Order) -> Deferred[Any]:
        """Have all processes serve by another configuration, until the file is read again.

        :param change: gives it; called with the present one, perhaps more than once.
        :param order: see above.
        :returns: fires when they do; fails with TcpbalanceError where it makes no sense or cannot be used,
            and all stays as it was.
        """
        ...
