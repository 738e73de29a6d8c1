"""What sessions rely on in a transport holds for each: ours, Twisted's, and what is wrapped around either."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from support.certificates import Authority
from support.clients import reset
from support.data_paths import DataPathCase
from support.sockets import until
from support.tls_lines import Peer, client_context, client_in_memory, connected, frontend_tls, to_send
from support.transport_scripts import HalfCloseRecorder, Source
from tcpbalance.config.addresses import Address
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.net.adapted_transport import AdaptedTransport, as_transport
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.data_path import begin
from tcpbalance.net.pump import MORE
from tcpbalance.net.socket_transport import BUFFER
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.transport import Transport
from tcpbalance.net.wheel import Wheel

reactor: Any = global_reactor

MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


@implementer(IHandshakeListener)
class Listener(HalfCloseRecorder):
    """Writes down what is reported to it, with the size of each piece.

    :ivar pieces: as they came.
    """

    def __init__(self) -> None:
        super().__init__([])
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.pieces.append(data)

    @property
    def received(self) -> bytes:
        return b"".join(self.pieces)

    def handshakeCompleted(self) -> None:
        self.story.append("agreed")

    def on_connection_error(self) -> None:
        self.story.append("broken")


class TransportTests(DataPathCase):
    """On the portable data path."""

    is_native = False

    def connect(self) -> tuple[Transport, Listener, socket.socket]:
        """Give a transport, its protocol, and the peer's end, which does not block."""
        theirs, ours = connected()
        self.addCleanup(theirs.close)
        listener = Listener()
        begin(self.data_path, ours, listener, peer_address(ours.family, ours.getpeername()))
        transport = as_transport(listener.transport)
        self.addCleanup(self.abort, transport, listener)
        return transport, listener, theirs

    async def abort(self, transport: Transport, listener: Listener) -> None:
        if not listener.story or not listener.story[-1].startswith("lost"):
            transport.abortConnection()
            await until(reactor, lambda: listener.story[-1:] and listener.story[-1].startswith("lost"))

    async def read(self, sock: socket.socket, size: int) -> bytes:
        """Read so many bytes at the peer; fewer where the end comes first."""
        data = bytearray()

        def all_there() -> bool:
            try:
                part = sock.recv(1 << 20)
            except BlockingIOError:
                return False
            data.extend(part)
            return not part or len(data) >= size

        await until(reactor, all_there)
        return bytes(data)

    # Both ways

    def test_it_is_adapted_once(self) -> None:
        transport, _, _ = self.connect()
        assert as_transport(transport) is transport
        assert isinstance(transport, AdaptedTransport) is not self.is_native

    async def test_bytes_both_ways(self) -> None:
        transport, listener, theirs = self.connect()
        transport.write(b"one ")
        transport.write(b"two ", MORE)
        transport.writeSequence([b"three", b" four"])
        assert await self.read(theirs, 18) == b"one two three four"
        theirs.send(b"hello")
        await until(reactor, lambda: listener.received == b"hello")

    def test_its_ends(self) -> None:
        transport, _, theirs = self.connect()
        ours, peer = transport.getHost(), transport.getPeer()
        assert (ours.host, ours.port) == theirs.getpeername()
        assert (peer.host, peer.port) == theirs.getsockname()
        assert transport.getHandle().getpeername() == theirs.getsockname()

    # Reading

    async def test_nothing_is_reported_while_it_is_paused(self) -> None:
        transport, listener, theirs = self.connect()
        _, marker, far = self.connect()
        transport.pauseProducing()
        theirs.send(b"hello")
        far.send(b"hello")
        await until(reactor, lambda: marker.received)
        assert listener.story == []
        transport.resumeProducing()
        await until(reactor, lambda: listener.received == b"hello")

    async def test_small_reads(self) -> None:
        transport, listener, theirs = self.connect()
        transport.read_at_most(10)
        theirs.send(b"x" * 25)
        await until(reactor, lambda: len(listener.received) == 25)
        assert max(map(len, listener.pieces)) <= 10

    async def test_an_end_is_confirmed_and_reported_once(self) -> None:
        transport, listener, theirs = self.connect()
        assert not transport.ending
        theirs.shutdown(socket.SHUT_WR)
        await until(reactor, lambda: listener.story == ["read closed"])
        assert transport.confirm_end()
        transport.pauseProducing()
        transport.resumeProducing()
        transport.write(b"answer")
        assert await self.read(theirs, 6) == b"answer"
        assert listener.story == ["read closed"]

    async def test_a_break_is_reported_though_nothing_is_read_any_more(self) -> None:
        transport, listener, theirs = self.connect()
        transport.pauseProducing()
        transport.read_no_more()
        reset(theirs)
        await until(reactor, lambda: listener.story[-1:] == ["lost ConnectionLost"])

    # Writing

    async def test_what_waits_is_counted(self) -> None:
        transport, _, theirs = self.connect()
        assert transport.in_flight() == 0
        assert (transport.full, transport.drained) == (False, self.is_native)
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        # Of what is in the kernel, some is acknowledged at once on this network.
        assert transport.in_flight() > MORE_THAN_KERNELS_HOLD // 2
        assert (transport.full, transport.drained) == (self.is_native, False)
        await self.read(theirs, MORE_THAN_KERNELS_HOLD)
        await until(reactor, lambda: transport.in_flight() == 0)
        assert (transport.full, transport.drained) == (False, self.is_native)

    async def test_a_producer_is_paused_while_much_waits(self) -> None:
        transport, listener, theirs = self.connect()
        transport.registerProducer(Source(self.stage(listener)), True)
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        transport.write(bytes(BUFFER))
        assert listener.story == ["pause"]
        await self.read(theirs, MORE_THAN_KERNELS_HOLD + BUFFER)
        await until(reactor, lambda: listener.story == ["pause", "resume"])
        transport.unregisterProducer()
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        assert listener.story == ["pause", "resume"]

    def stage(self, listener: Listener) -> Any:
        class Stage:
            protocol = listener

        return Stage()

    # Ending

    async def test_half_close(self) -> None:
        transport, listener, theirs = self.connect()
        assert (transport.can_half_close, transport.ends_by_close_notify) == (True, False)
        transport.write(b"question")
        transport.loseWriteConnection()
        assert await self.read(theirs, 9) == b"question"
        theirs.send(b"answer")
        await until(reactor, lambda: listener.received == b"answer")
        assert listener.story == ["write closed", "data 6"]

    async def test_closing_waits_for_the_last_byte(self) -> None:
        transport, listener, theirs = self.connect()
        transport.registerProducer(Source(self.stage(listener)), True)
        transport.pauseProducing()
        transport.write(b"last")
        transport.loseConnection()
        assert await self.read(theirs, 5) == b"last"
        await until(reactor, lambda: listener.story == ["lost ConnectionDone"])
        assert transport.in_flight() == 0

    async def test_aborting_resets(self) -> None:
        transport, listener, theirs = self.connect()
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        transport.abortConnection()
        await until(reactor, lambda: listener.story[-1:] == ["lost ConnectionAborted"])
        with self.assertRaises(ConnectionResetError):
            await self.read(theirs, MORE_THAN_KERNELS_HOLD)

    # Changing hands

    async def test_it_reports_to_another_protocol(self) -> None:
        transport, listener, theirs = self.connect()
        other = Listener()
        transport.hand_over(other)
        theirs.send(b"hello")
        theirs.shutdown(socket.SHUT_WR)
        await until(reactor, lambda: other.story == ["data 5", "read closed"])
        transport.loseConnection()
        await until(reactor, lambda: other.story[2:] == ["lost ConnectionDone"])
        assert listener.story == []
        listener.story.append("lost, to the other one")

    async def test_bytes_pass_the_protocols_by_where_they_can(self) -> None:
        one, here, near = self.connect()
        other, _, far = self.connect()
        pumps = one.relay_with(other, Wheel(reactor, reactor.seconds))
        assert (pumps is not None) is self.is_native
        near.send(b"hello")
        if pumps is None:
            await until(reactor, lambda: here.received == b"hello")
        else:
            assert await self.read(far, 5) == b"hello"
            assert (pumps[0].carried, pumps[1].carried, here.story) == (5, 0, [])

    # TLS

    def server(self) -> ServerTls:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return ServerTls(frontend_tls(Authority.root().issue(folder, "web", "web.example")))

    async def agree(self, listener: Listener, peer: Peer) -> None:
        await until(reactor, lambda: peer.look() is peer and "agreed" in listener.story)
        listener.story.clear()
        listener.pieces.clear()

    async def test_a_client_that_speaks_tls(self) -> None:
        transport, listener, theirs = self.connect()
        transport.accept_tls(self.server())
        await self.use_tls(transport, listener, Peer(theirs, client_in_memory(client_context())))

    async def test_tls_behind_a_header_in_the_same_segment(self) -> None:
        transport, listener, theirs = self.connect()
        client, server = client_in_memory(client_context()), self.server()

        def header_came(data: bytes) -> None:
            del listener.dataReceived
            transport.accept_tls(server, data.removeprefix(b"header"))

        listener.dataReceived = header_came  # type: ignore[method-assign]
        transport.look()
        try:
            client.do_handshake()
        except SSL.WantReadError:
            theirs.send(b"header" + b"".join(to_send(client)))
        await self.use_tls(transport, listener, Peer(theirs, client))

    async def test_a_server_that_speaks_tls(self) -> None:
        transport, listener, theirs = self.connect()
        peer = ClientTls(PoolTlsConfig(verify=False)).peer(Address.parse("10.0.0.1:443"), None)
        server = self.server().connection()
        transport.connect_tls(peer)
        await self.use_tls(transport, listener, Peer(theirs, server))

    async def test_tls_is_closed_though_it_was_paused(self) -> None:
        """Twisted's has to read the peer's answer to its close_notify."""
        transport, listener, theirs = self.connect()
        transport.accept_tls(self.server())
        peer = Peer(theirs, client_in_memory(client_context()))
        await self.agree(listener, peer)
        transport.pauseProducing()
        transport.loseConnection()
        await until(reactor, lambda: peer.look().finished)
        peer.sock.send(peer.close_notify())
        await until(reactor, lambda: listener.story == ["lost ConnectionDone"])

    async def use_tls(self, transport: Transport, listener: Listener, peer: Peer) -> None:
        await self.agree(listener, peer)
        assert isinstance(transport.getHandle(), SSL.Connection)
        transport.write(b"question")
        await until(reactor, lambda: peer.look().received == b"question")
        peer.sock.send(peer.written(b"answer"))
        await until(reactor, lambda: listener.received == b"answer")
        assert transport.can_half_close is not transport.ends_by_close_notify
        transport.loseConnection()
        await until(reactor, lambda: peer.look().finished)
        peer.sock.send(peer.close_notify())
        await until(reactor, lambda: listener.story[1:] == ["lost ConnectionDone"])


class NativeTransportTests(TransportTests):
    """The same on the native data path."""

    data_path_name = "auto"
    is_native = True


class FalseEnd:
    """A transport that Twisted has taken an end for, where there is none.

    :param meets: what a look at its socket meets.
    """

    def __init__(self, meets: OSError) -> None:
        self.calls: list[str] = []
        self._meets = meets

    def getHandle(self) -> Any:
        return self

    def recv(self, size: int, flags: int) -> bytes:
        raise self._meets

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):  # zope.interface asks for the interfaces that it provides.
            raise AttributeError(name)
        return lambda *_: self.calls.append(name)


def test_an_end_that_is_none_is_read_past() -> None:
    transport = FalseEnd(BlockingIOError())
    assert not as_transport(transport).confirm_end()
    assert transport.calls == ["resumeProducing"]


def test_an_end_that_is_a_break_loses_the_connection() -> None:
    transport = FalseEnd(ConnectionResetError())
    assert not as_transport(transport).confirm_end()
    assert transport.calls == ["connectionLost"]


class WrappedTests(DataPathCase):
    """A wrapper of Twisted's, as rate limits and timeouts are, stands between, on the portable data path."""

    async def test_it_is_asked_what_is_beneath(self) -> None:
        theirs, ours = connected()
        self.addCleanup(theirs.close)
        listener = Listener()
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), listener)
        begin(self.data_path, ours, wrapper, peer_address(ours.family, ours.getpeername()))
        transport = as_transport(listener.transport)
        self.addCleanup(transport.abortConnection)
        transport.read_at_most(10)
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        assert transport.in_flight() > MORE_THAN_KERNELS_HOLD // 2
        theirs.send(b"x" * 25)
        await until(reactor, lambda: len(listener.received) == 25)
        assert max(map(len, listener.pieces)) <= 10
        reset(theirs)
        await until(reactor, lambda: listener.story[-1:] == ["lost ConnectionLost"])


class WrappedNativeTests(WrappedTests):
    """The same on the native data path."""

    data_path_name = "auto"
