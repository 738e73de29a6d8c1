"""A request's slot in a pool whose policy goes by how long responses take."""

from __future__ import annotations

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.slot import Slot, SlotObservers

_SERVER_ERROR = 500


class TimedSlot(Slot):
    """A slot that has its backend remember how long the head of a response took.

    The time runs from when the request can be sent, or from the end of its body where that comes later: the
    client may take its time for that. What is no merit does not lower the average: a request that ends
    without a response counts only where it has lasted longer than that, and so does one that gets 5xx, which
    is often quick. A backend that could not be reached, or has closed without a response, counts as with
    ``Slot.failed``.
    """

    __slots__ = ("_sent_at",)

    def __init__(self, observers: SlotObservers, backend: Backend, client: bytes | None) -> None:
        super().__init__(observers, backend, client)
        self._sent_at: float | None = None

    def connected(self, seconds: float) -> None:
        """See ``Slot``."""
        super().connected(seconds)
        self.request_sent()

    def reused(self) -> None:
        """See ``Slot``."""
        super().reused()
        self.request_sent()

    def request_sent(self) -> None:
        """See ``Slot``."""
        self._sent_at = self._observers.clock()

    def request_unfinished(self) -> None:
        """See ``Slot``."""
        self._sent_at = None

    def responded(self, status: int) -> None:
        """See ``Slot``."""
        super().responded(status)
        self._observe(is_merit=status < _SERVER_ERROR)

    def failed(self, seconds: float, cause: str) -> None:
        """See ``Slot``."""
        super().failed(seconds, cause)
        observers, self._sent_at = self._observers, None
        self.backend.response_time.observe(max(seconds, observers.connect_timeout), observers.clock())

    def release(self) -> None:
        """See ``Slot``."""
        self._observe(is_merit=False)
        super().release()

    def _observe(self, is_merit: bool) -> None:
        """Take in the time that has passed, once.

        :param is_merit: whether it may lower the average.
        """
        sent_at, self._sent_at = self._sent_at, None
        if sent_at is None:
            return
        now, average = self._observers.clock(), self.backend.response_time
        if is_merit or now - sent_at > average.value(now):
            average.observe(now - sent_at, now)
