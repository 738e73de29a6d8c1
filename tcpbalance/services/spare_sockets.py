"""Listening sockets that some frontends are about to close, and others go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from tcpbalance.config.addresses import Address
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
        self._spare = list(spare)
        self.found = found
        self._claimed: list[SpareSocket] = []
        self._calls: list[Callable[[], None]] = []

    def claim(self, address: Address) -> SpareSocket | None:
        """Give the socket of an address, to be shared until the other frontend closes it.

        :returns: None where there is none.
        """
        for one in self._spare:
            if address.port != 0 and one.listener.listens_on(address):
                self._spare.remove(one)
                self._claimed.append(one)
                return one
        return None

    @contextmanager
    def beside(self, address: Address) -> Iterator[Listener | None]:
        """Allow, for as long as this lasts, that an address is bound and listened on which overlaps sockets.

        :returns: one of them; None where there is none.
        """
        overlapping = [one.listener for one in self._spare if one.listener.overlaps(address)]
        for listener in overlapping:
            listener.allow_beside(True)
        try:
            yield next(iter(overlapping), None)
        finally:
            for listener in overlapping:
                listener.allow_beside(False)

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
