"""What a worker knows of the clients of its pools, which the supervisor keeps for the worker after it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from tcpbalance.event import OneTimeEvent
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity
from tcpbalance.steady_loop import SteadyLoop
from tcpbalance.workers.affinity_entries import (
    ENTRIES_A_MESSAGE,
    decode_entries,
    encode_entries,
    latest_first,
)
from tcpbalance.workers.backend_table import BackendTable
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import Content, PacedMessages

SEND_EVERY = 0.25
"""Seconds between two looks at what has changed: half of the time in which a file is written."""

WAIT_FOR_ENTRIES = 5.0
"""Seconds for which frontends wait for entries; those that come later are remembered beside the others."""

WAIT_FOR_LAST_ENTRIES = 2.0
"""Seconds for which the end of the pool waits until the last changes were taken."""


class SentAffinities:
    """The affinity of all pools of a worker.

    :param reactor: IReactorTime.
    :param say: sends the supervisor a message.
    """

    words: Collection[str] = ("entries", "entries_taken")

    def __init__(self, reactor: Any, say: Callable[[Content], object]) -> None:
        self._reactor = reactor
        self._say = say
        self._of: dict[str, SentAffinity] = {}

    def journal(self, pool: Pool, table: RecordedAffinity) -> SentAffinity:
        """See ``Following``."""
        made = self._of[pool.name] = SentAffinity(pool, table, self._reactor, self._say)
        return made

    def note(self, message: Message) -> None:
        """See ``WorkerConcern``."""
        match message.content:
            case {"entries": str(pool)}:
                if pool in self._of:
                    self._of[pool].take(message.content)
                self._say({"entries_taken": pool})
            case {"entries_taken": str(pool)} if pool in self._of:
                self._of[pool].were_taken()


class SentAffinity:
    """Gets what is known of the clients of one pool from the supervisor, and sends it what changes.

    It stands in the place of an ``AffinityJournal``.

    :param pool: the pool.
    :param table: what is known.
    :param reactor: IReactorTime.
    :param say: sends the supervisor a message.
    :ivar table: as given.
    :ivar restored: happens when what the supervisor knows is in the table, or is waited for no longer.
    """

    def __init__(
        self, pool: Pool, table: RecordedAffinity, reactor: Any, say: Callable[[Content], object]
    ) -> None:
        self.table = table
        self.restored: OneTimeEvent[None] = OneTimeEvent()
        self._pool = pool
        self._backends = BackendTable(pool)
        self._reactor = reactor
        self._say = say
        self._changed: list[bytes] = []
        self._paced = PacedMessages(reactor, say, self._take)
        self._loop = SteadyLoop(f"what has changed in affinity of pool {pool.name}", self._look, reactor)
        self._ended: OneTimeEvent[None] = OneTimeEvent()
        self._calls: list[IDelayedCall] = []
        self._ends = False

    def start(self) -> None:
        """Ask for what is known, and begin to send what changes."""
        self._settle_after(WAIT_FOR_ENTRIES, self.restored)
        self._say({"entries_wanted": self._pool.name})
        self._loop.start(SEND_EVERY, now=False)

    def stop(self) -> Deferred[None]:
        """Send what is left.

        :returns: fires when it was taken, after about two seconds at most.
        """
        if not self._ends:
            self._ends = True
            self.restored.settle(None)
            self._loop.stop()
            self._settle_after(WAIT_FOR_LAST_ENTRIES, self._ended)
            self._ended.wait().addCallback(lambda _: self._paced.close())
            if self._paced.is_idle:
                self._paced.taken()
            self._look_whether_ended()
        return self._ended.wait()

    def _settle_after(self, seconds: float, event: OneTimeEvent[None]) -> None:
        call = self._reactor.callLater(seconds, event.settle, None)
        event.wait().addCallback(lambda _: call.active() and call.cancel())

    def take(self, content: Content) -> None:
        """Take what the supervisor knows, or a part of it."""
        entries = decode_entries(self._backends, content)
        self.table.restore(latest_first(entries, self._pool.clock()))
        if content["last"]:
            self.restored.settle(None)

    def were_taken(self) -> None:
        """Take note that the supervisor has taken what was sent."""
        self._paced.taken()
        self._look_whether_ended()

    def _look_whether_ended(self) -> None:
        if self._ends and self._paced.is_idle:
            self._ended.settle(None)

    def _look(self) -> None:
        if self._paced.is_idle:
            self._paced.taken()

    def _take(self) -> Content | None:
        if not self._changed:
            changed = self.table.take_changes()
            # The latest are sent last, as they are remembered.
            self._changed = self.table.clients() if changed is None else changed
            self._changed.reverse()
        if not self._changed:
            return None
        clients = self._changed[: -ENTRIES_A_MESSAGE - 1 : -1]
        content = encode_entries(self.table, self._backends, clients)
        del self._changed[-content["count"] :]
        return {"entries": self._pool.name, **content}
