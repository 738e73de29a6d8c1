"""Where the balancer dials to: backends in memory, and the ``Connector`` that reaches them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Literal

from attrs import define, field
from twisted.internet.interfaces import IAddress, IDelayedCall, IHandshakeListener, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from support.memory_peers import Peer
from support.memory_socket import MemorySocket
from tcpbalance.config.addresses import Address
from tcpbalance.net.connect_errors import AddressRefused, ConnectFailed, timed_out
from tcpbalance.net.connecting import ConnectionFactory, MayDial
from tcpbalance.net.socket_connector import DIAL_RESOLUTION
from tcpbalance.net.wheel import Wheel

Behaviour = Literal[
    "speaks_at_once", "accepts", "refuses", "hangs", "resets_at_once", "lacks_descriptor", "lacks_buffers"
]


@define(eq=False)
class MemoryBackend:
    """A listener that stands for a backend; every connection it accepted is kept.

    :param address: as the operator writes it.
    :param behaviour: what becomes of a dial: ``hangs`` lets it wait (until the behaviour changes),
        ``resets_at_once`` accepts and breaks off, ``lacks_descriptor`` and ``lacks_buffers`` mean
        that the balancer has none left.
    :param tls: whether its connections carry (null) TLS.
    :param turns: how many turns of the network a dial is under way before its outcome is known.
    :param on_accept: called with each connection as soon as it is accepted.
    :ivar dials: dials that reached this backend, with every outcome.
    """

    address: str
    behaviour: Behaviour = "accepts"
    tls: bool = False
    turns: int = 0
    on_accept: Callable[[Any], None] = lambda _: None
    connections: list[Any] = field(factory=list)
    dials: int = 0

    @property
    def connection(self) -> Any:
        """The one connection that it has accepted."""
        (only,) = self.connections
        return only

    def accepted(self, peer: Peer) -> None:
        """Take a connection."""
        self.connections.append(peer)
        self.on_accept(peer)
        if self.behaviour == "resets_at_once":
            peer.reset()


class MemoryDial:
    """An attempt under way; see ``tcpbalance.net.connecting.Pending``."""

    def __init__(
        self, clock: IReactorTime, backend: MemoryBackend | None, factory: ConnectionFactory, timeout: float
    ) -> None:
        self.backend = backend
        self.factory = factory
        self.over = False
        self.may_be = True
        self.turns = 0
        self._handshake: Handshake | None = None
        self._cause = ConnectFailed(timed_out(timeout), is_late=True)
        self._timer: IDelayedCall | None = clock.callLater(timeout, self._fail)

    def cancel(self) -> None:
        self.over = True
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._handshake is not None:
            self._handshake.give_up()

    def shake_hands(self, address: IAddress) -> Handshake:
        """Give what stands at the backend's transport until its handshake is over."""
        self._handshake = Handshake(self.factory, address)
        return self._handshake

    def refuse(self) -> None:
        """End because the address may not be dialled."""
        self._cause = AddressRefused()
        self._fail()

    def fail(self, code: int) -> None:
        """End with the failure that an error number stands for."""
        self._cause = ConnectFailed.from_errno(code)
        self._fail()

    def _fail(self) -> None:
        self.cancel()
        self.factory.clientConnectionFailed(self, Failure(self._cause))


@implementer(IHandshakeListener)
class Handshake(Protocol):
    """An attempt is over once its handshake is, as with ``dial_tls``; the protocol that waits comes after."""

    transport: Any

    def __init__(self, factory: ConnectionFactory, address: IAddress) -> None:
        self._factory: ConnectionFactory | None = factory
        self._address = address

    def handshakeCompleted(self) -> None:
        factory, self._factory = self._factory, None
        protocol = factory.buildProtocol(self._address) if factory is not None else None
        if protocol is None:
            self.transport.abortConnection()
            return
        self.transport.wrappedProtocol = protocol
        protocol.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        factory, self._factory = self._factory, None
        if factory is not None:
            factory.clientConnectionFailed(self, Failure(ConnectFailed("TLS: reset")))

    def give_up(self) -> None:
        """Tell nobody; nothing after the handshake."""
        factory, self._factory = self._factory, None
        if factory is not None:
            self.transport.abortConnection()


@define(eq=False)
class SocketDial:
    """The ``connect`` of a memory socket that is under way.

    :param sock: the balancer's.
    :param other: the other end of it, the backend's once it accepts.
    :param backend: where it leads; None where nothing listens.
    """

    sock: MemorySocket
    other: MemorySocket
    backend: MemoryBackend | None
    turns: int = 0
    over: bool = False
    connected: bool = False

    def step(self, establish: Callable[[MemoryBackend, MemorySocket], None]) -> bool:
        """Decide it, if it can be decided; tell whether it was."""
        behaviour = "refuses" if self.backend is None else self.backend.behaviour
        if self.sock.closed and not self.connected:
            self.over = True
        if self.over or behaviour == "hangs":
            return False
        if self.backend is not None and self.turns < self.backend.turns:
            self.turns += 1
            return True
        if self.backend is None or behaviour == "refuses":
            self.over = True
            self.sock.refused(errno.ECONNREFUSED)
        elif not self.connected:
            # The kernel accepts, and the program behind it a moment later.
            self.connected = True
            if behaviour == "speaks_at_once":
                self.other.send(GREETING)
            self.sock.accepted()
        else:
            self.over = True
            establish(self.backend, self.other)
        return True


GREETING = b"hello"
"""What a backend that ``speaks_at_once`` has sent by the time that the balancer learns of the connection;
where sockets are dialled only."""

LACKS = {"lacks_descriptor": errno.EMFILE, "lacks_buffers": errno.ENOBUFS}


class MemoryConnector:
    """Dials backends in memory; see ``tcpbalance.net.connecting.Connector``. No dial ends within the call.

    :param clock: for the timeouts.
    :param establish: makes the connection once the backend accepts.
    :param accept: gives a backend its end of a connection that a socket was dialled for.
    :ivar backends: what listens, by address; any other address refuses.
    """

    def __init__(
        self,
        clock: IReactorTime,
        establish: Callable[[MemoryBackend, MemoryDial], None],
        accept: Callable[[MemoryBackend, MemorySocket], None],
    ) -> None:
        self.backends: dict[str, MemoryBackend] = {}
        self._accept = accept
        self._socket_dials: list[SocketDial] = []
        self._clock = clock
        self._establish = establish
        self._dials: list[MemoryDial] = []
        self.wheel = Wheel(clock, clock.seconds, DIAL_RESOLUTION)

    def connect(
        self,
        address: Address,
        factory: ConnectionFactory,
        timeout: float,
        may_dial: MayDial | None = None,
    ) -> MemoryDial:
        backend = self.backends.get(str(address))
        if backend is not None:
            backend.dials += 1
        dial = MemoryDial(self._clock, backend, factory, timeout)
        dial.may_be = may_dial is None or may_dial(str(address.host))
        self._dials.append(dial)
        return dial

    def connect_socket(self, other: MemorySocket, sock: MemorySocket, address: tuple[str, int]) -> int:
        """Begin what ``connect`` of a socket begins, and give what it answers."""
        host, port = address
        backend = self.backends.get(f"{host}:{port}")
        if backend is not None:
            backend.dials += 1
            if backend.behaviour in LACKS:
                return LACKS[backend.behaviour]
        self._socket_dials.append(SocketDial(sock, other, backend))
        return errno.EINPROGRESS

    @property
    def pending(self) -> list[MemoryDial]:
        """The dials whose outcome is open."""
        self._dials = [dial for dial in self._dials if not dial.over]
        return list(self._dials)

    @property
    def pending_sockets(self) -> list[SocketDial]:
        """The same of sockets."""
        return [dial for dial in self._socket_dials if not dial.sock.closed]

    def step(self) -> bool:
        """Decide the dials that can be decided; tell whether there was one."""
        decided = [self._decide(dial) for dial in self.pending if not dial.over]
        decided += [dial.step(self._accept) for dial in list(self._socket_dials)]
        self._socket_dials = [dial for dial in self._socket_dials if not dial.over]
        return any(decided)

    def _decide(self, dial: MemoryDial) -> bool:
        behaviour = "refuses" if dial.backend is None else dial.backend.behaviour
        if dial.over or behaviour == "hangs":
            return False
        if dial.backend is not None and dial.turns < dial.backend.turns:
            dial.turns += 1
            return True
        if not dial.may_be:
            dial.refuse()
        elif dial.backend is None or behaviour == "refuses":
            dial.fail(errno.ECONNREFUSED)
        elif behaviour == "lacks_descriptor":
            dial.fail(errno.EMFILE)
        elif behaviour == "lacks_buffers":
            dial.fail(errno.ENOBUFS)
        else:
            dial.cancel()
            self._establish(dial.backend, dial)
        return True
