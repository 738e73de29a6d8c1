"""How clients come to a frontend: sockets of our own, or the port of a Twisted endpoint."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.environment import PassedDescriptor
from tcpbalance.errors import TcpbalanceError
from tcpbalance.net.binding import ListenError, bind, listen_error, take_all
from tcpbalance.net.data_path import DataPath
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions, shrunk_buffers
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.services.spare_sockets import SpareSocket, SpareSockets


class Carrier(Protocol):
    """Brings the clients of one address of a frontend to its factory.

    It is prepared, opened and closed in this order, and may then be prepared again.
    """

    def prepare(self) -> None:
        """Take the address, and accept no client yet.

        :raises ListenError: the address cannot be had; nothing is held then.
        """
        ...

    def open(self) -> Deferred[None]:
        """Accept clients.

        :returns: fires when they are accepted; fails with ListenError where another process was quicker.
        """
        ...

    def set_backlog(self, backlog: int) -> None:
        """Have another number of connections held ready to be accepted; an endpoint has its own."""
        ...

    def accept_waiting(self) -> None:
        """Accept the clients that wait now, which closing would reset."""
        ...

    def close(self) -> Deferred[None]:
        """Accept no more clients, and give the address back; calling it again does nothing.

        :returns: fires, never with an error, when the address is given back.
        """
        ...

    def addresses(self) -> Sequence[IAddress]:
        """Give the addresses that clients connect to, none where nothing is held."""
        ...


@frozen(eq=False)
class _Taken:
    """A socket that is bound already.

    :param passed: what it was inherited with, None for one that was bound here.
    :param is_shared: whether another frontend has it, too, and is about to close it.
    """

    sock: socket.socket
    passed: PassedDescriptor | None = None
    is_shared: bool = False

    @property
    def owns_file(self) -> bool:
        """Whether the file of a unix socket is removed with it; not while another goes on with it."""
        return not self.is_shared and self.passed is None

    def close(self) -> None:
        """Give the address back."""
        self.sock.close()


class ListeningSockets:
    """The listening sockets of one address; a host name may have several.

    Those that the program has inherited are used as they are until they are opened: until then, a predecessor
    serves their clients, and goes on with it where this program cannot start.

    :param reactor: see ``Listener``.
    :param name: the frontend's, for the log.
    :param address: what to listen on.
    :param factory: serves the clients.
    :param backlog: connections that the kernel may hold ready to be accepted.
    :param options: of the sockets.
    :param socket_file: mode and owner of a unix socket.
    :param data_path: watches the sockets, and carries what they accept.
    :param inherited: sockets that the program has inherited; those of this address are not bound anew.
    :param spare: sockets that other frontends are about to close; those of this address are gone on with.
    :ivar listeners: accept from the sockets, none where nothing is held.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913 - most are given by name
        self,
        reactor: Any,
        name: str,
        address: Address,
        factory: FrontendFactory,
        *,
        backlog: int,
        options: SocketConfig,
        socket_file: SocketFile,
        data_path: DataPath,
        inherited: InheritedSockets,
        spare: SpareSockets,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._address = address
        self._factory = factory
        self._backlog = backlog
        self._socket_config = options
        self._options = SocketOptions.of(options)
        self._socket_file = socket_file
        self._data_path = data_path
        self._inherited = inherited
        self._spare = spare
        self._taken: list[_Taken] = []
        self.listeners: list[Listener] = []

    def prepare(self) -> None:
        """See ``Carrier``: bind, so that connections are refused for now.

        :raises SocketOptionError: the system refuses an option.
        """
        self._taken = take_all(self._address, self._take)
        for taken in self._taken:
            listener = Listener(
                self._reactor,
                taken.sock,
                self._factory,
                self._backlog,
                self._data_path,
                self._factory.stats,
                owns_file=taken.owns_file,
            )
            self._factory.registry.accept_pause.pause_on(listener)
            self.listeners.append(listener)
            if taken.is_shared:
                self._spare.on_commit(listener.own_file)
        self._spare = SpareSockets()

    def _take(self, address: Address) -> _Taken:
        try:
            shared = self._spare.claim(address, self._socket_config, self._socket_file)
            inherited = None if shared is not None else self._inherited.claim(self._name, address)
        except OSError as error:
            raise listen_error(address, error) from error
        if shared is not None:
            return _Taken(shared, is_shared=True)
        if inherited is None:
            sock = bind(address, self._options)
            if address.is_unix:
                self._socket_file.give_to(sock)
            self._warn_of_buffers(sock)
            return _Taken(sock)
        try:
            self._check_inherited(inherited.sock)
        except TcpbalanceError as error:
            refused = ListenError(f"{inherited}: {error}")
            inherited.sock.close()
            raise refused from error
        self._log.info("frontend {name}: uses {socket}", name=self._name, socket=str(inherited))
        return _Taken(inherited.sock, inherited.passed)

    def _check_inherited(self, sock: socket.socket) -> None:
        """Find out what will be refused when a socket is opened; it stays as it is.

        :raises TcpbalanceError: a socket option is refused, or the socket file has another mode or owner.
        """
        if sock.family == socket.AF_UNIX:
            self._socket_file.check(sock.getsockname())
        with socket.socket(sock.family) as scratch:
            self._options.prepare_listener(scratch)
            self._warn_of_buffers(scratch)

    def _warn_of_buffers(self, sock: socket.socket) -> None:
        for warning in shrunk_buffers(sock, self._socket_config):
            self._log.warn("frontend {name}: {warning}", name=self._name, warning=warning)

    def open(self) -> Deferred[None]:
        """See ``Carrier``: listen and accept."""
        for taken, listener in zip(self._taken, self.listeners, strict=True):
            if taken.passed is not None:
                self._options.prepare_listener(taken.sock)
            listener.startListening()
            self._log.info(
                "frontend {name} listens on {address} by the {data_path} ({reason})",
                name=self._name,
                address=listener,
                data_path=self._data_path.name,
                reason=self._data_path.reason,
            )
        return succeed(None)

    def accept_waiting(self) -> None:
        """See ``Carrier``."""
        for listener in self.listeners:
            listener.accept_waiting()

    def set_backlog(self, backlog: int) -> None:
        """See ``Carrier``."""
        self._backlog = backlog
        for listener in self.listeners:
            listener.set_backlog(backlog)

    def close(self) -> Deferred[None]:
        """See ``Carrier``."""
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.stopListening()
            self._factory.registry.accept_pause.leave(listener)
        return succeed(None)

    def spare_sockets(self) -> list[SpareSocket]:
        """Give the sockets, which are about to be closed, to others."""
        return [SpareSocket(it, self._socket_config, self._socket_file) for it in self.listeners]

    def addresses(self) -> list[IAddress]:
        """See ``Carrier``."""
        return [listener.getHost() for listener in self.listeners]
