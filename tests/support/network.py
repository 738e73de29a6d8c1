"""A network in memory with three parties: clients, the balancer, backends.

The balancer's ends are Twisted's own transports (``memory_transport``) or transports on a poller
(``memory_leg``), on sockets that exist only in memory (``memory_socket``), watched by a reactor that runs
only when told to (``memory_reactor``); so pausing, half-close, reset and full buffers are real, nothing waits
and every run is the same. ::

    network = Network()
    backend = network.backend("10.0.0.1:80")
    client = network.connect_client(frontend_factory)  # the factory dials with network.connector
    client.send(b"hello")
    network.run()
    assert backend.connection.received == b"hello"
"""

from __future__ import annotations

import functools
import itertools
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from support.memory_data_path import EPOLL, MemoryDataPath, MemoryNativeDataPath, MemoryTwistedDataPath
from support.memory_dial import Behaviour, MemoryBackend, MemoryConnector, MemoryDial
from support.memory_peers import Peer, TlsPeer
from support.memory_pipes import MemoryPipes, no_pipes
from support.memory_reactor import MemoryReactor
from support.memory_socket import NO_LINGER, RECEIVE_BUFFER, SEND_BUFFER, MemorySocket, connected_pair
from support.memory_tls import tls_around
from tcpbalance.net.addresses import ClientAddress, PeerAddress, socket_address
from tcpbalance.net.connecting import Connector
from tcpbalance.net.data_path import NativeDataPath
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions

FRONTEND = IPv4Address("TCP", "192.0.2.1", 80)
"""The address that clients connect to."""

MemoryDataPathName = Literal["portable", "copying", "splicing", "bare", "whole"]
"""How the balancer carries bytes: Twisted's transports, transports that only copy, transports that splice
bulk, or those with sockets that dial themselves, and with sessions that begin bare or are made whole at
once."""

NO_OPTIONS = SocketOptions((), (), ())


class Network:
    """Carries bytes in steps; deterministic, without sockets and without a running reactor.

    :param send_buffer: bytes that the kernel holds on the sender's side of each direction.
    :param receive_buffer: bytes that the kernel holds on the receiver's side of each direction.
    :param shuffle: draws the order in which connections that are ready together are served; None = by age.
    :param data path: what the balancer's ends are; those that speak TLS are portable on any.
    :param pipes: what the splicing data path splices with.
    :ivar clock: the time of everything here.
    :ivar reactor: what the balancer's transports run on.
    :ivar connector: what the balancer dials with.
    :ivar transports: the balancer's end of every connection that there ever was.
    """

    def __init__(
        self,
        *,
        send_buffer: int = SEND_BUFFER,
        receive_buffer: int = RECEIVE_BUFFER,
        shuffle: random.Random | None = None,
        data_path: MemoryDataPathName = "portable",
        pipes: MemoryPipes | None = None,
    ) -> None:
        self.clock = Clock()
        self.reactor = MemoryReactor(self.clock, shuffle)
        self._dials = MemoryConnector(self.clock, self._connect_backend, self._accept)
        self.connector: Connector = self._dials
        self.transports: list[Any] = []
        self.pipes = pipes or MemoryPipes()
        self._buffers = (send_buffer, receive_buffer)
        self._numbers = itertools.count(1000)
        self._ports = itertools.count(40000)
        self._peers: list[Peer] = []
        self._ours: dict[int, MemorySocket] = {}
        self._portable: MemoryDataPath = MemoryTwistedDataPath(self.reactor, FRONTEND)
        self._data_path = self._portable if data_path == "portable" else self._native(data_path, shuffle)
        self._begins_bare = data_path == "bare"
        if data_path in {"bare", "whole"}:
            cast(MemoryNativeDataPath, self._data_path).transports = self.transports
            self.connector = SocketConnector(
                self.reactor,
                NO_OPTIONS,
                cast(NativeDataPath, self._data_path),
                clock=self.clock.seconds,
                make_socket=self._make_socket,
            )

    # The parties.

    def backend(self, address: str, behaviour: Behaviour = "accepts", *, tls: bool = False) -> MemoryBackend:
        """Put a backend at *address*."""
        backend = self._dials.backends[address] = MemoryBackend(address, behaviour, tls)
        if tls:
            # Null TLS is spoken on the portable data path only.
            self.connector = self._dials
        return backend

    def connect_client(
        self,
        factory: Any,
        address: IAddress | None = None,
        *,
        tls: bool = False,
        early: bytes = b"",
        program: Callable[[MemorySocket], Peer] | None = None,
    ) -> Any:
        """Let a client connect to *factory*, as through a listener that has just accepted it.

        :param address: the client's; a new port of 198.51.100.7 when left out.
        :param tls: whether Twisted's TLS stands between.
        :param early: what the client had sent before it was accepted.
        :param program: makes the client, of its socket; a ``Peer``, or one of (null) TLS, when left out.
        :returns: the client; it sees a reset when the factory refuses it.
        """
        address = address or IPv4Address("TCP", "198.51.100.7", next(self._ports))
        client, ours = self._link(program or (TlsPeer if tls else Peer))
        client.send(early)
        if self._begins_bare and not tls:
            # As a listener accepts it.
            ours.setblocking(True)
            if factory.serve_bare(ours, _accepted_from(address)):
                return client
            ours.setblocking(False)
        protocol = factory.buildProtocol(address)
        if protocol is None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            ours.close()
        else:
            self._attach(ours, protocol, address, tls, client=False)
        return client

    @property
    def dialled(self) -> list[Any]:
        """Dials whose outcome is open."""
        return [*self._dials.pending, *self._dials.pending_sockets]

    # Its time.

    def step(self) -> bool:
        """Let everybody do once what can be done now; tell whether there was anything to do."""
        outside = [peer.step() for peer in self._peers]
        dialled = self._dials.step()
        inside = self.reactor.turn()
        return any(outside) or dialled or inside

    def run(self, limit: int = 20_000) -> None:
        """Step until nothing can be done without time passing.

        :raises AssertionError: after *limit* steps: something is called again and again.
        """
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"not quiet after {limit} steps")

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each delayed call on the way to run everything that follows from it."""
        end = self.clock.seconds() + seconds
        self.run()
        while (due := self._next_call()) is not None and due <= end:
            self.clock.rightNow = max(due, self.clock.rightNow)
            self.run()
        self.clock.rightNow = end

    def report(self, sock: MemorySocket, events: int) -> None:
        """Report an event at a socket of the balancer's in the place of what is to be reported of it, on the
        native data path."""
        cast(MemoryNativeDataPath, self._data_path).report(sock.fileno(), events)

    def tear_down(self) -> None:
        """Let the reactor be no more, for the native data path."""
        cast(MemoryNativeDataPath, self._data_path).poller.connectionLost(Failure(ConnectionLost()))

    # What is left.

    def leftovers(self) -> list[str]:
        """What the balancer still holds: connections, registrations, dials and delayed calls."""
        return [
            *(f"open: {sock.fileno()}" for sock in self._ours.values() if not sock.closed),
            *(f"read: {reader}" for reader in self.reactor.getReaders() if reader.fileno() != EPOLL),
            *(f"written: {writer}" for writer in self.reactor.getWriters()),
            *(f"dialled: {dial.backend}" for dial in self.dialled),
            *(f"delayed: {call}" for call in self.clock.getDelayedCalls()),
            *self._data_path.leftovers(),
        ]

    # How it is made.

    def _next_call(self) -> float | None:
        return min((call.getTime() for call in self.clock.calls), default=None)

    def _native(self, name: MemoryDataPathName, shuffle: random.Random | None) -> MemoryNativeDataPath:
        store = no_pipes() if name == "copying" else self.pipes.store()
        data_path = MemoryNativeDataPath(self.reactor, self._ours, shuffle, store)
        self.pipes.on_fill = data_path.note
        return data_path

    def _link(self, program: Callable[[MemorySocket], Peer]) -> tuple[Any, MemorySocket]:
        theirs, ours = connected_pair(self._numbers, *self._buffers)
        peer = program(theirs)
        self._peers.append(peer)
        self._ours[ours.number] = ours
        self.reactor.know(ours.fileno(), ours.events)
        return peer, ours

    def _make_socket(self, family: int, kind: int) -> Any:
        """Make a socket that is to be connected."""
        theirs, ours = connected_pair(self._numbers, *self._buffers)
        ours.connect_later(functools.partial(self._dials.connect_socket, theirs))
        self._ours[ours.number] = ours
        self.reactor.know(ours.fileno(), ours.events)
        return ours

    def _accept(self, backend: MemoryBackend, sock: MemorySocket) -> None:
        peer = Peer(sock)
        self._peers.append(peer)
        backend.accepted(peer)

    def _connect_backend(self, backend: MemoryBackend, dial: MemoryDial) -> None:
        peer, ours = self._link(TlsPeer if backend.tls else Peer)
        backend.accepted(peer)
        host, _, port = backend.address.rpartition(":")
        address = IPv4Address("TCP", host, int(port))
        protocol = dial.shake_hands(address) if backend.tls else dial.factory.buildProtocol(address)
        if protocol is None:
            ours.close()
        else:
            self._attach(ours, protocol, address, backend.tls, client=True)

    def _attach(
        self, sock: MemorySocket, protocol: IProtocol, address: IAddress, tls: bool, *, client: bool
    ) -> None:
        if tls:
            transport = self._portable.attach(sock, tls_around(protocol, self.clock, client=client), address)
        else:
            transport = self._data_path.attach(sock, protocol, address)
        if transport not in self.transports:
            self.transports.append(transport)


def _accepted_from(address: IAddress) -> ClientAddress:
    """What a listener makes of the address of a client."""
    if isinstance(address, UNIXAddress):
        return ClientAddress(address.name or "", socket.AF_UNIX)
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    return ClientAddress(socket_address(cast(PeerAddress, address)), family)


_WATCHES: list[list[str]] = []


@contextmanager
def no_logged_failure() -> Iterator[None]:
    """Fail when code run in here logs a failure, as Twisted does with an exception from a protocol.

    Of several one in the other, the innermost counts.

    :raises AssertionError: with the failures.
    """
    failures: list[str] = []

    @implementer(ILogObserver)
    def look(event: dict[str, Any]) -> None:
        # What comes through the older twisted.python.log has no log_failure, but is critical all the same.
        failed = "log_failure" in event or event["log_level"] is LogLevel.critical
        if failed and failures is _WATCHES[-1]:
            failures.append(eventAsText(event))

    _WATCHES.append(failures)
    globalLogPublisher.addObserver(look)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(look)
        _WATCHES.remove(failures)
    assert not failures, "\n".join(failures)
