"""Affinity: the same client goes to the same backend."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from math import inf

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.client import masked
from tcpbalance.stats import PoolStats

MAX_ENTRIES = 2
"""Of one client: its sticky backend, and the fallback that serves it while that one cannot."""


FORGOTTEN_AT_ONCE = 1000
"""Clients that are looked at while all traffic waits; there may be 100,000."""


class StickyEntry:
    """That a client belongs to a backend: as long as it has connections there, and for the ttl afterwards.

    :ivar alone: what `Affinity.lookup` gives where the client belongs to this backend only.
    """

    __slots__ = ("alone", "backend", "client", "expires", "open")

    def __init__(self, client: bytes, backend: Backend) -> None:
        self.client = client
        self.backend = backend
        self.alone = backend.alone
        self.open = 0
        self.expires = 0.0

    def lasts(self, now: float) -> bool:
        """Whether it still holds.

        :param now: the clock, in seconds.
        """
        return self.open > 0 or self.expires > now


class Affinity:
    """Remembers where each client was served; of too many clients the least recently used leaves first.

    :param config: for how long, how many, and what a client is.
    :param clock: the clock.
    :param stats: counts hits and evictions; None for counters that are not read.
    """

    def __init__(
        self, config: AffinityConfig, clock: Callable[[], float], stats: PoolStats | None = None
    ) -> None:
        self.config = config
        self._stats = PoolStats() if stats is None else stats
        prefixes = ((4, config.ipv4_prefix), (16, config.ipv6_prefix))
        self._whole = {size for size, bits in prefixes if bits == size * 8}
        self._clock = clock
        self._entries: OrderedDict[bytes, list[StickyEntry]] = OrderedDict()

    def adopt(self, config: AffinityConfig) -> bool:
        """Go on by other settings: a connection that ends from now on is followed by the new ttl.

        :returns: False where clients are distinguished in another way, so that what is known of them is of no
            use; nothing has changed then.
        """
        if not self._distinguishes_as(config):
            return False
        self.config = config
        self._evict_surplus()
        return True

    def take_over(self, other: Affinity) -> None:
        """Remember the clients of another one, which is not used any more, where that distinguishes them in
        the same way."""
        if self._distinguishes_as(other.config):
            self._entries = other._entries
            self._evict_surplus()

    def _distinguishes_as(self, config: AffinityConfig) -> bool:
        own = self.config
        return (own.by, own.ipv4_prefix, own.ipv6_prefix) == (
            config.by,
            config.ipv4_prefix,
            config.ipv6_prefix,
        )

    def _evict_surplus(self) -> None:
        while len(self._entries) > self.config.max_entries:
            self._evict()

    def _evict(self) -> None:
        """Forget the least recently used client, for want of space."""
        _, entry = self._entries.popitem(last=False)
        now = self._clock()
        # What has expired stays until its space is needed: nothing is lost by that.
        self._stats.affinity_evictions += any(sticky_entry.lasts(now) for sticky_entry in entry)

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._entries)

    def lookup(self, client: bytes) -> Sequence[Backend]:
        """Give the backends of a client: its sticky backend, then its fallback; none when it is not known.

        A backup is the sticky backend only as long as no primary has served the client.

        :param client: its packed address, whole.
        """
        entry = self._entries.get(client if len(client) in self._whole else self._masked(client))
        if entry is None:
            return ()
        first = entry[0]
        if len(entry) == 1:
            # It belongs to one backend, the usual case.
            return first.alone if first.open or first.expires > self._clock() else ()
        now = self._clock()
        return [
            sticky_entry.backend for sticky_entry in entry if sticky_entry.open or sticky_entry.expires > now
        ]

    def opened(self, client: bytes, backend: Backend) -> StickyEntry:
        """Take note that a connection of the client to the backend was established.

        :param client: its packed address, whole.
        :returns: the entry, to be handed to `closed` when the connection ends.
        """
        key = client if len(client) in self._whole else self._masked(client)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entry(key)
        else:
            self._entries.move_to_end(key)
        if len(entry) == 1 and entry[0].backend is backend:
            # The client belongs to this backend, the usual case.
            sticky_entry = entry[0]
            if sticky_entry.open or sticky_entry.expires > self._clock():
                self._stats.affinity_hits += 1
        else:
            sticky_entry = self._sticky_entry(key, entry, backend)
        sticky_entry.open += 1
        return sticky_entry

    def closed(self, sticky_entry: StickyEntry) -> None:
        """Take note that a connection ended; with the last one the ttl begins.

        :param sticky_entry: what `opened` returned for it; the client may have been forgotten since.
        """
        sticky_entry.open -= 1
        if not sticky_entry.open:
            sticky_entry.expires = self._clock() + self.config.ttl
        if sticky_entry in self._entries.get(sticky_entry.client, ()):
            self._entries.move_to_end(sticky_entry.client)

    def latest_clients(self) -> list[bytes]:
        """Give all clients that are remembered, the most recently used first."""
        return [*reversed(self._entries)]

    def rows_of(
        self, clients: Iterable[bytes], numbers: Mapping[Backend, int]
    ) -> list[tuple[bytes, int, float]]:
        """Give the entries of clients, as far as they are known: those of one together, the sticky one first.

        :param clients: as they are remembered, without their host part.
        :param numbers: what stands for each backend; an entry of any other is left out.
        :returns: the client, the number, and when the entry expires; infinity while the client is connected.
        """
        get = self._entries.get
        return [
            (client, numbers[entry.backend], inf if entry.open else entry.expires)
            for client in clients
            for entry in get(client, ())
            if entry.backend in numbers
        ]

    def put(self, client: bytes, entries: Sequence[tuple[Backend, float]]) -> None:
        """Remember a client as another process has served it, in the place of what is known of it.

        :param client: as it is remembered, without its host part.
        :param entries: its sticky backend first, with when each entry expires: infinity while the client is
            connected. None of them: the client is known no longer.
        """
        if not entries:
            self._entries.pop(client, None)
            return
        entry = self._entries.get(client)
        if entry is None:
            entry = self._entry(client)
        self._entries.move_to_end(client)
        entry[:] = [_that_expires(client, *given) for given in entries[:MAX_ENTRIES]]

    def lose(self, clients: Iterable[bytes]) -> None:
        """Take note that clients which `put` has said are connected are so no longer: the ttl begins.

        :param clients: as they are remembered, without their host part.
        """
        expires = self._clock() + self.config.ttl
        for client in clients:
            for entry in self._entries.get(client, ()):
                entry.expires = min(entry.expires, expires)

    def clients_in_any_order(self) -> list[bytes]:
        """Give all clients that are remembered."""
        # A plain dict lists its keys in a fraction of the time that an ordered one takes for its order.
        return list(dict.keys(self._entries))

    def entries(self, client: bytes) -> Sequence[StickyEntry]:
        """Give what is remembered of a client, the sticky entry first, what has expired among it.

        :param client: as it is remembered, without its host part.
        """
        return self._entries.get(client, ())

    def forget(
        self, backends: Collection[Backend], is_meant: Callable[[bytes], bool] = lambda _: True
    ) -> Generator[None, None, int]:
        """Drop the entries of backends, piece by piece; a client that has no other is known no longer.

        :param backends: quick to ask for one.
        :param is_meant: whether a client is one of those whose entries are dropped.
        :returns: yields after each piece but the last: others may go on, and clients come and go, meanwhile.
            In the end, gives the number of clients that had such entries.
        """
        clients = self.clients_in_any_order()
        count = 0
        for start in range(0, len(clients), FORGOTTEN_AT_ONCE):
            if start:
                yield
            piece = clients[start : start + FORGOTTEN_AT_ONCE]
            count += self._forget(filter(is_meant, piece), backends)
        return count

    def _forget(self, clients: Iterable[bytes], backends: Collection[Backend]) -> int:
        """Drop the entries of some clients.

        :returns: how many of them had any.
        """
        found = 0
        for client in clients:
            entry = self._entries.get(client)
            if entry and (entry[0].backend in backends or entry[-1].backend in backends):
                found += 1
                entry[:] = [sticky_entry for sticky_entry in entry if sticky_entry.backend not in backends]
                if not entry:
                    del self._entries[client]
        return found

    def _sticky_entry(self, key: bytes, entry: list[StickyEntry], backend: Backend) -> StickyEntry:
        """Give what binds a client to a backend, and drop what has expired.

        :param key: the client.
        :param entry: what is remembered of it.
        """
        now = self._clock()
        entry[:] = [sticky_entry for sticky_entry in entry if sticky_entry.lasts(now)]
        for sticky_entry in entry:
            if sticky_entry.backend is backend:
                self._stats.affinity_hits += 1
                return sticky_entry
        sticky_entry = StickyEntry(key, backend)
        if entry and entry[0].backend.backup and not backend.backup:
            entry[:] = [sticky_entry, entry[0]]  # a client of the backups has found its primary
        else:
            entry[MAX_ENTRIES - 1 :] = [sticky_entry]  # a second fallback takes the place of the first
        return sticky_entry

    def _entry(self, key: bytes) -> list[StickyEntry]:
        entry = self._entries[key] = []
        if len(self._entries) > self.config.max_entries:
            self._evict()
        return entry

    def _masked(self, client: bytes) -> bytes:
        return masked(client, self.config.ipv4_prefix, self.config.ipv6_prefix)


def _that_expires(client: bytes, backend: Backend, expires: float) -> StickyEntry:
    sticky_entry = StickyEntry(client, backend)
    sticky_entry.expires = expires
    return sticky_entry
