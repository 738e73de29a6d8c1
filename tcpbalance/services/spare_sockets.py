"""Listening sockets that some frontends are about to close, and others go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.loops import WILDCARDS
from tcpbalance.net.binding import bind_target
from tcpbalance.net.listener import Listener
from tcpbalance.services.listener_settings import ListenerSettings


@frozen(eq=False)
class SpareSocket:
    """A socket that a frontend is about to close.

    :param listener: accepts from it so far.
    :param settings: that it has.
    """

    listener: Listener
    settings: ListenerSettings


class SpareSockets:
    """The sockets that are closed by one change of the frontends.

    A frontend that takes an address over shares the socket until the other one closes it, so that the clients
    that wait stay in its queue, and none is refused. One that takes an address which overlaps those of
    sockets listens before they are closed.

    :param spare: the sockets.
    :param found: the addresses of names that are listened on from now on; others are still to be looked up.
    """

    def __init__(
        self, spare: Iterable[SpareSocket] = (), found: Mapping[Address, Sequence[Address]] = {}
    ) -> None:
        self._spare = dict.fromkeys(spare)
        # There may be many, and as many addresses that are new.
        self._by_target: dict[Any, list[SpareSocket]] = {}
        self._on_all_addresses: list[SpareSocket] = []
        for one in self._spare:
            target = one.listener.target
            self._by_target.setdefault(target, []).append(one)
            if target is not None and target[1][0] in WILDCARDS:
                self._on_all_addresses.append(one)
        self.found = found
        self._claimed: list[SpareSocket] = []
        self._calls: list[Callable[[], None]] = []

    def claim(self, address: Address) -> SpareSocket | None:
        """Give the socket of an address, to be shared until the other frontend closes it.

        :returns: None where there is none.
        """
        if not self._spare or address.port == 0:
            return None
        for one in self._by_target.get(bind_target(address), ()):
            if one in self._spare and one.listener.listens_on(address):
                del self._spare[one]
                self._claimed.append(one)
                return one
        return None

    @contextmanager
    def beside(self, address: Address) -> Iterator[Listener | None]:
        """Allow, for as long as this lasts, that an address is bound and listened on which overlaps sockets.

        :returns: one of them; None where there is none.
        """
        overlapping = self._overlapping(address)
        for listener in overlapping:
            listener.allow_beside(True)
        try:
            yield next(iter(overlapping), None)
        finally:
            for listener in overlapping:
                listener.allow_beside(False)

    def _overlapping(self, address: Address) -> list[Listener]:
        if not self._spare or address.is_unix:
            return []
        is_on_all = bind_target(address)[1][0] in WILDCARDS
        found = self._spare if is_on_all else self._on_all_addresses
        return [one.listener for one in found if one in self._spare and one.listener.overlaps(address)]

    def on_commit(self, call: Callable[[], None]) -> None:
        """Have something called when the sockets change hands."""
        self._calls.append(call)

    def commit(self) -> None:
        """Leave the sockets that were claimed to those that go on with them."""
        # The new listeners own a socket as the old ones did.
        for call in self._calls:
            call()
        for one in self._claimed:
            one.listener.leave_socket()
