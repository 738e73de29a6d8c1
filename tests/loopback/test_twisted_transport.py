"""What a transport knows of bytes that its peer has not fetched yet, and how it ends by a fault of ours."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import TestCase

from support.data_paths import DataPathCase
from support.sockets import Recorder, until
from support.tls_case import TlsCase
from support.tls_lines import Peer, client_context, client_in_memory, frontend_tls
from support.transport_scripts import HalfCloseRecorder
from tcpbalance.net.adapted_transport import as_transport
from tcpbalance.net.addresses import PeerAddress, peer_address
from tcpbalance.net.data_path import TwistedDataPath, begin
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.tls.server import ServerTls

reactor: Any = global_reactor

MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


class InFlightTests(TestCase):
    """Whatever is not acknowledged counts, in the kernel or before it."""

    async def test_bytes_that_the_kernel_has_no_room_for_count_too(self) -> None:
        ours, theirs = pair()
        protocol = Recorder()
        begin(TwistedDataPath(reactor), ours, protocol, peer_address(ours.family, ours.getpeername()))
        transport: Any = protocol.transport
        assert as_transport(transport).in_flight() == 0
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        await until(reactor, lambda: not self.writable(ours))
        before = as_transport(transport).in_flight()
        transport.write(bytes(1000))
        assert as_transport(transport).in_flight() == before + 1000
        theirs.close()
        await until(reactor, lambda: protocol.lost)

    def writable(self, sock: socket.socket) -> bool:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        return bool(poll.poll(0))


class BreakTests(TestCase):
    """What a peer had sent before it broke off is reported: bytes, and its end where that came first."""

    async def told(self, ours: socket.socket, peer: PeerAddress, leave: Callable[[], None]) -> list[str]:
        protocol = HalfCloseRecorder([])
        begin(TwistedDataPath(reactor), ours, protocol, peer)
        transport: Any = protocol.transport
        transport.pauseProducing()
        leave()
        transport.write(b"more of the question")
        transport.resumeProducing()
        await until(reactor, lambda: protocol.story[-1:] == ["lost ConnectionLost"])
        return protocol.story

    async def told_over_tcp(self, finishes: bool) -> list[str]:
        ours, theirs = pair()

        def leave() -> None:
            theirs.send(b"answer")
            if finishes:
                theirs.shutdown(socket.SHUT_WR)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            theirs.close()

        return await self.told(ours, peer_address(ours.family, ours.getpeername()), leave)

    async def told_over_unix(self, unread: bytes) -> list[str]:
        ours, theirs = socket.socketpair(socket.AF_UNIX)

        def leave() -> None:
            ours.send(unread)
            theirs.send(b"answer")
            theirs.close()

        return await self.told(ours, UNIXAddress(None), leave)

    async def test_an_end_before_a_reset(self) -> None:
        assert await self.told_over_tcp(finishes=True) == ["data 6", "read closed", "lost ConnectionLost"]

    async def test_a_reset_alone(self) -> None:
        assert await self.told_over_tcp(finishes=False) == ["data 6", "lost ConnectionLost"]

    async def test_a_unix_socket_that_was_closed(self) -> None:
        """A write says EPIPE in both cases: unix(7)."""
        assert await self.told_over_unix(b"") == ["data 6", "read closed", "lost ConnectionLost"]

    async def test_a_unix_socket_that_was_closed_with_bytes_unread(self) -> None:
        assert await self.told_over_unix(b"question") == ["data 6", "lost ConnectionLost"]


class AbortTests(TlsCase):
    """A reset from this side stays one."""

    async def test_of_tls_whose_peer_has_said_close_notify_and_takes_no_more(self) -> None:
        ours, theirs = pair()
        self.enterContext(theirs)
        theirs.setblocking(False)
        protocol = HalfCloseRecorder([])
        begin(TwistedDataPath(reactor), ours, protocol, peer_address(ours.family, ours.getpeername()))
        transport: Any = protocol.transport
        as_transport(transport).accept_tls(ServerTls(frontend_tls(self.issue())))
        peer = Peer(theirs, client_in_memory(client_context()))
        transport.write(b"hello")
        await until(reactor, lambda: peer.look().received)
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        theirs.sendall(peer.close_notify())
        await until(reactor, transport._has_close_notify)
        transport.abortConnection()
        await until(reactor, lambda: protocol.story)
        assert protocol.story == ["lost ConnectionAborted"]
        with self.assertRaises(ConnectionResetError):
            while theirs.recv(MORE_THAN_KERNELS_HOLD):
                pass


class Raising(Recorder):
    """Raises at its first bytes."""

    def dataReceived(self, data: bytes) -> None:
        raise ZeroDivisionError


class RaisingAtOnce(Recorder):
    """Raises as soon as it is connected."""

    def connectionMade(self) -> None:
        raise ZeroDivisionError


class RaisingTests(DataPathCase):
    """The peer of a protocol that raises sees a reset: an end would say that it has got everything."""

    async def assert_reset(self, protocol: Recorder, says: bytes) -> None:
        ours, theirs = pair()
        with theirs:
            begin(self.data_path, ours, protocol, peer_address(ours.family, ours.getpeername()))
            if says:
                theirs.send(says)
            await until(reactor, lambda: protocol.lost)
            assert protocol.lost is not None
            assert protocol.lost.check(ZeroDivisionError)
            with self.assertRaises(ConnectionResetError):
                theirs.recv(1)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_at_its_first_bytes(self) -> None:
        await self.assert_reset(Raising(), b"?")

    async def test_at_once(self) -> None:
        await self.assert_reset(RaisingAtOnce(), b"")


class NativeRaisingTests(RaisingTests):
    """The same on the native data path."""

    data_path_name = "auto"


def pair() -> tuple[socket.socket, socket.socket]:
    """Our end of a connection, and the peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    return ours, theirs
