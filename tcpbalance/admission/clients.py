"""The clients that admission control remembers: a few values for each of a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import copy

MAX_CLIENTS = 100_000
"""Without an open connection, that are remembered. They are 33 MiB, for which the process grows by 53."""

IPV6_NETWORK = 8
"""Bytes of an IPv6 address that make a client: a network of 64 bits, as for affinity. An IPv4 client is all
4 bytes of its address, so one family is never taken for the other."""

NEVER = float("-inf")
"""A moment before all others."""


def group(client: bytes) -> bytes:
    """Give what a client is known by.

    :param client: its packed address, whole, 4 or 16 bytes.
    """
    return client if len(client) == 4 else client[:IPV6_NETWORK]


class Client:
    """What is known of one client; all times are those of the clock of ``AdmissionControl``.

    :ivar open: its connections.
    :ivar due: when its next connection is due at a steady rate; GCRA's TAT.
    :ivar refusals: since the window of refusals was opened.
    :ivar window_ends: of refusals; in the past when there is none.
    :ivar banned_until: in the past when it is not banned.
    :ivar seen: when it last came, or left.
    """

    __slots__ = ("banned_until", "due", "open", "refusals", "seen", "window_ends")

    def __init__(self) -> None:
        self.open = 0
        self.due = NEVER
        self.refusals = 0
        self.window_ends = NEVER
        self.banned_until = NEVER
        self.seen = NEVER

    def matters(self, now: float) -> bool:
        """Whether anything has to be remembered of it, its connections aside."""
        return now < self.due or now < self.window_ends or now < self.banned_until


class Clients:
    """Those with open connections, none of which is ever forgotten, and the idle ones that matter.

    Of too many idle ones, the one not seen for longest leaves. Those that matter no more leave
    little by little: each time one becomes idle, up to four are looked at.

    :param max_idle: idle ones that are remembered, at least 1.
    """

    __slots__ = ("_banned", "_idle", "_max_idle", "_open")

    def __init__(self, max_idle: int = MAX_CLIENTS) -> None:
        self._max_idle = max_idle
        self._open: dict[bytes, Client] = {}
        # In the order in which they were seen. Bans last for longer than the rest, and would stand in front.
        self._idle: OrderedDict[bytes, Client] = OrderedDict()
        self._banned: OrderedDict[bytes, Client] = OrderedDict()

    def __len__(self) -> int:
        """How many are known."""
        return len(self._open) + self.idle

    @property
    def idle(self) -> int:
        """How many are known that have no connection."""
        return len(self._idle) + len(self._banned)

    def open_counts(self) -> Iterator[tuple[bytes, int]]:
        """Give the clients that have connections, each with their number."""
        return ((key, client.open) for key, client in self._open.items())

    def banned(self, now: float) -> Iterator[tuple[bytes, float]]:
        """Give the clients that are banned, each with its end; others may come and go meanwhile."""
        for known in (self._banned, self._open):
            for key in list(known):
                client = known.get(key)
                if client is not None and client.banned_until > now:
                    yield key, client.banned_until

    def add(self, key: bytes, count: int) -> None:
        """Count connections of a client that another process has admitted.

        :param count: at least 1.
        """
        client = self.take(key)
        client.open += count
        self._open[key] = client

    def remove(self, key: bytes, count: int, now: float) -> None:
        """Count connections no more that were added and have ended.

        :param count: at least 1.
        :raises KeyError: the client has none.
        """
        for _ in range(count):
            Clients.release(self, key, now)

    def take(self, key: bytes) -> Client:
        """Give what is known of a client; call `hold` or `rest` with it afterwards."""
        client = self._open.get(key)
        if client is None:
            client = self._idle.pop(key, None)
            if client is None:
                client = self._banned.pop(key, None) if self._banned else None
                if client is None:
                    client = Client()
        return client

    def look(self, key: bytes) -> Client:
        """Give a copy of what is known of a client, which stays as it is."""
        for known in (self._open, self._idle, self._banned):
            if key in known:
                return copy(known[key])
        return Client()

    def hold(self, key: bytes, client: Client) -> None:
        """Take note that a connection of a client that was taken is open."""
        client.open += 1
        if client.open == 1:
            self._open[key] = client

    def release(self, key: bytes, now: float) -> None:
        """Take note that a connection ended.

        :raises KeyError: the client has none.
        """
        client = self._open[key]
        client.open -= 1
        if not client.open:
            del self._open[key]
            self.rest(key, client, now)

    def rest(self, key: bytes, client: Client, now: float) -> None:
        """Put back a client that was taken and has no further connection."""
        if client.open:
            return
        client.seen = now
        if now < client.banned_until:
            self._banned[key] = client
        elif client.matters(now):
            self._idle[key] = client
        if self._idle:
            _drop_outlived(self._idle, now)
        if self._banned:
            _drop_outlived(self._banned, now)
        if len(self._idle) + len(self._banned) > self._max_idle:
            self._forget()

    def _forget(self) -> None:
        """Forget the idle client that was not seen for longest."""
        oldest = min(
            (cooling_down for cooling_down in (self._idle, self._banned) if cooling_down),
            key=lambda cooling_down: next(iter(cooling_down.values())).seen,
        )
        oldest.popitem(last=False)


class WatchedClients(Clients):
    """The same clients, with a report of each connection that begins or ends.

    :param clients: may not be used beside these.
    :param on_change: called with what a client is known by, and 1 or -1; not for connections that are added
        or removed.
    """

    __slots__ = ("_on_change",)

    def __init__(self, clients: Clients, on_change: Callable[[bytes, int], None]) -> None:
        super().__init__(clients._max_idle)
        self._open, self._idle, self._banned = clients._open, clients._idle, clients._banned
        self._on_change = on_change

    def hold(self, key: bytes, client: Client) -> None:
        """See ``Clients``."""
        super().hold(key, client)
        self._on_change(key, 1)

    def release(self, key: bytes, now: float) -> None:
        """See ``Clients``."""
        super().release(key, now)
        self._on_change(key, -1)


class AskedClient(Clients):
    """The one client that a question is about; nothing is kept.

    :param client: what is known of it; what becomes of it shows there.
    """

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def take(self, key: bytes) -> Client:
        """See ``Clients``."""
        return self._client

    def hold(self, key: bytes, client: Client) -> None:
        """See ``Clients``."""

    def rest(self, key: bytes, client: Client, now: float) -> None:
        """See ``Clients``."""


def _drop_outlived(cooling_down: OrderedDict[bytes, Client], now: float) -> None:
    """Let go of up to two that were not seen for longest; there comes never more than one at a time."""
    first = next(iter(cooling_down))
    if not cooling_down[first].matters(now):
        del cooling_down[first]
        second = next(iter(cooling_down), None)
        if second is not None and not cooling_down[second].matters(now):
            del cooling_down[second]
