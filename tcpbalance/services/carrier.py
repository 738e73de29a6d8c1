"""How clients come to a frontend: sockets of our own, or the port of a Twisted endpoint."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.environment import PassedDescriptor
from tcpbalance.errors import TcpbalanceError
from tcpbalance.net.binding import ListenError, allow_beside, bind, listen_error, take_all
from tcpbalance.net.claiming_listener import ClaimingListener
from tcpbalance.net.data_path import DataPath
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptionError, shrunk_buffers
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.shared_limit import CountedRegistry
from tcpbalance.services.listener_settings import ListenerSettings
from tcpbalance.services.spare_sockets import SpareSocket, SpareSockets
from tcpbalance.services.stepped import PreparedChange


class Carrier(Protocol):
    """Brings the clients of one address of a frontend to its factory.

    It is prepared, opened and closed in this order, and may then be prepared again.
    """

    def prepare(self) -> None:
        """Take the address, and accept no client yet.

        :raises ListenError: the address cannot be had; nothing is held then.
        """
        ...

    def listen(self, hosts: Sequence[Listener]) -> None:
        """Have clients held ready from now on; an endpoint that is prepared does so already.

        :param hosts: one of them accepts the clients that have come, if the change is abandoned.
        :raises ListenError: another process was quicker.
        """
        ...

    def open(self) -> Deferred[None]:
        """Accept clients.

        :returns: fires when they are accepted; fails with ListenError where another process was quicker.
        """
        ...

    def prepare_change(self, settings: ListenerSettings) -> PreparedChange:
        """Find out whether other settings can be had, for connections that begin from the commit on; an
        endpoint has its own.

        :raises ListenError: the mode or owner of a unix socket cannot be had; nothing has changed then.
        :raises SocketOptionError: the system refuses an option; nothing has changed then.
        """
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
    :param shared: what another frontend has, too, and is about to close; None for a socket of its own.
    :param rival: listens on an address that overlaps, and is about to close.
    """

    sock: socket.socket
    passed: PassedDescriptor | None = None
    shared: SpareSocket | None = None
    rival: Listener | None = None

    @property
    def is_own(self) -> bool:
        """Whether nothing else goes on with it."""
        return self.shared is None and self.passed is None

    def close(self) -> None:
        """Give the address back."""
        self.sock.close()


def _check_file(sock: socket.socket, owner: Listener) -> None:
    """Find out whether clients still find a unix socket.

    :param owner: what accepts from it so far.
    :raises ListenError: its file is gone, or another program's is there.
    """
    if sock.family == socket.AF_UNIX and not owner.has_file():
        path = sock.getsockname()
        raise ListenError(f"unix:{path} was removed or replaced by another program, restart")


def _nothing() -> None:
    """What most changes give back."""


class ListeningSockets:
    """The listening sockets of one address; a host name may have several.

    Those that the program has inherited are used as they are until they are opened: until then, a predecessor
    serves their clients, and goes on with it where this program cannot start.

    :param reactor: see ``Listener``.
    :param name: the frontend's, for the log.
    :param address: what to listen on.
    :param factory: serves the clients.
    :param settings: what holds for the sockets.
    :param data_path: watches the sockets, and carries what they accept.
    :param inherited: sockets that the program has inherited; those of this address are not bound anew.
    :param spare: sockets that other frontends are about to close; those of this address are gone on with.
    :ivar listeners: accept from the sockets, none where nothing is held.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        address: Address,
        factory: FrontendFactory,
        *,
        settings: ListenerSettings,
        data_path: DataPath,
        inherited: InheritedSockets,
        spare: SpareSockets,
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._address = address
        self._factory = factory
        self._settings = settings
        self._data_path = data_path
        self._inherited = inherited
        self._spare = spare
        self._taken: list[_Taken] = []
        self._on_commit: list[Callable[[], None]] = []
        self._on_abandon = ExitStack()
        self.listeners: list[Listener] = []

    def prepare(self) -> None:
        """See ``Carrier``: bind, so that connections are refused for now.

        :raises SocketOptionError: the system refuses an option.
        """
        self._taken = take_all(self._address, self._take, self._spare.found.get(self._address))
        self.listeners = [self._listener(taken) for taken in self._taken]
        with ExitStack() as undo:
            undo.callback(self.close)
            for taken, listener in zip(self._taken, self.listeners, strict=True):
                if taken.rival is not None:
                    self._on_abandon.callback(taken.rival.accept_from, taken.sock)
                if taken.shared is not None:
                    self._prepare_shared(taken.shared, taken.sock, listener)
            undo.pop_all()
        self._spare.on_commit(self._commit)
        self._spare = SpareSockets()

    def _commit(self) -> None:
        self._on_abandon.pop_all()
        calls, self._on_commit = self._on_commit, []
        for call in calls:
            call()

    def _listener(self, taken: _Taken) -> Listener:
        registry = self._factory.registry
        make: Callable[..., Listener] = Listener
        if isinstance(registry, CountedRegistry):
            make = partial(ClaimingListener, registry)
        listener = make(
            self._reactor,
            taken.sock,
            self._factory,
            self._settings.backlog,
            self._data_path,
            self._factory.stats,
            is_own=taken.is_own,
        )
        registry.accept_pause.pause_on(listener)
        return listener

    def _prepare_shared(self, shared: SpareSocket, sock: socket.socket, listener: Listener) -> None:
        """Prepare a socket that another frontend has so far for the settings of this one."""
        _check_file(sock, shared.listener)
        change = self._prepare_socket(sock, shared.listener, shared.settings, self._settings)
        self._on_abandon.callback(change.abandon)
        self._on_commit.append(change.commit)
        self._on_commit.append(lambda: listener.own_as(shared.listener))

    def _take(self, address: Address) -> _Taken:
        try:
            shared = self._spare.claim(address)
            if shared is not None:
                return _Taken(shared.listener.share_socket(), shared=shared)
            inherited = self._inherited.claim(self._name, address)
        except OSError as error:
            raise listen_error(address, error) from error
        if inherited is None:
            taken = self._bind(address)
            self._warn_of_buffers(taken.sock, self._settings)
            return taken
        try:
            self._check_inherited(inherited.sock)
        except TcpbalanceError as error:
            refused = ListenError(f"{inherited}: {error}")
            inherited.sock.close()
            raise refused from error
        self._log.info("frontend {name}: uses {socket}", name=self._name, socket=str(inherited))
        return _Taken(inherited.sock, inherited.passed)

    def _bind(self, address: Address) -> _Taken:
        settings = self._settings
        with self._spare.beside(address) as rival:
            sock = bind(address, settings.options, beside=rival is not None)
            if address.is_unix:
                settings.socket_file.give_to(sock)
            if rival is None:
                return _Taken(sock)
            # Only now, while the other one allows it, can it begin to listen before that is closed.
            try:
                sock.listen(settings.backlog)
            except OSError as error:
                sock.close()
                raise listen_error(address, error) from error
            allow_beside(sock, False)
            return _Taken(sock, rival=rival)

    def _check_inherited(self, sock: socket.socket) -> None:
        """Find out what will be refused when a socket is opened; it stays as it is.

        :raises TcpbalanceError: a socket option is refused, or the socket file has another mode or owner.
        """
        if sock.family == socket.AF_UNIX:
            self._settings.socket_file.check(sock.getsockname())
        self._try_options(sock.family, self._settings)

    def _try_options(self, family: int, settings: ListenerSettings) -> None:
        """Find out what the system refuses.

        :raises SocketOptionError: it refuses an option.
        """
        with socket.socket(family) as scratch:
            settings.options.prepare_listener(scratch)
            self._warn_of_buffers(scratch, settings)

    def _warn_of_buffers(self, sock: socket.socket, settings: ListenerSettings) -> None:
        for warning in shrunk_buffers(sock, settings.socket):
            self._log.warn("frontend {name}: {warning}", name=self._name, warning=warning)

    def listen(self, hosts: Sequence[Listener]) -> None:
        """See ``Carrier``."""
        for taken, listener in zip(self._taken, self.listeners, strict=True):
            if not listener.is_listening:
                listener.listen()
                for host in hosts[:1]:
                    self._on_abandon.callback(host.accept_from, taken.sock)

    def open(self) -> Deferred[None]:
        """See ``Carrier``: listen and accept."""
        for taken, listener in zip(self._taken, self.listeners, strict=True):
            if taken.passed is not None:
                self._settings.options.prepare_listener(taken.sock)
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

    def prepare_change(self, settings: ListenerSettings) -> PreparedChange:
        """See ``Carrier``."""
        before, changes = self._settings, []
        with ExitStack() as undo:
            for taken, listener in zip(self._taken, self.listeners, strict=True):
                change = self._prepare_socket(taken.sock, listener, before, settings)
                undo.callback(change.abandon)
                changes.append(change)
            held = undo.pop_all()

        def commit() -> None:
            self._settings = settings
            for change, listener in zip(changes, self.listeners, strict=True):
                change.commit()
                listener.set_backlog(settings.backlog)

        return PreparedChange(commit, held.close)

    def _prepare_socket(
        self, sock: socket.socket, owner: Listener, before: ListenerSettings, after: ListenerSettings
    ) -> PreparedChange:
        """Prepare a socket that may listen already for other settings.

        :param owner: what accepts from it so far.
        :raises ListenError: mode or owner of a unix socket cannot be had.
        :raises SocketOptionError: the system refuses an option.
        """
        if after.socket != before.socket:
            self._try_options(sock.family, after)
        abandon = _nothing
        if sock.family == socket.AF_UNIX and after.socket_file != before.socket_file:
            path = sock.getsockname()
            _check_file(sock, owner)
            if owner.owns_file:
                abandon = after.socket_file.change(path, before.socket_file)
            else:
                after.socket_file.check(path)
        return PreparedChange(lambda: self._change_options(sock, before, after), abandon)

    def _change_options(self, sock: socket.socket, before: ListenerSettings, after: ListenerSettings) -> None:
        if after.socket == before.socket:
            return
        try:
            after.options.change_listener(sock, before.options)
        except SocketOptionError as error:
            # They could be had a moment ago.
            self._log.error("frontend {name}: {error}", name=self._name, error=str(error))

    def close(self) -> Deferred[None]:
        """See ``Carrier``."""
        self._on_abandon.close()
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.stopListening()
            self._factory.registry.accept_pause.leave(listener)
        return succeed(None)

    def spare_sockets(self) -> list[SpareSocket]:
        """Give the sockets, which are about to be closed, to others."""
        return [SpareSocket(it, self._settings) for it in self.listeners]

    def addresses(self) -> list[IAddress]:
        """See ``Carrier``."""
        return [listener.getHost() for listener in self.listeners]
