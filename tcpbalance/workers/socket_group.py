"""The listening sockets of one address, one for each worker, made by the process that keeps them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import attrs
from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.net.addresses import address_text, peer_address
from tcpbalance.net.binding import (
    bind,
    bind_target,
    inode_of,
    listen_error,
    overlaps,
    turn_new_clients_away,
    unlink_own,
)
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.workers.owner import attach, detach

_log = Logger()

Target = tuple[int, Any]
"""A family, and what ``getsockname`` gives of a socket that is bound."""


class SocketGroup:
    """What the workers accept the clients of one address from.

    Each worker has a socket of its own, to which the kernel brings the clients that the worker owns; or where
    PROXY headers name the clients, so that the kernel does not know them, an equal share of all connections.
    The sockets listen in the order of the workers, and none is closed before all are: the number that the
    kernel finds for a client counts them in that order. Of a unix socket, whose clients have no address,
    there is one for all; its file is removed with the group.

    :param sockets: in the order of the workers; one for all of them, or each its own.
    :param by_owner: whether the kernel chooses by `owner`.
    :param socket_file: mode and owner of a unix socket.
    :ivar target: what the sockets are bound to.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        by_owner: bool = False,
        socket_file: SocketFile = SocketFile(),
    ) -> None:
        self._sockets = sockets
        self._by_owner = by_owner
        self.socket_file = socket_file
        first = sockets[0]
        self.target: Target = first.family, first.getsockname()
        self._file: tuple[str, tuple[int, int]] | None = None
        if first.family == socket.AF_UNIX:
            path = first.getsockname()
            self._file = path, inode_of(path)

    def of_worker(self, number: int) -> socket.socket:
        """Give the socket that a worker accepts from; it stays the group's."""
        return self._sockets[number % len(self._sockets)]

    @property
    def address(self) -> str:
        """The address, as logs have it."""
        first = self._sockets[0]
        return address_text(peer_address(first.family, first.getsockname()))

    def choose_by_owner(self, by_owner: bool) -> None:
        """Have the kernel choose by `owner`, or by its own hash, from now on; clients that wait stay."""
        first = self._sockets[0]
        if by_owner is self._by_owner or first.family == socket.AF_UNIX:
            return
        try:
            if by_owner:
                attach(first, len(self._sockets))
            else:
                detach(first)
        except OSError as error:
            # It lacks memory. The reload is past the point where it could be given up.
            _log.error(
                "{address}: clients come to the workers as before the reload: {reason}; reload again",
                address=self.address,
                reason=(error.strerror or str(error)).lower(),
            )
            return
        self._by_owner = by_owner

    def change_file(self, socket_file: SocketFile) -> Callable[[], None]:
        """Give the file of a unix socket another mode and owner.

        :returns: gives it back what it had.
        :raises ListenError: they may not be set; the file is as it was then.
        """
        before = self.socket_file
        if self._file is None or socket_file == before:
            return lambda: None
        return socket_file.change(self._file[0], before)

    def has_port_of(self, address: Address) -> bool:
        """Whether its address and another one have the same port."""
        return self._file is None and self.target[1][1] == address.port

    def overlaps(self, address: Address) -> bool:
        """Whether one of its address and another one is all addresses with the port of both."""
        return overlaps(self._sockets[0], address)

    def turn_new_clients_away(self) -> None:
        """Have new clients come to another group, or be refused; those that wait stay."""
        for sock in self._sockets:
            turn_new_clients_away(sock)

    def close(self) -> None:
        """Close all; clients that wait are reset where no worker has the socket, too."""
        for sock in self._sockets:
            sock.close()
        if self._file is None:
            return
        path, inode = self._file
        try:
            unlink_own(path, inode)
        except OSError as error:
            _log.warn(
                "socket file {path} is left behind: {reason}; remove it",
                path=path,
                reason=(error.strerror or "").lower(),
            )


def target_of(address: Address) -> Target:
    """Give what the sockets of an address are bound to.

    :raises ListenError: this machine does not know it.
    """
    try:
        return bind_target(address)
    except OSError as error:
        raise listen_error(address, error) from error


def listen(
    address: Address,
    options: SocketOptions,
    socket_file: SocketFile,
    backlog: int,
    workers: int,
    *,
    beside: bool = False,
    by_owner: bool = True,
) -> SocketGroup:
    """Listen on an address for several workers.

    :param address: no name.
    :param socket_file: mode and owner of a unix socket.
    :param backlog: connections that the kernel may hold ready for each worker.
    :param workers: how many there are.
    :param beside: whether a group that overlaps the address listens already.
    :param by_owner: see ``SocketGroup``.
    :raises ListenError: the address cannot be had, or an option was refused; nothing listens then.
    """
    sock = bind(address, options, beside=beside)
    if address.is_unix:
        socket_file.give_to(sock)
        sock.listen(backlog)
        return SocketGroup([sock], socket_file=socket_file)
    # Nothing else has the address. Of sockets that allow others beside them it would not be known: they join
    # those of any program of the same user that do so, too.
    port = sock.getsockname()[1]
    sock.close()
    return _listen(attrs.evolve(address, port=port), options, backlog, workers, by_owner)


def _listen(
    address: Address, options: SocketOptions, backlog: int, workers: int, by_owner: bool
) -> SocketGroup:
    sockets: list[socket.socket] = []
    with ExitStack() as undo:
        for number in range(workers):
            sock = bind(address, options, beside=True)
            undo.callback(sock.close)
            sockets.append(sock)
            try:
                sock.listen(backlog)
                if number == 0 and by_owner:
                    # Not before: beside sockets that overlap, one with a program may not begin to listen.
                    attach(sock, workers)
            except OSError as error:
                raise listen_error(address, error) from error
        undo.pop_all()
    return SocketGroup(sockets, by_owner)
