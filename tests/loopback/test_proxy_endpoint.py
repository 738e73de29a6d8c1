"""The endpoint for PROXY headers, on real sockets: who is told what, and what never reaches the program."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IListeningPort,
    ISSLTransport,
    IStreamServerEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from support.clients import connect, reset
from support.probe_peers import Certificate
from support.sockets import Recorder, until
from tcpbalance import ProxyProtocolEndpoint, SettingError
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    Tlv,
    UnixAddress,
    encode_v1,
    encode_v2,
    encode_v2_local,
)

reactor: Any = global_reactor

CLIENT, SERVICE = InetAddress("192.0.2.1", 56324), InetAddress("198.51.100.2", 443)
HEADER = encode_v2(CLIENT, SERVICE, (Tlv(0x02, b"a.example"),))
TIMEOUT = 5.0
IDENTITY = Certificate.make("a.example")


class Whole(Protocol):
    """Cannot be half-closed."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Paused(Recorder):
    """Takes nothing before it is told to."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()


class Program(Factory):
    """Keeps what it makes and what it is told; makes nothing, or raises, when told to."""

    noisy = False

    def __init__(self, kind: type[Recorder] | type[Whole] = Recorder) -> None:
        self.kind = kind
        self.made: list[Any] = []
        self.forgotten: list[Any] = []
        self.addresses: list[object] = []
        self.calls: list[str] = []
        self.refuses = False
        self.breaks = False

    def startFactory(self) -> None:
        self.calls.append("start")

    def stopFactory(self) -> None:
        self.calls.append("stop")

    def forget(self) -> None:
        """Begin anew with what is made."""
        self.forgotten += self.made
        self.made.clear()

    def buildProtocol(self, addr: object) -> Any:
        self.addresses.append(addr)
        if self.breaks:
            raise RuntimeError("broken on purpose")
        if self.refuses:
            return None
        self.made.append(self.kind())
        return self.made[-1]


class EndpointCase(TestCase):
    """A program behind the endpoint, whose timeouts pass when the test says so."""

    timeout = 30

    def setUp(self) -> None:
        self.clock = Clock()
        self.program = Program()
        self.port: Any = None
        self.addCleanup(lambda: ensureDeferred(self.close_all()))

    async def close_all(self) -> None:
        """Close what the program still has, once the ports have been closed."""
        made = (*self.program.made, *self.program.forgotten)
        open_ones = [protocol.transport for protocol in made if protocol.lost is None]
        for transport in open_ones:
            transport.abortConnection()
        await until(reactor, lambda: not any(transport.connected for transport in open_ones))

    async def listen(
        self, endpoint: Any = None, trusted: list[str] | None = None, factory: Any = None
    ) -> Any:
        inner = endpoint or TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        wrapper = ProxyProtocolEndpoint(inner, reactor=self.clock, trusted=trusted, timeout=TIMEOUT)
        verifyObject(IStreamServerEndpoint, wrapper)
        self.port = await wrapper.listen(factory or self.program)
        verifyObject(IListeningPort, self.port)
        self.addCleanup(self.port.stopListening)
        return self.port

    async def client(self, data: bytes = b"") -> socket.socket:
        """Connect a plain socket that sends this and stays."""
        if self.port is None:
            await self.listen()
        sock = connect(self.port.getHost().port)
        self.addCleanup(sock.close)
        sock.sendall(data)
        return sock

    async def waits(self) -> None:
        """Wait for the port to have accepted the client."""
        await until(reactor, self.clock.getDelayedCalls)

    async def served(self) -> Any:
        await until(reactor, lambda: self.program.made)
        return self.program.made[-1]

    async def ended(self, sock: socket.socket) -> bytes:
        """Wait for the server's end of a connection; what came before it, or "reset" for a broken one."""
        sock.setblocking(False)
        got: list[bytes] = []

        def over() -> bool:
            try:
                got.append(sock.recv(65536))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                got.append(b"reset")
                return True
            return not got[-1]

        await until(reactor, over)
        return b"".join(got)

    async def lost(self, protocol: Any) -> Failure:
        await until(reactor, lambda: protocol.lost)
        reason: Failure = protocol.lost
        return reason


class ServedTests(EndpointCase):
    """Connections with a good header."""

    async def test_the_program_is_told_the_headers_addresses(self) -> None:
        await self.client(HEADER)
        transport = (await self.served()).transport
        peer, host = IPv4Address("TCP", "192.0.2.1", 56324), IPv4Address("TCP", "198.51.100.2", 443)
        assert self.program.addresses == [peer]
        assert (transport.getPeer(), transport.getHost()) == (peer, host)
        assert transport.proxy_header.authority == "a.example"
        assert ITCPTransport.providedBy(transport)
        assert not self.clock.getDelayedCalls()

    async def test_addresses_of_other_families(self) -> None:
        await self.client(encode_v1(InetAddress("2001:db8::1", 1), SERVICE))
        await self.served()
        await self.client(encode_v2(UnixAddress(b"/run/a"), UnixAddress(b"")))
        await until(reactor, lambda: len(self.program.made) == 2)
        one, two = (protocol.transport for protocol in self.program.made)
        assert one.getPeer() == IPv6Address("TCP", "2001:db8::1", 1)
        assert one.getHost() == IPv6Address("TCP", "::ffff:198.51.100.2", 443)
        assert (two.getPeer(), two.getHost()) == (UNIXAddress(b"/run/a"), UNIXAddress(None))

    async def test_without_addresses_the_connections_own_stand(self) -> None:
        for number, header in enumerate((encode_v2_local(), encode_v1(None, None), encode_v2(None, None)), 1):
            sock = await self.client(header)
            await until(reactor, lambda number=number: len(self.program.made) == number)  # type: ignore[misc]
            transport = self.program.made[-1].transport
            assert (
                self.program.addresses[-1] == transport.getPeer() == IPv4Address("TCP", *sock.getsockname())
            )
            assert transport.getHost() == self.port.getHost()

    async def test_data_in_the_same_segment(self) -> None:
        await self.client(HEADER + b"hello")
        protocol = await self.served()
        await until(reactor, lambda: protocol.received)
        assert protocol.received == b"hello"

    async def test_one_byte_a_segment(self) -> None:
        sock = await self.client()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HEADER + b"hello":
            sock.sendall(bytes((byte,)))
            await deferLater(reactor, 0, lambda: None)
        protocol = await self.served()
        await until(reactor, lambda: protocol.received == b"hello")

    async def test_both_ways_until_the_end(self) -> None:
        sock = await self.client(HEADER)
        protocol = await self.served()
        protocol.transport.write(b"one ")
        protocol.transport.writeSequence([b"two ", b"three"])
        protocol.transport.loseConnection()
        assert await self.ended(sock) == b"one two three"
        assert (await self.lost(protocol)).type.__name__ == "ConnectionDone"

    async def test_an_abort_is_a_reset(self) -> None:
        sock = await self.client(HEADER)
        (await self.served()).transport.abortConnection()
        assert await self.ended(sock) == b"reset"

    async def test_a_reset_is_told(self) -> None:
        sock = await self.client(HEADER)
        protocol = await self.served()
        reset(sock)
        assert (await self.lost(protocol)).type.__name__ == "ConnectionLost"

    async def test_a_half_closed_connection_can_still_answer(self) -> None:
        sock = await self.client(HEADER + b"question")
        sock.shutdown(socket.SHUT_WR)
        protocol = await self.served()
        await until(reactor, lambda: protocol.finished)
        assert protocol.received == b"question"
        assert protocol.lost is None
        protocol.transport.write(b"answer")
        protocol.transport.loseConnection()
        assert await self.ended(sock) == b"answer"

    async def test_the_program_half_closes(self) -> None:
        sock = await self.client(HEADER)
        protocol = await self.served()
        protocol.transport.write(b"answer")
        protocol.transport.loseWriteConnection()
        assert await self.ended(sock) == b"answer"
        sock.setblocking(True)
        sock.sendall(b"more")
        await until(reactor, lambda: protocol.received == b"more")
        protocol.transport.loseConnection()
        await self.lost(protocol)

    async def test_a_protocol_that_cannot_be_half_closed_is_not_asked_to(self) -> None:
        self.program.kind = Whole
        sock = await self.client(HEADER)
        protocol = await self.served()
        assert not IHalfCloseableProtocol.providedBy(protocol.transport._transport.protocol)
        sock.shutdown(socket.SHUT_WR)
        assert (await self.lost(protocol)).type.__name__ == "ConnectionDone"
        assert await self.ended(sock) == b""

    async def test_what_came_with_the_header_waits_while_paused(self) -> None:
        self.program.kind = Paused
        sock = await self.client(HEADER + b"one ")
        protocol = await self.served()
        sock.sendall(b"two")
        assert protocol.received == b""
        protocol.transport.resumeProducing()
        assert protocol.received == b""
        self.clock.advance(0)
        assert protocol.received == b"one "
        await until(reactor, lambda: protocol.received == b"one two")
        protocol.transport.pauseProducing()
        protocol.transport.resumeProducing()
        sock.sendall(b" three")
        await until(reactor, lambda: protocol.received == b"one two three")

    async def test_a_pause_before_the_turn_comes_holds(self) -> None:
        self.program.kind = Paused
        await self.client(HEADER + b"one")
        protocol = await self.served()
        protocol.transport.resumeProducing()
        protocol.transport.pauseProducing()
        self.clock.advance(0)
        assert protocol.received == b""
        protocol.transport.resumeProducing()
        self.clock.advance(0)
        assert protocol.received == b"one"

    async def test_nothing_comes_after_the_program_closed(self) -> None:
        for close in ("loseConnection", "abortConnection", "stopProducing"):
            self.program.kind = Paused
            sock = await self.client(HEADER + b"unread")
            protocol = await self.served()
            protocol.transport.resumeProducing()
            getattr(protocol.transport, close)()
            await self.lost(protocol)
            assert not self.clock.getDelayedCalls()
            assert protocol.received == b""
            sock.close()
            self.program.forget()

    async def test_a_protocol_put_in_place_of_the_programs_is_served(self) -> None:
        sock = await self.client(HEADER)
        protocol = await self.served()
        successor = Recorder()
        protocol.transport.protocol = successor
        successor.makeConnection(protocol.transport)
        sock.sendall(b"hello")
        await until(reactor, lambda: successor.received == b"hello")
        sock.close()
        await until(reactor, lambda: successor.finished)
        successor.transport.loseConnection()
        await self.lost(successor)
        assert protocol.received == b""

    async def test_on_a_unix_socket(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = str(Path(folder) / "s")
        await self.listen(UNIXServerEndpoint(reactor, path))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(HEADER + b"hello")
            protocol = await self.served()
            await until(reactor, lambda: protocol.received == b"hello")
            assert protocol.transport.getPeer().host == "192.0.2.1"
            protocol.transport.loseConnection()
            await self.lost(protocol)


class RefusedTests(EndpointCase):
    """Connections without a good header, and programs that will not serve."""

    async def refused(self, sock: socket.socket, outcome: bytes = b"reset") -> str:
        """See that a connection ends and that nobody hears of it but the log."""
        assert await self.ended(sock) == outcome
        assert self.program.addresses == []
        assert not self.clock.getDelayedCalls()
        return str(sock.getsockname()[1])

    async def test_a_wrong_byte(self) -> None:
        with capturedLogs() as logs:
            port = await self.refused(await self.client(b"GET / HTTP/1.1\r\n\r\n"))
        [line] = [event for event in logs if event["log_namespace"].startswith("tcpbalance")]
        assert line["log_level"] is LogLevel.info
        assert port in str(line["peer"])
        assert line["why"] == "not a PROXY header, it begins with b'GET / HTTP/1.1\\r\\n'"

    async def test_the_timeout(self) -> None:
        sock = await self.client(HEADER[:-1])
        await self.waits()
        self.clock.advance(TIMEOUT - 0.1)
        assert self.clock.getDelayedCalls()
        with capturedLogs() as logs:
            self.clock.advance(0.1)
        assert [event["why"] for event in logs] == ["none within 5 s"]
        await self.refused(sock)

    async def test_the_timeout_is_over_with_the_header(self) -> None:
        await self.client(HEADER)
        protocol = await self.served()
        self.clock.advance(2 * TIMEOUT)
        await deferLater(reactor, 0, lambda: None)
        assert protocol.lost is None

    async def test_an_end_before_the_header_is_complete(self) -> None:
        sock = await self.client(HEADER[:20])
        with capturedLogs() as logs:
            sock.shutdown(socket.SHUT_WR)
            await self.refused(sock, b"")
        assert [event["why"] for event in logs] == ["it ended after 20 bytes"]

    async def test_a_stopped_port_ends_what_waits_and_nothing_else(self) -> None:
        await self.client(HEADER)
        protocol = await self.served()
        sock = await self.client(HEADER[:20])
        await self.waits()
        await self.port.stopListening()
        assert not self.clock.getDelayedCalls()
        assert await self.ended(sock) == b"reset"
        assert protocol.lost is None
        assert len(self.program.addresses) == 1

    async def test_the_factory_is_started_and_stopped_once(self) -> None:
        await self.listen()
        assert (self.program.calls, self.program.numPorts) == (["start"], 1)
        await self.port.stopListening()
        assert (self.program.calls, self.program.numPorts) == (["start", "stop"], 0)

    async def test_a_factory_that_makes_nothing(self) -> None:
        self.program.refuses = True
        assert await self.ended(await self.client(HEADER)) == b""
        assert len(self.program.addresses) == 1

    async def test_a_factory_that_raises(self) -> None:
        self.program.breaks = True
        assert await self.ended(await self.client(HEADER)) == b"reset"
        assert len(self.flushLoggedErrors(RuntimeError)) == 1
        self.program.breaks = False
        await self.client(HEADER)
        await self.served()


@implementer(IHandshakeListener)
class Starting(Recorder):
    """Starts TLS at once, as the server."""

    shaken = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.startTLS(CertificateOptions(privateKey=IDENTITY.key, certificate=IDENTITY.certificate))

    def handshakeCompleted(self) -> None:
        self.shaken = True


class TlsTests(EndpointCase):
    """TLS behind the header."""

    async def speak_tls(self) -> Recorder:
        """Connect, send a header, start TLS and say hello in it."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client: Any = await endpoint.connect(Factory.forProtocol(Recorder))
        client.transport.write(HEADER)
        client.transport.startTLS(CertificateOptions())
        client.transport.write(b"hello")
        spoken: Recorder = client
        return spoken

    async def test_a_factory_of_tls(self) -> None:
        options = CertificateOptions(privateKey=IDENTITY.key, certificate=IDENTITY.certificate)
        await self.listen(factory=TLSMemoryBIOFactory(options, False, self.program))
        client = await self.speak_tls()
        protocol = await self.served()
        await until(reactor, lambda: protocol.received == b"hello")
        assert protocol.transport.getPeer().host == "192.0.2.1"
        assert protocol.transport.proxy_header.authority == "a.example"
        protocol.transport.loseConnection()
        await self.lost(client)
        await self.lost(protocol)

    async def test_a_protocol_that_starts_tls(self) -> None:
        self.program.kind = Starting
        await self.listen()
        client = await self.speak_tls()
        protocol = await self.served()
        await until(reactor, lambda: protocol.received == b"hello")
        assert protocol.shaken
        assert ISSLTransport.providedBy(protocol.transport)
        protocol.transport.write(b"answer")
        protocol.transport.loseConnection()
        await self.lost(client)
        assert client.received == b"answer"
        await self.lost(protocol)


class TrustedTests(EndpointCase):
    """Only proxies that are known have to send a header."""

    async def test_a_trusted_peer_must_send_one(self) -> None:
        await self.listen(trusted=["192.0.2.0/24", "127.0.0.0/8"])
        await self.client(HEADER)
        assert (await self.served()).transport.getPeer().host == "192.0.2.1"
        assert await self.ended(await self.client(b"hello")) == b"reset"

    async def test_any_other_is_served_as_it_is(self) -> None:
        for networks in (["192.0.2.0/24", "2001:db8::/32"], []):
            await self.listen(trusted=networks)
            sock = await self.client(HEADER)
            protocol = await self.served()
            await until(reactor, lambda protocol=protocol: protocol.received)  # type: ignore[misc]
            assert protocol.received == HEADER
            assert protocol.transport.getPeer() == IPv4Address("TCP", *sock.getsockname())
            assert not self.clock.getDelayedCalls()
            self.program.forget()

    async def test_an_ipv4_peer_of_a_socket_for_both(self) -> None:
        await self.listen(TCP6ServerEndpoint(reactor, 0, interface="::"), trusted=["127.0.0.1"])
        await self.client(HEADER)
        assert (await self.served()).transport.getPeer().host == "192.0.2.1"

    def test_what_is_no_network_or_no_time(self) -> None:
        for values, why in (
            ({"trusted": ["10.0.0.1/8"]}, 'trusted must be a network .* did you mean "10.0.0.0/8"'),
            ({"trusted": ["proxy.example"]}, 'trusted must be a network .* got "proxy.example"'),
            ({"timeout": 0.0}, "PROXY endpoint: timeout must be longer than 0s"),
        ):
            with self.assertRaisesRegex(SettingError, why):
                ProxyProtocolEndpoint(TCP4ServerEndpoint(reactor, 0), reactor=reactor, **values)
