"""What a worker knows of the clients of its pools, which the supervisor keeps for the worker after it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred

from tcpbalance.event import OneTimeEvent
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity
from tcpbalance.steady_loop import SteadyLoop
from tcpbalance.workers.affinity_entries import (
    decode_entries,
    encode_entries,
    latest_first,
    parts_that_fit,
)
from tcpbalance.workers.backend_table import BackendTable, first_that_fit
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
        self._begun: dict[SentAffinity, None] = {}
        self._ending: dict[SentAffinity, None] = {}
        self._wanted: dict[str, None] = {}
        self._paced = PacedMessages(reactor, say, self._take)
        self._loop = SteadyLoop("sending what has changed in affinity", self._paced.send_now, reactor)

    def journal(self, pool: Pool, table: RecordedAffinity) -> SentAffinity:
        """See ``Following``."""
        made = self._of[pool.name] = SentAffinity(pool, table, self._reactor, self)
        return made

    def begin(self, affinity: SentAffinity) -> None:
        """Ask for what is known of the clients of a pool, and send what changes."""
        if not self._begun:
            self._loop.start(SEND_EVERY, now=False)
        self._begun[affinity] = None
        self._wanted[affinity.pool.name] = None
        self._paced.wake()

    def end(self, affinity: SentAffinity) -> None:
        """Send what is left of a pool."""
        self._ending[affinity] = None
        self._paced.send_now()
        self._forget_ended()

    def forget(self, affinity: SentAffinity) -> None:
        """Send nothing more of a pool."""
        self._ending.pop(affinity, None)
        if affinity in self._begun:
            del self._begun[affinity]
            if not self._begun:
                self._loop.stop()
        if self._of.get(affinity.pool.name) is affinity:
            del self._of[affinity.pool.name]

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"entries": list(parts)}:
                try:
                    for part in parts:
                        if part["pool"] in self._of:
                            self._of[part["pool"]].take(part)
                finally:
                    self._say({"entries_taken": True})
            case {"entries_taken": _}:
                self._paced.taken()
                self._forget_ended()

    def _take(self) -> Content | None:
        if self._wanted:
            names = first_that_fit(self._wanted)
            for name in names:
                del self._wanted[name]
            return {"entries_wanted": names}
        parts = parts_that_fit(affinity.part for affinity in self._begun)
        return {"entries": parts} if parts else None

    def _forget_ended(self) -> None:
        """Once all was taken, what ends has ended."""
        if self._paced.is_idle:
            for affinity in list(self._ending):
                affinity.ended.settle(None)


class SentAffinity:
    """Gets what is known of the clients of one pool from the supervisor, and sends it what changes.

    It stands in the place of an ``AffinityJournal``.

    :param pool: the pool.
    :param table: what is known.
    :param reactor: IReactorTime.
    :param affinities: sends, and asks.
    :ivar pool: as given.
    :ivar table: as given.
    :ivar restored: happens when what the supervisor knows is in the table, or is waited for no longer.
    :ivar ended: happens when all was taken, or is waited for no longer.
    """

    def __init__(self, pool: Pool, table: RecordedAffinity, reactor: Any, affinities: SentAffinities) -> None:
        self.pool = pool
        self.table = table
        self.restored: OneTimeEvent[None] = OneTimeEvent()
        self.ended: OneTimeEvent[None] = OneTimeEvent()
        self._backends = BackendTable(pool)
        self._reactor = reactor
        self._affinities = affinities
        self._changed: list[bytes] = []
        self._begins_anew = False
        self._ends = False

    def start(self) -> None:
        """Ask for what is known, and begin to send what changes."""
        self._settle_after(WAIT_FOR_ENTRIES, self.restored)
        self._affinities.begin(self)

    def stop(self) -> Deferred[None]:
        """Send what is left.

        :returns: fires when it was taken, after about two seconds at most.
        """
        if not self._ends:
            self._ends = True
            self.restored.settle(None)
            self._settle_after(WAIT_FOR_LAST_ENTRIES, self.ended)
            self.ended.wait().addCallback(lambda _: self._affinities.forget(self))
            self._affinities.end(self)
        return self.ended.wait()

    def _settle_after(self, seconds: float, event: OneTimeEvent[None]) -> None:
        call = self._reactor.callLater(seconds, event.settle, None)
        event.wait().addCallback(lambda _: call.active() and call.cancel())

    def take(self, part: Content) -> None:
        """Take what the supervisor knows, or a part of it; the rest may come while the pool serves."""
        entries = decode_entries(self._backends, part)
        self.table.restore(latest_first(entries, self.pool.clock()))
        if part["opens"]:
            self.restored.settle(None)

    def part(self, max_clients: int) -> Content | None:
        """Give what has changed, of some clients; None where there is nothing.

        :param max_clients: of how many at most.
        """
        if not self._changed:
            changed = self.table.take_changes()
            # The latest are sent last, as they are remembered.
            self._begins_anew = changed is None
            self._changed = self.table.clients() if changed is None else changed
            self._changed.reverse()
        if not self._changed and not self._begins_anew:
            return None
        clients = self._changed[: -max_clients - 1 : -1]
        content = encode_entries(self.table, self._backends, clients)
        del self._changed[len(self._changed) - content["count"] :]
        content["anew"], self._begins_anew = self._begins_anew, False
        return content
