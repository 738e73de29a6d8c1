"""The status of a backend, as one process finds it out and others follow."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.host_stats import ConnectTimes


@frozen
class BackendStatus:
    """The status of a backend, apart from what each process has for itself: its connections and its cooldown.

    :param up: see `Backend`, as of the five below.
    :param awaits_check: likewise.
    :param ejected: likewise.
    :param admin_state: likewise.
    :param cause: likewise.
    :param available_since: likewise; by the clock of all processes.
    """

    up: bool = True
    awaits_check: bool = False
    ejected: bool = False
    admin_state: AdminState = AdminState.READY
    cause: str = ""
    available_since: float = 0.0

    @classmethod
    def of(cls, backend: Backend) -> BackendStatus:
        """Give the status of a backend now."""
        return cls(
            backend.up,
            backend.awaits_check,
            backend.ejected,
            backend.admin_state,
            backend.cause,
            backend.available_since,
        )

    def serves_unlike(self, backend: Backend) -> bool:
        """Whether more than the reason and the time differs from the status of a backend now."""
        now = backend.up, backend.ejected, backend.admin_state
        return now != (self.up, self.ejected, self.admin_state)

    def apply_to(self, backend: Backend) -> None:
        """Give a backend this status; what the connections of an ejected one have shown counts no more."""
        if self.ejected and not backend.ejected:
            stats = backend.host_stats
            stats.failures = stats.slow = 0
            stats.times = ConnectTimes()
        backend.up, backend.awaits_check, backend.cause = self.up, self.awaits_check, self.cause
        backend.ejected, backend.admin_state = self.ejected, self.admin_state
        backend.available_since = self.available_since
