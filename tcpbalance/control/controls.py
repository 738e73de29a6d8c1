"""What the admin side can ask of what serves, and have it do; the same for one process and for several."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from tcpbalance.config.models import Config
from tcpbalance.control.view import View
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

    def set_admin_state(self, pool: str, backend: str, state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, in all processes.

        :raises ApiError: there is no such pool, or it has no such backend.
        """
        ...
