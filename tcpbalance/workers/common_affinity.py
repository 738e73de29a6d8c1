"""What all workers know of the clients of their pools: the supervisor keeps it, and the pool's file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from math import inf
from typing import Any

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.client import IPV4_PREFIX, IPV6_PREFIX
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.affinity_entries import (
    ENTRIES_A_MESSAGE,
    MAX_ENTRIES_A_MESSAGE,
    decode_entries,
    encode_entries,
    parts_that_fit,
)
from tcpbalance.workers.backend_table import BackendTable
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.messages import Message
from tcpbalance.workers.owner import owners
from tcpbalance.workers.paced_messages import Content, PacedMessages
from tcpbalance.workers.shared_state import ToWorker

SERVES_WITHOUT_ENTRIES = 0.05
"""Seconds after which a worker serves although it does not know all clients yet, where no other one does."""

EXPIRE_AT_ONCE = 500
"""Clients of a worker that has ended which, in one turn, become clients that are connected no longer."""


class CommonAffinity:
    """State that the supervisor shares: a worker that begins knows the clients that it owns as the one before
    it did, or as they were before a restart.

    :param reactor: IReactorTime.
    :param pools: the supervisor's.
    :param workers: how many workers there are.
    """

    words: Collection[str] = ("entries", "entries_taken", "entries_wanted")

    def __init__(self, reactor: Any, pools: CommonPools, workers: int) -> None:
        self._reactor = reactor
        self._pools = pools
        self._workers = workers
        self._learners: dict[ToWorker, _Learner] = {}
        self._latest: dict[int, ToWorker] = {}
        pools.call_after_reloads(self._drop_removed)

    def greet(self, worker: ToWorker) -> None:
        """Nothing is sent before the worker wants it."""
        before = self._latest.get(worker.place)
        hurries = before is not None and before not in self._learners
        self._latest[worker.place] = worker
        self._learners[worker] = _Learner(self._reactor, worker, hurries)

    def _drop_removed(self) -> None:
        """Forget about pools that a reload has removed."""
        for learner in self._learners.values():
            learner.drop_removed(self._pools)

    def has_ended(self, worker: ToWorker) -> None:
        """Take note that the clients of a worker are not connected any more."""
        receiver = self._learners.pop(worker, None)
        if receiver is not None:
            receiver.paced.close()
            for name, clients in receiver.connected.items():
                self._expire(name, iter(clients))

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        receiver = self._learners.get(worker)
        match message.content:
            case {"entries_wanted": list(names)} if receiver is not None:
                for name in names:
                    self._send_entries(receiver, name)
                worker.send({"entries_taken": True})
            case {"entries": list(parts)} if receiver is not None:
                try:
                    for part in parts:
                        self._take(receiver, self._pools.find(part["pool"]), part)
                finally:
                    worker.send({"entries_taken": True})
            case {"entries_taken": _} if receiver is not None:
                receiver.paced.taken()

    # From a worker

    def _take(self, receiver: _Learner, pool: Pool | None, part: Content) -> None:
        if pool is None or pool.affinity is None:
            return
        others = [it for it in self._learners.values() if it is not receiver]
        # One that is to take the place of this one, or drains after it has been replaced.
        of_its_place = [it for it in others if it.place == receiver.place]
        if part["anew"]:
            # It may have forgotten some that it has had connected.
            self._expire(pool.name, iter(receiver.connected.pop(pool.name, {})))
        for client, entries in decode_entries(self._pools.table(pool), part).items():
            learners = others if _is_of_several(client, pool.affinity.config) else of_its_place
            if learners and entries and entries[0][0] not in pool.affinity.lookup(client):
                for learner in learners:
                    learner.add(pool.name, client)
            is_connected = any(expires == inf for _, expires in entries)
            receiver.note_connected(pool, client, is_connected)
            if is_connected or not any(it.has_connected(pool.name, client) for it in learners):
                pool.affinity.put(client, entries)

    def _expire(self, name: str, clients: Iterator[bytes]) -> None:
        """Let the time begin for which clients are remembered that are connected no longer, to no process."""
        pool = self._pools.find(name)
        some = list(islice(clients, EXPIRE_AT_ONCE))
        if some and pool is not None and pool.affinity is not None:
            learners = self._learners.values()
            pool.affinity.lose(c for c in some if not any(it.has_connected(name, c) for it in learners))
            self._reactor.callLater(0, self._expire, name, clients)

    # To a worker

    def _send_entries(self, receiver: _Learner, name: str) -> None:
        pool = self._pools.find(name)
        if pool is None:
            receiver.begin(_Nothing(name))
        else:
            self._pools.when_restored(pool).addCallback(lambda _: self._begin_to_send(receiver, pool))

    def _begin_to_send(self, receiver: _Learner, pool: Pool) -> None:
        if pool.affinity is None or not self._pools.has(pool):
            receiver.begin(_Nothing(pool.name))
            return
        clients = self._clients_of(receiver.place, pool.affinity)
        receiver.begin(_Sending(self._pools.table(pool), clients))

    def _clients_of(self, place: int, affinity: Affinity) -> Iterator[bytes]:
        """Give the clients that come to a worker, the most recently used first."""
        clients = affinity.latest_clients()
        come_to_several = [size for size in (4, 16) if _is_of_several(bytes(size), affinity.config)]
        for start in range(0, len(clients), MAX_ENTRIES_A_MESSAGE):
            some = clients[start : start + MAX_ENTRIES_A_MESSAGE]
            for client, its_place in zip(some, owners(some, self._workers), strict=True):
                if its_place == place or len(client) in come_to_several:
                    yield client


class _Learner:
    """What one worker is to know of clients.

    :param reactor: IReactorTime.
    :param worker: the worker.
    :param hurries: whether clients wait until it serves, because the one before it has ended.
    :ivar place: that of the worker.
    :ivar paced: sends it.
    :ivar connected: its own clients that are connected, by the names of pools, the latest last.
    """

    def __init__(self, reactor: Any, worker: ToWorker, hurries: bool) -> None:
        self.place = worker.place
        self.connected: dict[str, dict[bytes, None]] = {}
        self._reactor = reactor
        self._hurries = hurries
        self._begun_at: float | None = None
        self._of: dict[str, _Sending | _Nothing] = {}
        self._unsent: dict[str, None] = {}
        self._serves = False  # as far as that depends on entries
        self.paced = PacedMessages(reactor, worker.send, self._take)

    def has_connected(self, pool: str, client: bytes) -> bool:
        """Whether the worker has a client connected."""
        return client in self.connected.get(pool, ())

    def note_connected(self, pool: Pool, client: bytes, is_connected: bool) -> None:
        """Take note whether the worker has a client connected; it knows no more of them than it may."""
        connected = self.connected.setdefault(pool.name, {})
        connected.pop(client, None)
        if is_connected:
            connected[client] = None
            if pool.affinity is not None and len(connected) > pool.affinity.config.max_entries:
                del connected[next(iter(connected))]

    def drop_removed(self, pools: CommonPools) -> None:
        """Forget about pools that there are no more."""
        self.connected = {name: its for name, its in self.connected.items() if pools.find(name) is not None}
        self._of = {name: its for name, its in self._of.items() if its.is_of(pools.find(name))}
        self._unsent = {name: None for name in self._unsent if name in self._of}

    def begin(self, sending: _Sending | _Nothing) -> None:
        """Begin to send what is known of the clients of a pool."""
        if self._begun_at is None:
            self._begun_at = self._reactor.seconds()
        self._of[sending.pool] = sending
        self._unsent[sending.pool] = None
        self.paced.wake()

    def add(self, pool: str, client: bytes) -> None:
        """Send what is known of one more client, where the worker knows the others."""
        if pool in self._of:
            self._of[pool].add(client)
            self._unsent[pool] = None
            self.paced.wake()

    def _take(self) -> Content | None:
        hurries = self._hurries and self._waits_for() >= SERVES_WITHOUT_ENTRIES
        at_most = ENTRIES_A_MESSAGE if hurries or self._serves else MAX_ENTRIES_A_MESSAGE
        parts = parts_that_fit((self._of[pool].part for pool in list(self._unsent)), at_most)
        for part in parts:
            if part["last"]:
                del self._unsent[part["pool"]]
        self._serves = self._serves or not self._unsent
        return {"entries": [{**it, "opens": hurries or it["last"]} for it in parts]} if parts else None

    def _waits_for(self) -> float:
        """For how many seconds the worker has got entries."""
        now: float = self._reactor.seconds()
        return 0.0 if self._begun_at is None else now - self._begun_at


class _Sending:
    """What a worker is to know of the clients of one pool.

    :param table: the pool's backends.
    :param clients: the most recently used first.
    :ivar pool: the name of the pool.
    """

    def __init__(self, table: BackendTable, clients: Iterable[bytes]) -> None:
        self.pool = table.pool.name
        self._table = table
        self._unsent = iter(clients)
        self._next: dict[bytes, None] = {}

    def is_of(self, pool: Pool | None) -> bool:
        """Whether it is about this pool."""
        return pool is self._table.pool

    def add(self, client: bytes) -> None:
        """Send what is known of one more client."""
        self._next[client] = None

    def part(self, max_clients: int) -> Content:
        """Give the next of it, as a part of a message; ``last`` is whether that is all.

        :param max_clients: of how many clients at most.
        """
        affinity = self._table.pool.affinity
        if affinity is None:
            return _Nothing(self.pool).part(max_clients)
        some = list(islice(self._unsent, max_clients))
        self._next = {**dict.fromkeys(some), **self._next}
        clients = list(islice(self._next, max_clients))
        content = encode_entries(affinity, self._table, clients)
        for client in clients[: content["count"]]:
            del self._next[client]
        return {**content, "last": len(some) < max_clients and not self._next}


class _Nothing:
    """Nothing is known of the clients of a pool.

    :param pool: its name.
    """

    def __init__(self, pool: str) -> None:
        self.pool = pool

    def is_of(self, pool: Pool | None) -> bool:
        """Whether there is such a pool."""
        return pool is not None

    def add(self, client: bytes) -> None:
        """Know no client."""

    def part(self, max_clients: int) -> Content:
        """See `_Sending`."""
        return {"pool": self.pool, "backends": [], "rows": [], "forgotten": [], "count": 0, "last": True}


def _is_of_several(client: bytes, config: AffinityConfig) -> bool:
    """Whether several workers may have clients that are one for affinity, which owners are not."""
    return config.ipv4_prefix < IPV4_PREFIX if len(client) == 4 else config.ipv6_prefix < IPV6_PREFIX
