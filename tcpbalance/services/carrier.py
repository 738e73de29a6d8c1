"""How clients come to a frontend: sockets of our own, or the port of a Twisted endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.binding import bind_all
from tcpbalance.net.data_path import DataPath
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions, shrunk_buffers
from tcpbalance.proxy.factory import FrontendFactory


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

    def close(self) -> Deferred[None]:
        """Accept no more clients, and give the address back; calling it again does nothing.

        :returns: fires, never with an error, when the address is given back.
        """
        ...

    def addresses(self) -> Sequence[IAddress]:
        """Give the addresses that clients connect to, none where nothing is held."""
        ...


class ListeningSockets:
    """The listening sockets of one address; a host name may have several.

    :param reactor: see ``Listener``.
    :param name: the frontend's, for the log.
    :param address: what to listen on.
    :param factory: serves the clients.
    :param backlog: connections that the kernel may hold ready to be accepted.
    :param socket: options of the sockets.
    :param socket_file: mode and owner of a unix socket.
    :param data_path: watches the sockets, and carries what they accept.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        address: Address,
        factory: FrontendFactory,
        *,
        backlog: int,
        socket: SocketConfig,
        socket_file: SocketFile,
        data_path: DataPath,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._address = address
        self._factory = factory
        self._backlog = backlog
        self._socket_config = socket
        self._socket_file = socket_file
        self._data_path = data_path
        self._listeners: list[Listener] = []

    def prepare(self) -> None:
        """See ``Carrier``: bind, so that connections are refused for now.

        :raises SocketOptionError: the system refuses an option.
        """
        socks = bind_all(self._address, SocketOptions.of(self._socket_config))
        if self._address.is_unix:
            self._socket_file.give_to(socks[0])
        for sock in socks:
            listener = Listener(
                self._reactor, sock, self._factory, self._backlog, self._data_path, self._factory.stats
            )
            self._factory.registry.accept_pause.pause_on(listener)
            self._listeners.append(listener)
        for warning in shrunk_buffers(socks[0], self._socket_config):
            self._log.warn("frontend {name}: {warning}", name=self._name, warning=warning)

    def open(self) -> Deferred[None]:
        """See ``Carrier``: listen and accept."""
        for listener in self._listeners:
            listener.startListening()
            self._log.info(
                "frontend {name} listens on {address} by the {data_path} ({reason})",
                name=self._name,
                address=listener,
                data_path=self._data_path.name,
                reason=self._data_path.reason,
            )
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See ``Carrier``."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.stopListening()
            self._factory.registry.accept_pause.leave(listener)
        return succeed(None)

    def addresses(self) -> list[IAddress]:
        """See ``Carrier``."""
        return [listener.getHost() for listener in self._listeners]
