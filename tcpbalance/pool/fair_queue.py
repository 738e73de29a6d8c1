"""A queue that is fair by client: the order in which waiting connections are served."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from tcpbalance.pool.client import IPV4_PREFIX, IPV6_PREFIX, masked

Key = bytes | None


class Waiter(Protocol):
    """A connection in a queue."""

    client: bytes | None
    """Its packed address, None when it has none."""

    def its_turn(self) -> None:
        """There is capacity for it; it is not in the queue any more."""
        ...

    def displaced(self) -> None:
        """It has lost its place to a client that had fewer; it is not in the queue any more."""
        ...

    def look_soon(self) -> None:
        """Maybe no backend is left for it: it is to find out, but not within this call."""
        ...


class FairQueue:
    """Waiters of a bounded number, served by turns of their clients.

    Each client has a line of its own, first come, first served; the lines take turns: Nagle, "On packet
    switches with infinite storage", RFC 970, 1985. So a client with a thousand waiters delays no other by
    more than one of them. Nor can it keep others out: when the queue is full, the last of the longest line
    gives way to a client that has fewer: Suter, Lakshman, Stiliadis and Choudhury, "Design considerations for
    supporting TCP with per-flow queueing", INFOCOM 1998, "longest queue drop".

    A client is an IPv4 address, or an IPv6 network of 64 bits, as everywhere else. Those without an address
    share one line.

    :param max_waiters: how many may wait at once, at least 1; may be changed, and those that wait then stay.
    """

    __slots__ = ("_count", "_lines", "max_waiters")

    def __init__(self, max_waiters: int) -> None:
        self.max_waiters = max_waiters
        self._count = 0
        # Clients in the order of their turns; the dict of a line keeps its order and lets any waiter leave.
        self._lines: OrderedDict[Key, dict[Waiter, None]] = OrderedDict()

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def __contains__(self, waiter: Waiter) -> bool:
        """Whether a certain one waits."""
        return waiter in self._lines.get(_key(waiter.client), ())

    def __iter__(self) -> Iterator[Waiter]:
        """All waiters, client by client."""
        return itertools.chain.from_iterable(self._lines.values())

    @property
    def lines(self) -> int:
        """How many clients wait."""
        return len(self._lines)

    @property
    def full(self) -> bool:
        """Whether as many wait as may."""
        return self._count >= self.max_waiters

    def join(self, waiter: Waiter) -> bool:
        """Join the line of its client.

        :returns: False when the queue is full and no other gives way.
        """
        key = _key(waiter.client)
        if self.full and not self._make_way(key):
            return False
        self._lines.setdefault(key, {})[waiter] = None
        self._count += 1
        return True

    def put_back(self, waiter: Waiter) -> None:
        """Have one that was just taken come next again, however many wait."""
        key = _key(waiter.client)
        self._lines[key] = {waiter: None, **self._lines.get(key, {})}
        self._lines.move_to_end(key, last=False)
        self._count += 1

    def leave(self, waiter: Waiter) -> None:
        """Leave the queue; nothing happens to one that is not in it."""
        if waiter not in self:
            return
        key = _key(waiter.client)
        line = self._lines[key]
        del line[waiter]
        self._count -= 1
        if not line:
            del self._lines[key]

    def take(self, can_be_served: Callable[[bytes | None], bool]) -> Waiter | None:
        """Take the next waiter out of the queue.

        :param can_be_served: whether there is capacity for a waiter with this address.
        :returns: the first of the first line in turn that can be served; None when there is none.
        """
        for key, line in self._lines.items():
            waiter = next(iter(line))
            if can_be_served(waiter.client):
                self.leave(waiter)
                if line:
                    self._lines.move_to_end(key)
                return waiter
        return None

    def _make_way(self, key: Key) -> bool:
        """Displace the last of the longest line, for a client whose own line stays shorter."""
        longest = self._line_that_gives_way(key)
        if longest is None:
            return False
        last = next(reversed(longest))
        self.leave(last)
        last.displaced()
        return True

    def _line_that_gives_way(self, key: Key) -> dict[Waiter, None] | None:
        if self._count == len(self._lines):
            return None  # one in each line
        longest = max(self._lines.values(), key=len)
        return longest if len(longest) > len(self._lines.get(key, ())) + 1 else None

    def has_place_for(self, client: bytes | None) -> bool:
        """Whether `join` would let a client wait."""
        return not self.full or self._line_that_gives_way(_key(client)) is not None


def _key(client: bytes | None) -> Key:
    return None if client is None else masked(client, IPV4_PREFIX, IPV6_PREFIX)
