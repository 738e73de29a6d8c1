"""One connection's slot on a backend, from dialling to its end."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from tcpbalance.config.outlier import MIN_FAILURE
from tcpbalance.pool.affinity import Affinity, StickyEntry
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.connection_queue import ConnectionQueue
from tcpbalance.pool.cooldown import CooldownLog
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.reported_ejections import ReportedEjections


@define
class SlotObservers:
    """What takes note of how the connections of one pool go; all slots share it, and the pool may change it.

    :ivar clock: the clock.
    :ivar connect_timeout: seconds; a failed attempt counts as one that took at least as long.
    :ivar affinity: remembers clients, None where none are.
    :ivar ejections: learns of failures and of first bytes; None where no backend is ejected.
    :ivar cooldown: seconds for which a backend is passed over after a failed dial, where none is ejected.
    :ivar cooldowns: takes note of each that begins.
    :ivar queue: where connections wait; None where none may.
    :ivar on_release: called with the backend of each slot that is given back; None where none waits for one.
    """

    clock: Callable[[], float]
    connect_timeout: float
    affinity: Affinity | None
    ejections: Ejections | ReportedEjections | None
    cooldown: float
    cooldowns: CooldownLog
    queue: ConnectionQueue | None
    on_release: Callable[[Backend], None] | None = None


class Slot:
    """Counts as one of the backend's active connections until it is released.

    Its holder reports how dialling went, and calls `release` once the connection is over or has failed.
    """

    __slots__ = ("_client", "_held", "_observers", "_sticky_entry", "backend")

    def __init__(self, observers: SlotObservers, backend: Backend, client: bytes | None) -> None:
        self.backend = backend
        self._observers = observers
        self._client = client
        self._sticky_entry: StickyEntry | None = None
        self._held = True
        backend.active += 1

    @property
    def is_bound(self) -> bool:
        """Whether affinity binds the client to this backend."""
        affinity, client = self._observers.affinity, self._client
        return affinity is not None and client is not None and self.backend in affinity.lookup(client)

    def connected(self, seconds: float) -> None:
        """The backend accepted: remember how fast, and that this client belongs to it.

        :param seconds: what connecting took.
        """
        observers, backend = self._observers, self.backend
        stats = backend.stats
        stats.connections_total += 1
        stats.connect_time.note(seconds)
        backend.connect_time.observe(seconds, observers.clock())
        backend.cooldown_until = 0.0
        if (
            observers.affinity is not None
            and self._client is not None
            and self._held
            and self._sticky_entry is None
            and not backend.removed
        ):
            self._sticky_entry = observers.affinity.opened(self._client, backend)

    def reused(self) -> None:
        """A connection that was open already serves the client, which belongs to this backend from now on."""
        affinity, backend, client = self._observers.affinity, self.backend, self._client
        backend.stats.reused_connections += 1
        if affinity is not None and client is not None and not backend.removed:
            self._sticky_entry = affinity.opened(client, backend)

    def took(self, seconds: float, noticeable: float) -> None:
        """Learn how long the network and the backend took to connect, our own loop aside.

        :param noticeable: seconds up to which that says nothing about the backend.
        """
        if self._observers.ejections is not None:
            self._observers.ejections.connected(self.backend, seconds, noticeable)

    def answered(self) -> None:
        """The backend's first byte has come."""
        if self._observers.ejections is not None:
            self._observers.ejections.answered(self.backend)

    def responded(self, status: int) -> None:
        """The head of a response has come: the backend serves, or has failed by its status."""
        ejections = self._observers.ejections
        if ejections is None:
            return
        if status >= MIN_FAILURE and status in ejections.config.statuses:
            ejections.failed(self.backend, f"status {status}")
        else:
            ejections.answered(self.backend)

    def request_sent(self) -> None:
        """The last byte of a request has been sent; to be called where the pool times responses."""

    def request_unfinished(self) -> None:
        """The client has not sent all of the request that the backend gets; likewise."""

    def failed(self, seconds: float, cause: str) -> None:
        """The backend could not be reached, or ended the connection before its first byte.

        Where nothing else keeps traffic away from a backend that fails, others go first for a while. The
        average takes in no less than the pool's connect timeout: a refusal is quick, yet no merit.

        :param seconds: what the attempt took.
        :param cause: why, in a word or two.
        """
        observers, backend = self._observers, self.backend
        now = observers.clock()
        backend.connect_time.observe(max(seconds, observers.connect_timeout), now)
        if backend.removed:
            return
        if observers.ejections is not None:
            observers.ejections.failed(backend, cause)
            return
        begins = backend.cooldown_until <= now
        backend.cooldown_until = now + observers.cooldown
        if begins:
            backend.stats.cooldowns += 1
            observers.cooldowns.begins(backend, cause, observers.cooldown)
            if observers.queue is not None:
                observers.queue.ask_again()  # Clients that waited for this backend may go to another now.

    def release(self) -> None:
        """Give the slot back, to the first in the queue; further calls do nothing.

        The connection is closed by then: another one may be opened at once, here or by another process.
        """
        if not self._held:
            return
        self._held = False
        self.backend.active -= 1
        observers = self._observers
        if self._sticky_entry is not None and observers.affinity is not None:
            observers.affinity.closed(self._sticky_entry)
        if observers.on_release is not None:
            observers.on_release(self.backend)
