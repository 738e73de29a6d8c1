"""What all workers know of the clients of their pools: the supervisor keeps it, and the pool's file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from math import inf
from typing import Any

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.client import IPV4_PREFIX, IPV6_PREFIX
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.affinity_entries import ENTRIES_A_MESSAGE, decode_entries, encode_entries
from tcpbalance.workers.backend_table import BackendTable
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.concern import ToWorker
from tcpbalance.workers.messages import Message
from tcpbalance.workers.owner import owner
from tcpbalance.workers.paced_messages import Content, PacedMessages

EXPIRE_AT_ONCE = 500
"""Clients of a worker that has ended which, in one turn, become clients that are connected no longer."""


class CommonAffinity:
    """A concern of the supervisor's: a worker that begins knows the clients that it owns, as the one before
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
        self._connected: dict[ToWorker, dict[Pool, dict[bytes, None]]] = {}
        self._sending: dict[ToWorker, dict[Pool, _Sending]] = {}

    def greet(self, worker: ToWorker) -> None:
        """Nothing is sent before the worker wants it."""
        self._connected[worker] = {}
        self._sending[worker] = {}

    def has_ended(self, worker: ToWorker) -> None:
        """Take note that the clients of a worker are not connected any more."""
        for sending in self._sending.pop(worker, {}).values():
            sending.paced.close()
        for pool, clients in self._connected.pop(worker, {}).items():
            self._expire(pool, iter(clients))

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``Concern``."""
        if worker not in self._connected:
            return
        match message.content:
            case {"entries_wanted": str(name)}:
                self._send_entries(worker, name)
            case {"entries_taken": str(name)}:
                self._were_taken(worker, name)
            case {"entries": str(name)}:
                self._take(worker, self._pools.find(name), message.content)
                worker.send({"entries_taken": name})

    # From a worker

    def _take(self, worker: ToWorker, pool: Pool | None, content: Content) -> None:
        if pool is None or pool.affinity is None:
            return
        connected = self._connected[worker].setdefault(pool, {})
        for client, entries in decode_entries(self._pools.table(pool), content).items():
            if entries and _is_of_several(client, pool.affinity.config):
                self._share(worker, pool, client, entries[0][0])
            pool.affinity.put(client, entries)
            if any(expires == inf for _, expires in entries):
                connected[client] = None
            else:
                connected.pop(client, None)

    def _share(self, origin: ToWorker, pool: Pool, client: bytes, backend: Backend) -> None:
        """Let the other workers know, where a client that several of them have belongs to another backend."""
        assert pool.affinity is not None
        if backend not in pool.affinity.lookup(client):
            for worker, sending in self._sending.items():
                if worker is not origin and pool in sending:
                    sending[pool].add(client)

    def _expire(self, pool: Pool, clients: Iterator[bytes]) -> None:
        """Let the time begin for which clients are remembered that are connected no longer."""
        some = list(islice(clients, EXPIRE_AT_ONCE))
        if some and pool.affinity is not None:
            pool.affinity.lose(some)
            self._reactor.callLater(0, self._expire, pool, clients)

    # To a worker

    def _send_entries(self, worker: ToWorker, name: str) -> None:
        pool = self._pools.find(name)
        if pool is None:
            worker.send(_no_entries(name))
        else:
            self._pools.when_restored(pool).addCallback(lambda _: self._begin_to_send(worker, pool))

    def _begin_to_send(self, worker: ToWorker, pool: Pool) -> None:
        sending = self._sending.get(worker)
        if sending is None:
            return
        if pool.affinity is None or pool not in self._pools.pools:
            worker.send(_no_entries(pool.name))
            return
        if pool in sending:
            sending[pool].paced.close()
        table = self._pools.table(pool)
        clients = (
            client
            for client in pool.affinity.latest_clients()
            if _is_of_several(client, pool.affinity.config) or owner(client, self._workers) == worker.place
        )
        sending[pool] = _Sending(self._reactor, worker, table, clients)

    def _were_taken(self, worker: ToWorker, name: str) -> None:
        for pool, sending in self._sending[worker].items():
            if pool.name == name:
                sending.paced.taken()


class _Sending:
    """What a worker is to know of the clients of one pool.

    :param reactor: IReactorTime.
    :param worker: gets it.
    :param table: the pool's backends.
    :param clients: the most recently used first.
    """

    def __init__(self, reactor: Any, worker: ToWorker, table: BackendTable, clients: Iterable[bytes]) -> None:
        self._table = table
        self._unsent = iter(clients)
        self._next: dict[bytes, None] = {}
        self._sends_first = True
        self.paced = PacedMessages(reactor, worker.send, self._take)
        self.paced.wake()

    def add(self, client: bytes) -> None:
        """Send what is known of one more client."""
        self._next[client] = None
        self.paced.wake()

    def _take(self) -> Content | None:
        affinity = self._table.pool.affinity
        if affinity is None:
            return None
        if self._sends_first:
            some = list(islice(self._unsent, ENTRIES_A_MESSAGE))
            self._sends_first = len(some) == ENTRIES_A_MESSAGE
            self._next = {**dict.fromkeys(some), **self._next}
        elif not self._next:
            return None
        clients = list(islice(self._next, ENTRIES_A_MESSAGE))
        content = encode_entries(affinity, self._table, clients)
        for client in clients[: content["count"]]:
            del self._next[client]
        is_last = not (self._sends_first or self._next)
        return {"entries": self._table.pool.name, **content, "last": is_last}


def _no_entries(pool: str) -> Content:
    return {"entries": pool, "backends": [], "rows": [], "forgotten": [], "last": True}


def _is_of_several(client: bytes, config: AffinityConfig) -> bool:
    """Whether several workers may have clients that are one for affinity, which owners are not."""
    return config.ipv4_prefix < IPV4_PREFIX if len(client) == 4 else config.ipv6_prefix < IPV6_PREFIX
