"""Which backends of a pool may have new connections: health, ejection and the admin state summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from twisted.logger import Logger

from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.members import Members

_PANIC = "pool {pool}: {count} of {of} backends available, below the panic threshold; health is ignored"
_NONE_LEFT = "pool {pool}: no backend left: {states}"
_AGAIN = "pool {pool}: {count} of {of} backends available again"
_CALM = "pool {pool}: {count} of {of} backends available; health is used again"


class Availability:
    """Keeps ``available`` of the backends, and decides when so few are that health is ignored.

    A backend is eligible while it is up, not ejected, and its operator wants it to serve. Those that are
    eligible are available. Ejection is a guess: where none is eligible, those that are ejected and up are
    available as well.

    :param pool: the pool's name, for the log.
    :param members: the backends, and below how many eligible ones health and ejection are ignored.
    :ivar panic_is_news: whether `report_panic` has something to log.
    """

    _log = Logger()

    def __init__(self, pool: str, members: Members) -> None:
        self._pool = pool
        self._reported_panic = False
        self._reported_none_left = False
        self._is_in_use = False
        self.adopt(members)

    def adopt(self, members: Members) -> None:
        """Follow other members of the pool from now on."""
        self._members = members
        self.update()

    def update(self) -> None:
        """Take note that a fact about a backend has changed."""
        backends = self._members.backends
        self._eligible = sum(map(_is_eligible, backends))
        self._panics = self._eligible < self._members.panic_below
        self.panic_is_news = self._is_in_use and self._panics != self._reported_panic
        for backend in backends:
            serves = self._panics or (backend.up and (not backend.ejected or not self._eligible))
            backend.available = serves and backend.admin_state is AdminState.READY
            backend.available_to_sticky = serves and backend.admin_state is not AdminState.MAINTENANCE

    @contextmanager
    def as_if_readmitted(self, ejected: Sequence[Backend], now: float) -> Iterator[Sequence[Backend]]:
        """Have backends be as they would be if some were no longer ejected, for the time of the block, which
        does nothing but ask, within one turn.

        :param now: by the pool's clock.
        :returns: those that become available by that.
        """
        available = self._made_available(ejected)
        since = [backend.available_since for backend in available]
        try:
            self._readmit_for_now(ejected, True)
            for backend in available:
                backend.available_since = now
            yield available
        finally:
            for backend, time in zip(available, since, strict=True):
                backend.available_since = time
            self._readmit_for_now(ejected, False)

    def _made_available(self, ejected: Sequence[Backend]) -> list[Backend]:
        """Give the backends that become available as these are readmitted, one after the other: none while
        so few are eligible that those which are ejected are available, too."""
        available, eligible = [], self._eligible
        for backend in ejected:
            if _would_be_eligible(backend):
                if eligible >= max(1, self._members.panic_below):
                    available.append(backend)
                eligible += 1
        return available

    def _readmit_for_now(self, ejected: Sequence[Backend], readmitted: bool) -> None:
        for backend in ejected:
            backend.ejected = not readmitted
        if ejected:
            self.update()

    def begin_to_report(self) -> None:
        """Log from now on what there is to report: the pool is in use."""
        self._is_in_use = True
        self.panic_is_news = self._panics != self._reported_panic
        self.report_none_left()

    def report_none_left(self) -> None:
        """Log once that no backend is available any more, or one is again; not before the first checks."""
        if not self._is_in_use:
            return
        backends = self._members.backends
        count = sum(backend.available for backend in backends)
        none_left = not count
        if none_left is self._reported_none_left or (none_left and any(b.awaits_check for b in backends)):
            return
        self._reported_none_left = none_left
        if none_left:
            states = Counter(backend.state for backend in backends)
            words = ", ".join(f"{number} {state}" for state, number in states.items())
            self._log.error(_NONE_LEFT, pool=self._pool, states=words or "it has none")
        else:
            self._log.info(_AGAIN, pool=self._pool, count=count, of=len(backends))

    @property
    def panics(self) -> bool:
        """Whether so few backends are eligible that health and ejection are ignored."""
        return self._panics

    def would_be_left(self, without: Backend) -> bool:
        """Whether any backend would be eligible without a certain one."""
        return self._eligible > _is_eligible(without)

    def report_panic(self) -> None:
        """Log once that a panic has begun or ended; when a connection comes, not while all backends wait for
        their first check."""
        if self.panic_is_news:
            self.panic_is_news = False
            self._reported_panic = self._panics
            message = _PANIC if self._panics else _CALM
            self._log.warn(message, pool=self._pool, count=self._eligible, of=len(self._members.backends))


def _is_eligible(backend: Backend) -> bool:
    return not backend.ejected and _would_be_eligible(backend)


def _would_be_eligible(backend: Backend) -> bool:
    """Whether a backend is eligible, ejection aside."""
    return backend.up and backend.admin_state is AdminState.READY
