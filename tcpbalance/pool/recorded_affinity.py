"""Affinity that knows what has changed since it was last written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.affinity import MAX_ENTRIES, Affinity, StickyEntry
from tcpbalance.pool.backend import Backend
from tcpbalance.stats import PoolStats


def make_affinity(
    config: AffinityConfig, clock: Callable[[], float], stats: PoolStats | None = None
) -> Affinity:
    """Make the affinity of a pool, one that is recorded where it is to be kept in a file."""
    if config.state_file is None:
        return Affinity(config, clock, stats)
    return RecordedAffinity(config, clock, config.state_file, stats)


def adopted(present: Affinity | None, other: Affinity | None) -> Affinity | None:
    """Give what remembers the clients of a pool from now on, with what is known of them as far as it can be.

    :param present: what has remembered them.
    :param other: just made, by the settings that count now.
    """
    if present is None or other is None:
        return other
    if present.config.state_file != other.config.state_file:
        other.take_over(present)
        return other
    return present if present.adopt(other.config) else other


class RecordedAffinity(Affinity):
    """Affinity whose entries are written down elsewhere; on the hot path it only notes which have changed.

    :param config: as of `Affinity`.
    :param clock: likewise.
    :param state_file: where the entries are kept; None for in another process alone.
    :param stats: as of `Affinity`.
    """

    def __init__(
        self,
        config: AffinityConfig,
        clock: Callable[[], float],
        state_file: str | None,
        stats: PoolStats | None = None,
    ) -> None:
        super().__init__(config, clock, stats)
        self.state_file = state_file
        self._changed: dict[bytes, None] = {}
        self._has_too_many_changes = False

    @property
    def max_clients(self) -> int:
        """How many clients are remembered at most."""
        return self.config.max_entries

    def opened(self, client: bytes, backend: Backend) -> StickyEntry:
        """Take note that a connection of the client to the backend was established; see `Affinity`."""
        # super() would double what recording costs here.
        sticky_entry = Affinity.opened(self, client, backend)
        changed = self._changed
        # In the order of use, as the clients themselves: that decides which are restored.
        changed.pop(sticky_entry.client, None)
        changed[sticky_entry.client] = None
        if len(changed) > self.config.max_entries:
            self._give_changes_up()
        return sticky_entry

    def closed(self, sticky_entry: StickyEntry) -> None:
        """Take note that a connection ended; see `Affinity`."""
        Affinity.closed(self, sticky_entry)
        changed = self._changed
        changed.pop(sticky_entry.client, None)
        changed[sticky_entry.client] = None

    def put(self, client: bytes, entries: Sequence[tuple[Backend, float]]) -> None:
        """Remember a client as another process has served it; see `Affinity`."""
        known = client in self._entries
        Affinity.put(self, client, entries)
        if entries:
            self._changed.pop(client, None)
            self._changed[client] = None
            if len(self._changed) > self.config.max_entries:
                self._give_changes_up()
        else:
            # As in `_forget`.
            self._has_too_many_changes |= known

    def lose(self, clients: Iterable[bytes]) -> None:
        """Take note that clients are connected no longer; see `Affinity`."""
        known = [client for client in clients if client in self._entries]
        Affinity.lose(self, known)
        self._changed.update(dict.fromkeys(known))

    def _give_changes_up(self) -> None:
        """They were not taken for long, as where the disk does not answer."""
        self._changed.clear()
        self._has_too_many_changes = True

    def _forget(self, clients: Iterable[bytes], backends: Collection[Backend]) -> int:
        found = super()._forget(clients, backends)
        # A change can be written of a client that has entries, not of one that has none any more.
        self._has_too_many_changes |= found > 0
        return found

    def take_changes(self) -> list[bytes] | None:
        """Give the clients whose entries have changed since this was last called, the last one last.

        :returns: None where they were too many to be noted one by one, or some of them are known no longer.
        """
        changed, self._changed = self._changed, {}
        if self._has_too_many_changes:
            self._has_too_many_changes = False
            return None
        return [*changed]

    def clients(self) -> list[bytes]:
        """Give all clients, the least recently used first; what has changed counts as taken."""
        self.take_changes()
        return [*self._entries]

    def restore(self, entries: Iterable[tuple[bytes, Backend, float]]) -> int:
        """Remember clients as ones that were last seen before all that are known; those that are known stay
        as they are.

        :param entries: the latest first, so the sticky one last of those of a client; with the seconds for
            which each holds, infinity where the client was connected.
        :returns: how many clients are remembered by that.
        """
        known, now, ttl = self._entries, self._clock(), self.config.ttl
        before = len(known)
        last: bytes | None = None
        key = b""
        restored: list[StickyEntry] | None = None
        for client, backend, seconds in entries:
            if client != last:
                last, key = client, client if len(client) in self._whole else self._masked(client)
                restored = None if key in known or len(known) >= self.config.max_entries else []
            # What is not a number is not greater than 0, either.
            if restored is None or backend.removed or not seconds > 0 or len(restored) == MAX_ENTRIES:
                continue
            if not restored:
                known[key] = restored
                known.move_to_end(key, last=False)
            sticky_entry = StickyEntry(key, backend)
            sticky_entry.expires = now + (seconds if seconds < ttl else ttl)
            restored.insert(0, sticky_entry)
        return len(known) - before
