"""An endpoint for any Twisted program behind a proxy: connections have the addresses of their PROXY headers.

Until the header is complete a connection belongs to a protocol of ours, and the program's factory has not
heard of it. Then the factory is asked for its protocol, and ours hands on whatever comes. It offers what the
program's protocol offers and nothing else, so that a transport which asks whether it may be half-closed gets
that protocol's own answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import converters, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    ILoggingContext,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import IpNetwork, Network
from tcpbalance.config.draft import checked
from tcpbalance.config.quantities import Duration
from tcpbalance.net.addresses import PeerAddress, packed_host, twisted_address
from tcpbalance.reactor import Reactor
from tcpbalance.wire.errors import ProxyHeaderError
from tcpbalance.wire.proxy_header import ProxyAddress, ProxyHeader
from tcpbalance.wire.proxy_protocol import read_header

HEADER_TIMEOUT = 5.0
"""Seconds that a header may take by default."""


@frozen
class _Settings:
    """What an endpoint's arguments are checked by."""

    timeout: Duration = field(converter=plain.duration, validator=checks.longer_than_zero)
    trusted: tuple[Network, ...] | None = field(converter=converters.optional(plain.networks))


@implementer(IStreamServerEndpoint)
class ProxyProtocolEndpoint:
    """Listens on another endpoint for connections that open with a PROXY header, version 1 or 2.

    The factory's ``buildProtocol`` and the transport's ``getPeer`` and ``getHost`` give the header's
    addresses, or the connection's own when the header has none; ``transport.proxy_header`` is the header, a
    ``ProxyHeader``. A connection without a header is aborted before the factory sees it.

    :param endpoint: listens, on TCP, TLS or a unix socket.
    :param reactor: counts the timeout.
    :param trusted: networks of the proxies, such as ``"10.0.0.0/8"``; connections from elsewhere, and over
        unix sockets, are served as they are, and a header is data to them. None: all must have a header.
    :param timeout: seconds that a header may take.
    :raises SettingError: for what is not a network, or a timeout that is not above 0 and finite.
    """

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        *,
        reactor: Reactor,
        trusted: Iterable[str | IpNetwork] | None = None,
        timeout: float = HEADER_TIMEOUT,
    ) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        settings = checked("PROXY endpoint", _Settings, timeout=timeout, trusted=trusted)
        proxies = settings.trusted
        self._trusted = None if proxies is None else NetworkSet(proxy.network for proxy in proxies)
        self._timeout = settings.timeout

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Twisted's call: start to listen; what the other endpoint's ``listen`` returns."""
        factory = _HeaderFactory(protocolFactory, self._reactor, self._trusted, self._timeout)
        return self._endpoint.listen(factory)


class _HeaderFactory(Factory):
    """Stands before the program's factory at one port; ends with it what still waits for a header."""

    noisy = False

    def __init__(
        self, inner: IProtocolFactory, reactor: Reactor, trusted: NetworkSet | None, timeout: float
    ) -> None:
        self.inner = inner
        self.reactor = reactor
        self.timeout = timeout
        self.waiting: set[_HeaderFirst] = set()
        self._trusted = trusted

    def buildProtocol(self, addr: Any) -> Any:
        if self._trusted is None or packed_host(addr) in self._trusted:
            return _HeaderFirst(self, addr)
        return self.inner.buildProtocol(addr)

    def doStart(self) -> None:
        self.inner.doStart()
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's is not annotated

    def doStop(self) -> None:
        self.inner.doStop()
        super().doStop()  # type: ignore[no-untyped-call]

    def stopFactory(self) -> None:
        for protocol in tuple(self.waiting):
            protocol.refuse("its port was closed")

    def logPrefix(self) -> str:
        inner = self.inner
        name = inner.logPrefix() if ILoggingContext.providedBy(inner) else type(inner).__name__
        return f"{name} (PROXY)"


class _HeaderFirst(Protocol):
    """Waits for the header of one connection; then hands on what comes to the program's protocol."""

    transport: Any
    _log = Logger()
    _face: ProxiedTransport | None = None
    _timer: IDelayedCall | None = None
    _data = b""

    def __init__(self, factory: _HeaderFactory, addr: IAddress) -> None:
        self._factory = factory
        self._addr = addr

    def logPrefix(self) -> str:
        return self._factory.logPrefix()

    def connectionMade(self) -> None:
        timeout = self._factory.timeout
        self._timer = self._factory.reactor.callLater(timeout, self.refuse, f"none within {timeout:g} s")
        self._factory.waiting.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self._face is not None:
            self._face.receive(data)
        elif self._timer is not None:
            self._data += data
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._face is not None:
            self._face.end()
            self._face.protocol.connectionLost(reason)
        elif self._timer is not None:
            self._settle()
            self._report_refusal(f"it ended after {len(self._data)} bytes")

    def __getattr__(self, name: str) -> Any:
        # Methods of other interfaces that the program's protocol provides.
        if self._face is None:
            raise AttributeError(name)
        return getattr(self._face.protocol, name)

    def refuse(self, why: str) -> None:
        self._settle()
        self._report_refusal(why)
        self._abort()

    def _read(self) -> None:
        try:
            found = read_header(self._data)
        except ProxyHeaderError as error:
            self.refuse(str(error))
            return
        if found is not None:
            self._settle()
            header, size = found
            self._begin(header, self._data[size:])
            self._data = b""

    def _begin(self, header: ProxyHeader, rest: bytes) -> None:
        try:
            protocol: Any = self._factory.inner.buildProtocol(_address(header.source) or self._addr)
        except Exception:
            self._log.failure("no protocol could be built for a connection with a PROXY header")
            self._abort()
            return
        if protocol is None:
            self.transport.loseConnection()
            return
        self._face = ProxiedTransport(self.transport, protocol, header, rest, self._factory.reactor)
        directlyProvides(self, providedBy(protocol))
        protocol.makeConnection(self._face)
        self._face.deliver()

    def _settle(self) -> None:
        self._factory.waiting.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _report_refusal(self, why: str) -> None:
        self._log.info("no PROXY header from {peer}: {why}", peer=self._addr, why=why)

    def _abort(self) -> None:
        # Only transports over sockets can be aborted.
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()


class ProxiedTransport:
    """The transport of a connection behind a PROXY header: the real one, with the header's addresses.

    Bytes that came with the header wait here while the protocol has paused it, as they would in the kernel.

    :param transport: the real one, which does everything that is not defined here.
    :param protocol: the program's.
    :param header: what the connection opened with.
    :param rest: what came right behind it.
    :param reactor: runs what is not to be done within a call of the protocol's.
    :ivar proxy_header: the header.
    """

    def __init__(
        self, transport: Any, protocol: Any, header: ProxyHeader, rest: bytes, reactor: Reactor
    ) -> None:
        self._transport = transport
        self.write = transport.write
        self.writeSequence = transport.writeSequence
        self.protocol = protocol
        self.proxy_header = header
        self._rest = rest
        self._reactor = reactor
        self._paused = False
        self._delivery: IDelayedCall | None = None

    @property
    def __providedBy__(self) -> Any:
        # Asked each time, because STARTTLS changes it.
        return providedBy(self._transport)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def getPeer(self) -> Any:
        """Whose connection it is: the source of the header."""
        return _address(self.proxy_header.source) or self._transport.getPeer()

    def getHost(self) -> Any:
        """What that peer connected to: the destination of the header."""
        return _address(self.proxy_header.destination) or self._transport.getHost()

    def startTLS(self, *args: Any) -> None:
        """Twisted's call: speak TLS from here on; what waits here is a part of it."""
        self._transport.startTLS(*args)
        rest, self._rest = self._rest, b""
        if rest:
            self._transport.protocol.dataReceived(rest)

    def pauseProducing(self) -> None:
        """Twisted's call: the protocol wants nothing for now."""
        self._paused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Twisted's call: the protocol takes bytes again, beginning with those that wait here."""
        self._paused = False
        if not self._rest:
            self._transport.resumeProducing()
        elif self._delivery is None:
            self._delivery = self._reactor.callLater(0, self._resume)

    def stopProducing(self) -> None:
        """Twisted's call: the protocol wants nothing any more."""
        self._rest = b""
        self._transport.stopProducing()

    def loseConnection(self) -> None:
        """Twisted's call: close once all is written; nothing is read any more."""
        self._rest = b""
        self._transport.loseConnection()

    def abortConnection(self) -> None:
        """Twisted's call: close at once."""
        self._rest = b""
        self._transport.abortConnection()

    def receive(self, data: bytes) -> None:
        """Take what the real transport read; one that could not stop at once must not overtake what waits."""
        if self._rest:
            self._rest += data
        else:
            self.protocol.dataReceived(data)

    def deliver(self) -> None:
        """Hand over what waits here, unless the protocol has paused."""
        if self._rest and not self._paused:
            rest, self._rest = self._rest, b""
            self.protocol.dataReceived(rest)

    def end(self) -> None:
        """Forget what waits here: the connection is lost."""
        self._rest = b""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None

    def _resume(self) -> None:
        self._delivery = None
        self.deliver()
        if not self._paused:
            self._transport.resumeProducing()


def _address(address: ProxyAddress | None) -> PeerAddress | None:
    return None if address is None else twisted_address(address)
