"""Networks and clients that an operator has banned for a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tcpbalance.admission.clients import IPV6_NETWORK, NEVER

MAX_BANNED_NETWORKS = 10_000
"""Of one frontend, single clients among them."""

_IPV6_BYTES = 16

_ByShift: TypeAlias = dict[int, dict[int, float]]

# Bound once: it is on the way of each connection while a network is banned.
_number = int.from_bytes


def network_key(first: bytes, bits: int) -> bytes:
    """Give what a network is known by that an operator has banned, beside the clients that limits have: its
    first address, and its prefix' length.

    :param first: packed, 4 or 16 bytes; a client has 4 or 8.
    :param bits: of one client, 32 or 64.
    """
    return first + bytes((bits,))


def is_network(key: bytes) -> bool:
    """Whether this is a network that an operator has banned, and no client that limits have."""
    return len(key) in (5, 17)


def client_of(key: bytes) -> bytes | None:
    """Give what a network that is one client is known by to limits; None for a larger one.

    :param key: see `network_key`.
    """
    first, bits = key[:-1], key[-1]
    size = 4 if len(first) == 4 else IPV6_NETWORK
    return first[:size] if bits == 8 * size else None


class BannedNetworks:
    """Finds whether an address is in one of some networks that are banned: by one look for each length of
    prefix that there is.

    :ivar last_end: when none is banned any more.
    """

    __slots__ = ("_four", "_six", "last_end")

    def __init__(self) -> None:
        self.last_end = 0.0
        self._four: _ByShift = {}
        self._six: _ByShift = {}

    def __len__(self) -> int:
        """How many there are, those among them whose time is over."""
        return sum(len(networks) for family in (self._four, self._six) for networks in family.values())

    def end_for(self, client: bytes) -> float:
        """Give the end of the last ban of a network that a client is in; ``NEVER`` where there is none.

        :param client: its packed address, whole.
        """
        family = self._four if len(client) == 4 else self._six
        number, end = _number(client), NEVER
        for shift, networks in family.items():
            until = networks.get(number >> shift, NEVER)
            end = max(end, until)
        return end

    def end_of(self, key: bytes) -> float:
        """Give the end of the ban of one itself; ``NEVER`` where there is none.

        :param key: see `network_key`.
        """
        family, shift, number = self._place(key)
        return family.get(shift, {}).get(number, NEVER)

    def put(self, key: bytes, until: float, now: float) -> None:
        """Ban one, in the place of an earlier ban. Of too many, the one that ends first is banned no more.

        :param key: see `network_key`.
        """
        family, shift, number = self._place(key)
        is_shortened = family.setdefault(shift, {}).get(number, NEVER) > until
        family[shift][number] = until
        if is_shortened:
            self._find_last_end()
        else:
            self.last_end = max(self.last_end, until)
        if len(self) > MAX_BANNED_NETWORKS:
            first, _ = min(self.ends(), key=lambda ban: ban[1])
            self.remove(first, now)

    def remove(self, key: bytes, now: float) -> bool:
        """Ban one no more.

        :returns: whether it was banned.
        """
        family, shift, number = self._place(key)
        networks = family.get(shift, {})
        until = networks.pop(number, now)
        if not networks:
            family.pop(shift, None)
        if until >= self.last_end:
            self._find_last_end()
        return until > now

    def _find_last_end(self) -> None:
        self.last_end = max((until for _, until in self.ends()), default=NEVER)

    def ends(self) -> Iterator[tuple[bytes, float]]:
        """Give each with the end of its ban; meanwhile, others may come and go."""
        for size, family in ((4, self._four), (_IPV6_BYTES, self._six)):
            for shift, networks in list(family.items()):
                for number, until in list(networks.items()):
                    yield network_key((number << shift).to_bytes(size), 8 * size - shift), until

    def _place(self, key: bytes) -> tuple[_ByShift, int, int]:
        first, bits = key[:-1], key[-1]
        shift = 8 * len(first) - bits
        return self._four if len(first) == 4 else self._six, shift, _number(first) >> shift
