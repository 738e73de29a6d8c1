"""A frontend's limit of connections, or of requests, that several processes keep together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tcpbalance.pool.shared_load import WaitsHere
from tcpbalance.proxy.dry_run import DryRun, DryRunLimit
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import FULL, OpenSession, SessionRegistry
from tcpbalance.stats import SessionStats


class SharedLimit(Protocol):
    """The sessions or requests of one frontend in all processes; nothing is counted where no limit is known
    of."""

    def follow(self, count: Callable[[], int], here: WaitsHere | None = None) -> None:
        """Count from now on, for as long as the object of these is in use.

        :param count: a method that gives how many this process has.
        :param here: accepts clients when there may be more; None where none wait.
        """
        ...

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        ...

    def add(self) -> bool:
        """Count one more, unless there are as many as there may be.

        :returns: whether it was counted.
        """
        ...

    def add_beyond(self) -> None:
        """Count one more, however many there may be."""
        ...

    def remove(self) -> None:
        """Count one less, and have clients accepted that wait for that, here or in another process."""
        ...

    def offer(self) -> None:
        """Have clients accepted that wait, because there may be one more."""
        ...

    def wait(self, waits: bool) -> None:
        """Say whether this process accepts no clients until there may be more."""
        ...


class CountedRegistry(SessionRegistry):
    """Knows the open sessions of a frontend that several processes serve; they keep its limit together.

    A place is claimed before a client is accepted: so clients beyond the limit wait in the backlog, as they
    do where there is one process, and at no moment are there more sessions than there may be.

    :param shared: what all processes have.
    """

    def __init__(
        self,
        shared: SharedLimit,
        *args: Any,
        max_sessions: int | None = None,
        dry_run: DryRun | None = None,
        **others: Any,
    ) -> None:
        # The limit of all processes together stands in the place of its own.
        super().__init__(*args, max_sessions=None, dry_run=None, **others)
        self._shared = shared
        self._max_shared = max_sessions
        self._shared_dry_run = dry_run
        self._has_claim = False
        shared.follow(self._count_own, self)

    def _count_own(self) -> int:
        return len(self.sessions) + self._has_claim

    @property
    def _is_enforced(self) -> bool:
        return self._max_shared is not None and self._shared_dry_run is None

    @property
    def count(self) -> int:
        """See ``SessionRegistry``."""
        return self._shared.total if self._is_enforced else len(self.sessions)

    @property
    def total(self) -> int | None:
        """See ``SessionRegistry``."""
        return None if self._max_shared is None else self._shared.total

    @property
    def max_sessions(self) -> int | None:
        """See ``SessionRegistry``."""
        return self._max_shared if self._is_enforced else None

    def limit(self, max_sessions: int | None, dry_run: DryRun | None) -> None:
        """See ``SessionRegistry``."""
        self._max_shared, self._shared_dry_run = max_sessions, dry_run
        self._accept_again()

    # For what accepts clients

    def claim(self) -> bool:
        """See ``SessionRegistry``."""
        if self._has_claim or not self._is_enforced:
            return True
        self._has_claim = self._shared.add()
        if not self._has_claim:
            self._pause()
        return self._has_claim

    def give_up_claim(self) -> None:
        """See ``SessionRegistry``."""
        if self._has_claim:
            self._has_claim = False
            self._shared.remove()

    # For those that are open

    def add(self, session: OpenSession) -> None:
        """See ``SessionRegistry``."""
        if self._has_claim:
            self._has_claim = False
        else:
            self._shared.add_beyond()
        super().add(session)
        if self._max_shared is None:
            return
        if self._shared_dry_run is not None:
            if self._shared.total > self._max_shared:
                self._shared_dry_run.would_limit(session, DryRunLimit.CONNECTIONS)
        elif self._shared.full:
            self._pause()

    def remove(
        self,
        session: OpenSession,
        reason: EndReason,
        upstream: SessionStats | None,
        client_bytes: int,
        backend_bytes: int,
        lasted: float,
    ) -> None:
        """See ``SessionRegistry``."""
        super().remove(session, reason, upstream, client_bytes, backend_bytes, lasted)
        self._shared.remove()

    def forget(self, session: OpenSession) -> None:
        """See ``SessionRegistry``."""
        super().forget(session)
        self._shared.remove()

    # While there are as many as there may be

    def _pause(self) -> None:
        self.accept_pause.pause(FULL)
        self._shared.wait(True)

    def _accept_again(self) -> None:
        self._shared.wait(False)
        self.accept_pause.resume(FULL)

    def has_capacity(self) -> bool:
        """See ``WaitsHere``."""
        return not self._shared.full

    def serve_one(self) -> bool:
        """See ``WaitsHere``: accept the clients that wait, if there may be more sessions."""
        if not self.accept_pause.stands(FULL) or self._shared.full:
            return False
        self._accept_again()
        self.accept_pause.accept_now()
        if not self.accept_pause.stands(FULL):
            # None waits here; in another process there may be one.
            self._shared.offer()
        return True
