"""Backends with which TLS comes to no good end: another one serves the client, and the cause is told."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from typing import Any, cast
from unittest.mock import patch

from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from support import peers
from support.certificates import Authority, Issued
from support.clients import connect, read, read_all
from support.descriptors import sockets_to
from support.names import OpenEngine
from support.sockets import Recorder, until
from support.tls_case import NAME, PLAIN, TlsCase
from support.tls_lines import CLOSE_NOTIFY_IN_THE_CLEAR
from support.tls_peers import tls_peer
from tcpbalance.config.addresses import Address
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.tls.client import ClientTls, TlsPeer
from tcpbalance.net.tls_attempt import Preamble, dial_tls

reactor: Any = global_reactor

QUESTION = b"question"
MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


def _says_close_notify(sock: socket.socket) -> None:
    """Leave in the middle of the handshake."""
    sock.recv(1 << 16)
    sock.sendall(CLOSE_NOTIFY_IN_THE_CLEAR)
    with contextlib.suppress(ConnectionError):
        read_all(sock)


class PassedOverTests(TlsCase):
    """The first of two backends is at fault."""

    # Twisted takes any end of a handshake for a break.
    closed = "TLS: reset"

    def setUp(self) -> None:
        super().setUp()
        self.issued = self.issue()
        self.good = self.enterContext(tls_peer(peers.echo, self.issued))

    async def cause_of(self, faulty: peers.Handler) -> str:
        """Be served by the other one; gives what is said of the first."""
        with peers.peer(faulty) as first:
            port = self.serve(first.address, self.good.address, tls=self.believing())
            with connect(port) as client:
                client.sendall(QUESTION)
                assert await deferToThread(read, client, len(QUESTION)) == QUESTION
            record = await self.ended()
        assert (record.attempts, record.backend) == (2, self.good.address)
        return record.cause

    async def test_a_close_notify_in_the_middle_of_the_handshake(self) -> None:
        assert await self.cause_of(_says_close_notify) == self.closed

    async def test_a_refusal_of_our_certificate_after_our_end_of_the_handshake(self) -> None:
        """In TLS 1.3 the one who connects is done before it hears what is thought of it. It has accepted,
        and was given what the client has sent, so nobody else is."""
        with peers.peer(self.refuses) as first:
            port = self.serve(first.address, self.good.address, tls=self.believing())
            with connect(port) as client:
                client.sendall(QUESTION)
                with self.assertRaises(ConnectionResetError):
                    await deferToThread(read, client, len(QUESTION))
            record = await self.ended()
        assert (record.attempts, record.backend, record.reason.word) == (1, first.address, "backend_reset")
        assert record.cause.startswith("TLS: ")
        assert "certificate required" in record.cause

    def refuses(self, sock: socket.socket) -> None:
        """Miss a certificate, and stay until that was heard."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.root)
        context.load_cert_chain(self.issued.certificate, self.issued.key)
        context.verify_mode = ssl.CERT_REQUIRED
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as tls:
            with contextlib.suppress(ssl.SSLError):
                tls.do_handshake()
            with contextlib.suppress(ConnectionError):
                while os.read(tls.fileno(), 1 << 16):
                    pass


class Outcome:
    """A factory that keeps what came of an attempt."""

    def __init__(self, where: Address | None = None) -> None:
        self.where = where
        self.open_at_the_end = 0
        self.protocol: Recorder | None = None
        self.cause = ""
        self.fault: Fault | None = None

    def buildProtocol(self, addr: Any) -> Recorder:
        self.protocol = Recorder()
        return self.protocol

    def clientConnectionFailed(self, connector: Any, reason: Failure = connectionDone) -> None:
        if self.where is not None and self.where.port is not None:
            self.open_at_the_end = sockets_to(str(self.where.host), self.where.port)
        failure = cast(ConnectFailed, reason.value)
        self.cause, self.fault = failure.cause, failure.fault


class PreambleTests(TlsCase):
    """What comes in the clear before the handshake."""

    # Twisted's transports keep all that does not fit; our legs would have to hand it over.
    cause = ""

    async def test_one_that_is_larger_than_the_send_buffer_is_never_cut(self) -> None:
        issued = self.issue()
        sizes: list[int] = []

        def reads_a_header(sock: socket.socket) -> None:
            sizes.append(len(read(sock, MORE_THAN_KERNELS_HOLD)))
            _greet(sock, issued)

        with peers.peer(reads_a_header) as backend:
            outcome = await self.dial(backend.address)
        assert outcome.cause == self.cause
        assert (outcome.protocol is None) == bool(self.cause)
        assert self.cause or sizes == [MORE_THAN_KERNELS_HOLD]

    async def dial(self, address: str) -> Outcome:
        outcome, where = Outcome(), Address.parse(address)
        connector = SocketConnector(reactor, PLAIN, self.data_path)
        header = bytes(MORE_THAN_KERNELS_HOLD)
        dial_tls(connector, where, outcome, 5.0, self.believing().peer(where, None), lambda _: header)
        await until(reactor, lambda: outcome.protocol or outcome.cause)
        if outcome.protocol is not None:
            outcome.protocol.transport.abortConnection()
            await until(reactor, lambda: outcome.protocol and outcome.protocol.lost)
        return outcome


class FaultTests(TlsCase):
    """Whose fault it is that a handshake comes to no good end: only a backend's own is told as one."""

    def setUp(self) -> None:
        super().setUp()
        self.issued = self.issue()

    async def outcome(
        self,
        handler: peers.Handler,
        peer: TlsPeer | None = None,
        preamble: Preamble = lambda _: b"",
        timeout: float = 5.0,
    ) -> Outcome:
        """Dial somebody; gives what came of it."""
        with peers.peer(handler) as backend:
            where = Address.parse(backend.address)
            outcome = Outcome(where)
            connector = SocketConnector(reactor, PLAIN, self.data_path)
            peer = peer or self.believing().peer(where, None)
            dial_tls(connector, where, outcome, timeout, peer, preamble)
            await until(reactor, lambda: outcome.protocol or outcome.cause)
            assert outcome.protocol is None
            # Another connection may be opened as soon as the end of this one is reported.
            assert outcome.open_at_the_end == 0
            await until(reactor, lambda: not backend.open_connections)
        return outcome

    def greets(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            _greet(sock, self.issued)

    def knowing(self, name: str | None) -> TlsPeer:
        """A backend of that name, or of none."""
        tls = ClientTls(PoolTlsConfig(ca=FilePath(self.root)))
        where = Address.parse("unix:/nowhere") if name is None else Address.parse("127.0.0.1:1")
        return tls.peer(where, name)

    async def test_a_backend_that_leaves(self) -> None:
        assert (await self.outcome(lambda sock: sock.close())).fault is Fault.BACKEND

    async def test_a_backend_that_resets_before_the_preamble_is_written(self) -> None:
        connected, was_reset = threading.Event(), threading.Event()

        def reset(sock: socket.socket) -> None:
            assert connected.wait(5.0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            sock.close()
            was_reset.set()

        def preamble(transport: Any) -> bytes:
            connected.set()
            assert was_reset.wait(5.0)
            return b"PROXY UNKNOWN\r\n"

        outcome = await self.outcome(reset, preamble=preamble)
        assert (outcome.cause, outcome.fault) == ("TLS: reset", Fault.BACKEND)

    async def test_a_backend_that_speaks_something_else(self) -> None:
        assert (await self.outcome(peers.says(b"220 mail.example\r\n"))).fault is Fault.BACKEND

    async def test_a_certificate_for_somebody_else(self) -> None:
        outcome = await self.outcome(self.greets, self.knowing("other.example"))
        assert (outcome.cause, outcome.fault) == ("TLS: certificate is not for other.example", Fault.BACKEND)

    async def test_a_certificate_of_somebody_unknown(self) -> None:
        stranger = Authority.root().issue(self.folder, "stranger", NAME)

        def greets(sock: socket.socket) -> None:
            with contextlib.suppress(OSError):
                _greet(sock, stranger)

        assert (await self.outcome(greets)).fault is Fault.BACKEND

    async def test_no_name_to_verify_by(self) -> None:
        outcome = await self.outcome(self.greets, self.knowing(None))
        assert outcome.cause == "TLS: no server name to verify the certificate by"
        assert outcome.fault is Fault.BALANCER

    async def test_a_name_server_that_takes_all_of_the_time(self) -> None:
        """Both parts of the attempt are out of time in the same turn of the wheel, in no certain order."""
        connector = SocketConnector(reactor, PLAIN, self.data_path, Resolver(reactor, engine=OpenEngine()))
        where = Address.parse("db.example:443")
        peer = self.believing().peer(where, None)
        outcomes = [Outcome() for _ in range(16)]
        for outcome in outcomes:
            dial_tls(connector, where, outcome, 0.1, peer, lambda _: b"")
        await until(reactor, lambda: all(outcome.cause for outcome in outcomes))
        assert {(outcome.cause, outcome.fault) for outcome in outcomes} == {
            ("name server timed out", Fault.BALANCER)
        }

    async def test_a_backend_that_is_silent_in_the_handshake(self) -> None:
        outcome = await self.outcome(peers.hang, timeout=0.1)
        assert (outcome.cause, outcome.fault) == ("TLS: timed out after 0.1 s", Fault.BACKEND)

    async def test_a_backend_that_does_not_accept(self) -> None:
        outcome = Outcome()
        with peers.unanswering() as address:
            where = Address.parse(address)
            connector = SocketConnector(reactor, PLAIN, self.data_path)
            dial_tls(connector, where, outcome, 0.1, self.believing().peer(where, None), lambda _: b"")
            await until(reactor, lambda: outcome.cause)
        assert (outcome.cause, outcome.fault) == ("timed out after 0.1 s", Fault.BACKEND)

    async def test_an_exception_before_the_handshake(self) -> None:
        outcome = await self.outcome(peers.echo, preamble=lambda _: bytes(1 // 0))
        assert (outcome.cause, outcome.fault) == ("internal error", Fault.BALANCER)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_an_exception_while_the_handshake_begins(self) -> None:
        peer = self.believing().peer(Address.parse("127.0.0.1:1"), None)
        with patch.object(TlsPeer, "connection", side_effect=ZeroDivisionError):
            outcome = await self.outcome(peers.echo, peer)
        assert (outcome.cause, outcome.fault) == ("internal error", Fault.BALANCER)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_an_exception_while_the_certificate_is_looked_at(self) -> None:
        with patch.object(TlsPeer, "approve", side_effect=ZeroDivisionError):
            outcome = await self.outcome(self.greets)
        assert (outcome.cause, outcome.fault) == ("internal error", Fault.BALANCER)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_an_exception_of_the_one_who_waits(self) -> None:
        with patch.object(Outcome, "buildProtocol", side_effect=ZeroDivisionError):
            outcome = await self.outcome(self.greets)
        assert (outcome.cause, outcome.fault) == ("internal error", Fault.BALANCER)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1


def _greet(sock: socket.socket, issued: Issued) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    with context.wrap_socket(sock, server_side=True) as tls:
        read_all(tls)


class NativePassedOverTests(PassedOverTests):
    """The same on the native data path."""

    data_path_name = "auto"
    closed = "TLS: closed"


class NativeFaultTests(FaultTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativePreambleTests(PreambleTests):
    """The same on the native data path, where the attempt fails and says why."""

    data_path_name = "auto"
    cause = "PROXY header larger than the send buffer"
