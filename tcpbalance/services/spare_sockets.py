"""Listening sockets that some frontends are about to close, and others go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import socket

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_file import SocketFile


@frozen(eq=False)
class SpareSocket:
    """A socket that a frontend is about to close.

    :param listener: accepts from it so far.
    :param options: that it has.
    :param socket_file: mode and owner that its file has.
    """

    listener: Listener
    options: SocketConfig
    socket_file: SocketFile


class SpareSockets:
    """The sockets that are closed by one change of the frontends.

    A frontend that takes an address over shares the socket until the other one closes it, so that the clients
    that wait stay in its queue, and none is refused.

    :param spare: the sockets.
    """

    def __init__(self, spare: Iterable[SpareSocket] = ()) -> None:
        self._spare = list(spare)
        self._claimed: list[Listener] = []
        self._calls: list[Callable[[], None]] = []

    def claim(self, address: Address, options: SocketConfig, socket_file: SocketFile) -> socket | None:
        """Give a share of the socket of an address.

        :returns: None where there is none with these options; it is closed like any other socket.
        """
        for one in self._spare:
            suits = (one.options, one.socket_file) == (options, socket_file)
            if suits and address.port != 0 and one.listener.listens_on(address):
                self._spare.remove(one)
                self._claimed.append(one.listener)
                return one.listener.share_socket()
        return None

    def on_commit(self, call: Callable[[], None]) -> None:
        """Have something called when the sockets change hands."""
        self._calls.append(call)

    def commit(self) -> None:
        """Leave the files of unix sockets that were claimed to those that go on with them."""
        for listener in self._claimed:
            listener.leave_file()
        for call in self._calls:
            call()
