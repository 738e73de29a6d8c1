"""Which backends of a pool may have new connections: health, ejection and the operator's orders summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twisted.logger import Logger

from tcpbalance.pool.backend import AdminState, Backend

_PANIC = "pool {pool}: {count} of {of} backends available, below the panic threshold; health is ignored"
_NOBODY = "pool {pool}: no backend left: {states}"
_AGAIN = "pool {pool}: {count} of {of} backends available again"
_CALM = "pool {pool}: {count} of {of} backends available; health is used again"


class Availability:
    """Keeps ``available`` of the backends, and decides when so few are that health is ignored.

    A backend is sound while all three facts speak for it: it is up, not ejected, and its operator wants it to
    serve. Those that are sound are available. Ejection is a guess: with nobody sound left, those that are
    ejected and up are available as well.

    :param pool: the pool's name, for the log.
    :param backends: at least one.
    :param panic_threshold: when less than this fraction of the backends is sound, health and ejection are
        ignored; 0: never.
    """

    _log = Logger("tcpbalance.pool.pool")

    def __init__(self, pool: str, backends: Sequence[Backend], panic_threshold: float) -> None:
        self._pool = pool
        self._backends = backends
        self._threshold = panic_threshold * len(backends)
        self._told = False
        self._told_nobody = False
        self.update()

    def update(self) -> None:
        """Take note that a fact about a backend has changed."""
        self._eligible = sum(map(_is_eligible, self._backends))
        self._panics = self._eligible < self._threshold
        for backend in self._backends:
            backend.available = backend.admin_state is AdminState.READY and self._trusts(backend)

    def tell_whether_any(self) -> None:
        """Log once that no backend is available any more, or one is again; not before the first checks."""
        count = sum(backend.available for backend in self._backends)
        nobody = not count
        if nobody is self._told_nobody or (nobody and any(b.awaits_check for b in self._backends)):
            return
        self._told_nobody = nobody
        if nobody:
            states = Counter(backend.state for backend in self._backends)
            words = ", ".join(f"{number} {state}" for state, number in states.items())
            self._log.error(_NOBODY, pool=self._pool, states=words)
        else:
            self._log.info(_AGAIN, pool=self._pool, count=count, of=len(self._backends))

    def takes_its_own(self, backend: Backend) -> bool:
        """Whether clients that belong to a backend may still come to it: also while it is drained."""
        return backend.available or (backend.admin_state is AdminState.DRAIN and self._trusts(backend))

    def would_be_left(self, without: Backend) -> bool:
        """Whether anybody would be sound without a certain one."""
        return self._eligible > _is_eligible(without)

    def tell(self) -> None:
        """Log that a panic has begun or ended, once; when it matters, not while all wait for their first
        check."""
        if self._panics != self._told:
            self._told = self._panics
            message = _PANIC if self._panics else _CALM
            self._log.warn(message, pool=self._pool, count=self._eligible, of=len(self._backends))

    def _trusts(self, backend: Backend) -> bool:
        return self._panics or (backend.up and (not backend.ejected or not self._eligible))


def _is_eligible(backend: Backend) -> bool:
    return backend.up and not backend.ejected and backend.admin_state is AdminState.READY
