"""Listening sockets that some frontends are about to close, and others go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
    that wait stay in its queue, and none is refused.

    :param spare: the sockets.
    """

    def __init__(self, spare: Iterable[SpareSocket] = ()) -> None:
        self._spare = list(spare)
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

    def on_commit(self, call: Callable[[], None]) -> None:
        """Have something called when the sockets change hands."""
        self._calls.append(call)

    def commit(self) -> None:
        """Leave the files of unix sockets that were claimed to those that go on with them."""
        for one in self._claimed:
            one.listener.leave_file()
        for call in self._calls:
            call()
