"""One connection's place on a backend, from dialling to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcpbalance.pool.affinity import StickyEntry
from tcpbalance.pool.backend import Backend

if TYPE_CHECKING:
    from tcpbalance.pool.pool import Pool

COOLDOWN = 10.0
"""Seconds for which a backend without health checks and outlier detection is passed over after a failed dial;
nginx's default ``fail_timeout``. A restarted server is found again soon, and few clients wait for one that is
dead."""


SHORT_COOLDOWN = 1.0
"""Seconds for which one with health checks is: they will find out soon, and until then it should neither get
all those whom others have no room for, nor be kept from those who have nobody else."""


class Slot:
    """Counts as one of the backend's active connections until it is released.

    Whoever took it tells how dialling went, and calls `release` once the connection is over or has failed.
    """

    __slots__ = ("_client", "_held", "_pool", "_sticky_entry", "backend")

    def __init__(self, pool: Pool, backend: Backend, client: bytes | None) -> None:
        self.backend = backend
        self._pool = pool
        self._client = client
        self._sticky_entry: StickyEntry | None = None
        self._held = True
        backend.active += 1

    def connected(self, seconds: float) -> None:
        """The backend accepted: remember how fast, and that this client belongs to it.

        :param seconds: what connecting took.
        """
        pool, backend = self._pool, self.backend
        backend.connect_time.observe(seconds, pool.clock())
        backend.cooldown_until = 0.0
        if (
            pool.affinity is not None
            and self._client is not None
            and self._held
            and self._sticky_entry is None
        ):
            self._sticky_entry = pool.affinity.opened(self._client, backend)

    def took(self, seconds: float, noticeable: float) -> None:
        """Learn how long the network and the backend took to connect, our own loop aside.

        :param noticeable: seconds up to which that says nothing about the backend.
        """
        if self._pool.ejections is not None:
            self._pool.ejections.connected(self.backend, seconds, noticeable)

    def answered(self) -> None:
        """The backend's first byte has come."""
        if self._pool.ejections is not None:
            self._pool.ejections.answered(self.backend)

    def failed(self, seconds: float, cause: str) -> None:
        """The backend could not be reached, or broke off before its first byte.

        Where nothing else keeps traffic away from a backend that fails, others go first for a while. The
        average takes in no less than the pool's connect timeout: a refusal is quick, yet no merit.

        :param seconds: what the attempt took.
        :param cause: why, in a word or two.
        """
        pool, backend = self._pool, self.backend
        now = pool.clock()
        backend.connect_time.observe(max(seconds, pool.connect_timeout), now)
        if pool.ejections is not None:
            pool.ejections.failed(backend, cause)
        else:
            rest = SHORT_COOLDOWN if pool.checked else COOLDOWN
            if backend.cooldown_until <= now:
                pool.cooldowns.begins(backend, cause, rest)
                if pool.queue is not None:
                    pool.queue.ask_again()  # Clients that waited for this backend may go to another now.
            backend.cooldown_until = now + rest

    def release(self) -> None:
        """Give the place back, to the first in the queue; further calls do nothing."""
        if not self._held:
            return
        self._held = False
        self.backend.active -= 1
        if self._sticky_entry is not None and self._pool.affinity is not None:
            self._pool.affinity.closed(self._sticky_entry)
        if self._pool.queue:
            self._pool.serve_queue()
