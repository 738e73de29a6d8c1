"""Which address of a name a dial tries first."""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from random import Random
from typing import Any

from tcpbalance.net.resolver.answer import Host

SocketAddress = tuple[int, Any]
"""An address family and a socket address of it."""

FIRST_PAUSE = 10.0
"""Seconds that an address which failed is tried last: nginx's default ``fail_timeout``."""

MAX_PAUSE = 300.0
"""Seconds; the pause doubles up to this while the address fails, so that one which stays silent costs a part
of the time of one dial in five minutes."""


def numeric_target(host: str, port: int) -> SocketAddress:
    """Turn a literal IP address into a target, without a lookup.

    :raises OSError: the system has no such zone (``%eth0``).
    """
    if ":" not in host:
        return socket.AF_INET, (host, port)
    family, _, _, _, address = socket.getaddrinfo(
        host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST
    )[0]
    return family, address


class Targets:
    """The addresses of one name at one port, in the order in which the next dial tries them.

    Addresses of the preferred family come first. Those of one family are equal: a dial begins at one of them
    at random and goes round. An address that failed comes after all others until its pause is over; then one
    dial tries it, and the others still avoid it until it has accepted.

    :param hosts: in the order of preference.
    :param clock: returns seconds.
    """

    def __init__(
        self, hosts: tuple[Host, ...], port: int, clock: Callable[[], float], random: Random
    ) -> None:
        self._port = port
        self._clock = clock
        self._random = random
        self._failing: dict[SocketAddress, tuple[float, float]] = {}
        self.change(hosts)

    def change(self, hosts: tuple[Host, ...]) -> None:
        """Use other addresses from now on; what failed is remembered of those that are still there."""
        self._all = [_target(host, self._port) for host in hosts]
        self._families = [list(group) for _, group in groupby(self._all, itemgetter(0))]
        known = set(self._all)
        self._failing = {target: pause for target, pause in self._failing.items() if target in known}

    def order(self) -> list[SocketAddress]:
        """Give all addresses, best first; the list is the caller's to read only."""
        if len(self._all) == 1:
            return self._all
        order: list[SocketAddress] = []
        for family in self._families:
            start = self._random.randrange(len(family)) if len(family) > 1 else 0
            order += family[start:]
            order += family[:start]
        return self._failing_last(order) if self._failing else order

    def _failing_last(self, order: list[SocketAddress]) -> list[SocketAddress]:
        """Move the addresses that fail to the end, unless it is time to try the first in turn again."""
        first, now = order[0], self._clock()
        until, pause = self._failing.get(first, (now, 0.0))
        tried_again = first if now >= until else None
        if tried_again is not None and pause:
            # The next dials avoid it already, and for twice as long should it fail.
            pause = min(2 * pause, MAX_PAUSE)
            self._failing[first] = now + pause, pause
        return sorted(order, key=lambda target: target in self._failing and target is not tried_again)

    def failed(self, target: SocketAddress) -> None:
        """Try *target* last for a while, because it has refused or was silent."""
        if len(self._all) > 1 and target not in self._failing and target in self._all:
            self._failing[target] = self._clock() + FIRST_PAUSE, FIRST_PAUSE

    def accepted(self, target: SocketAddress) -> None:
        """Forget that *target* failed."""
        if self._failing:
            self._failing.pop(target, None)


def _target(host: Host, port: int) -> SocketAddress:
    if host.family == socket.AF_INET:
        return socket.AF_INET, (host.address, port)
    return socket.AF_INET6, (host.address, port, 0, host.scope)
