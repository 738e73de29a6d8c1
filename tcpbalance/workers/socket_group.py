"""The listening sockets of one address, one for each worker, made by the process that keeps them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import attrs

from tcpbalance.config.addresses import Address
from tcpbalance.net.binding import bind, listen_error, take_all
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.workers.owner import attach


class SocketGroup:
    """What the workers accept the clients of one address from.

    Each worker has a socket of its own, to which the kernel brings the clients that the worker owns. The
    sockets listen in the order of the workers, and none is closed before all are: the number that the kernel
    finds for a client counts them in that order. Of a unix socket, whose clients have no address, there is
    one for all.

    :param sockets: in the order of the workers; one for all of them, or each its own.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets

    def of_worker(self, number: int) -> socket.socket:
        """Give the socket that a worker accepts from; it stays the group's."""
        return self._sockets[number % len(self._sockets)]

    def close(self) -> None:
        """Close all; clients that wait are reset where no worker has the socket, too."""
        for sock in self._sockets:
            sock.close()


def listen(address: Address, options: SocketOptions, backlog: int, workers: int) -> list[SocketGroup]:
    """Listen on an address for several workers.

    :param address: of a name, every address that it has on this machine.
    :param backlog: connections that the kernel may hold ready for each worker.
    :param workers: how many there are.
    :raises ListenError: an address cannot be had, or an option was refused; nothing listens then.
    """
    return take_all(address, lambda own: _listen(own, options, backlog, workers))


def _listen(address: Address, options: SocketOptions, backlog: int, workers: int) -> SocketGroup:
    probe = bind(address, options)
    if address.is_unix:
        probe.listen(backlog)
        return SocketGroup([probe])
    # Nothing else has the address. Of sockets that allow others beside them it would not be known: they join
    # those of any program of the same user that do so, too.
    address = attrs.evolve(address, port=probe.getsockname()[1])
    probe.close()
    sockets: list[socket.socket] = []
    with ExitStack() as undo:
        for number in range(workers):
            sock = bind(address, options, beside=True)
            undo.callback(sock.close)
            sockets.append(sock)
            try:
                if number == 0:
                    attach(sock, workers)
                sock.listen(backlog)
            except OSError as error:
                raise listen_error(address, error) from error
        undo.pop_all()
    return SocketGroup(sockets)
