"""Clients that speak TLS with a frontend, badly or for too long, on both data paths."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from support import peers
from support.certificates import Authority
from support.clients import connect, read
from support.hellos import real_hello
from support.proxy_headers import v1_line
from support.sockets import until, until_steady
from support.tls_case import NAME, TlsCase, fetch_all
from support.tls_lines import CLOSE_NOTIFY_IN_THE_CLEAR, frontend_tls
from tcpbalance import EndReason, NetworkSet, TimeoutsConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.preread_settings import PrereadSettings

reactor: Any = global_reactor

HELLO = b"hello"
IDLE = 60


class ClientCase(TlsCase):
    """A frontend that speaks TLS in front of an echo that does not."""

    def setUp(self) -> None:
        super().setUp()
        self.echo = self.enterContext(peers.peer(peers.echo))

    def serve_tls(self, timeouts: TimeoutsConfig | None = None, **keys: Any) -> int:
        """Listen; gives the port.

        :param keys: further ones of the frontend's ``tls``.
        """
        tls = ServerTls(frontend_tls(self.issue(), **keys))
        return self.serve(self.echo.address, preread=PrereadSettings(tls=tls), timeouts=timeouts)

    def serve_members(self) -> int:
        """Listen for those who show a certificate."""
        return self.serve_tls(client_ca=FilePath(self.root))

    def talk(
        self,
        port: int,
        context: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
        ahead: bytes = b"",
    ) -> tuple[bytes, ssl.SSLSession | None, bool | None]:
        """Say hello; gives what was answered, the session, and whether an earlier one was gone on with.

        :param ahead: what is said before that.
        """
        with (
            connect(port) as sock,
            context.wrap_socket(sock, server_hostname=NAME, session=session) as tls,
        ):
            answer = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                tls.sendall(ahead + HELLO)
                answer = read(tls, len(HELLO))
            return answer, tls.session, tls.session_reused


class HandshakeTests(ClientCase):
    """Handshakes that come to no good end."""

    # Twisted takes any end of one for a break.
    ends_as = EndReason.CLIENT_RESET

    async def test_a_close_notify_in_the_middle_of_one_is_an_end(self) -> None:
        with connect(self.serve_tls()) as client:
            client.sendall(real_hello(NAME))
            # What answers it is not read to its end, but it has come.
            await deferToThread(read, client, 1)
            client.sendall(CLOSE_NOTIFY_IN_THE_CLEAR)
            await deferToThread(fetch_all, client)
        record = await self.ended()
        assert (record.reason, record.cause) == (self.ends_as, "")


class MemberTests(ClientCase):
    """Clients that show a certificate."""

    def renamed(self, to: bytes) -> Callable[[bytes], bytes]:
        """Give what puts another name in the place of zoQ."""
        return lambda tbs: tbs.replace(b"\x0c\x03zoQ", to)

    async def test_an_odd_name_keeps_nobody_out_and_is_shown_escaped(self) -> None:
        """T61String is an encoding of old, in which many wrote ISO 8859-1: RFC 5280, section 4.1.2.4."""
        alice = self.authority.issue_client(self.folder, "alice", "CN=zoQ,O=Example")
        port = self.serve_members()
        for count, (value, in_subject, alone) in enumerate(
            (
                (b"\x14\x03zo\xeb", r"zo\EB", r"zo\xEB"),
                (b"\x13\x03a@b", "a@b", "a@b"),
                (b"\x0c\x03z\n\x1b", r"z\0A\1B", r"z\x0A\x1B"),
            ),
            start=1,
        ):
            odd = self.authority.sign_again(alice, self.renamed(value))
            answer, _, _ = await deferToThread(self.talk, port, self.client_context(odd))
            assert answer == HELLO
            facts = (await self.ended(count)).tls
            assert facts is not None
            assert (facts.subject, facts.common_name) == (f"CN={in_subject},O=Example", alone)

    async def test_no_session_goes_on_past_the_expiry_of_the_certificate_behind_it(self) -> None:
        alice = self.authority.issue_client(self.folder, "alice", "CN=alice")
        port, context = self.serve_members(), self.client_context(alice)
        expiry = alice.leaf.not_valid_after_utc.timestamp()
        self.frontend.context = evolve(self.frontend.context, wall_clock=lambda: expiry - 1)
        answer, session, _ = await deferToThread(self.talk, port, context)
        assert answer == HELLO
        answer, session, reused = await deferToThread(self.talk, port, context, session)
        assert (answer, reused) == (HELLO, True)
        await self.ended(2)
        self.frontend.context = evolve(self.frontend.context, wall_clock=lambda: expiry)
        answer, _, reused = await deferToThread(self.talk, port, context, session)
        assert (answer, reused) == (b"", True)
        record = await self.ended(3)
        assert (record.reason, record.cause) == (EndReason.HANDSHAKE_FAILED, "certificate expired")


class SlowReaderTests(ClientCase):
    """Nobody sends any more, but what was sent is still being fetched: that is not idle."""

    async def test_one_that_fetches_from_the_kernel_alone_is_waited_for(self) -> None:
        clock = Clock()
        with peers.peer(peers.holds(bytes(40_000))) as self.echo:
            port = self.serve_tls(TimeoutsConfig(idle_timeout=IDLE))
            # One that begins bare has the dials' wheel, which is not of this clock.
            self.frontend.context = evolve(
                self.frontend.context, clock=clock.seconds, wheel=Wheel(clock, clock.seconds), native=None
            )
            with connect(port, receive_buffer=8192) as sock:
                tls = self.client_context().wrap_socket(
                    sock, server_hostname=NAME, do_handshake_on_connect=False
                )
                with tls:
                    await deferToThread(tls.do_handshake)
                    await self.fetch_late(clock, tls)

    async def fetch_late(self, clock: Clock, client: socket.socket) -> None:
        """Let one fetch a part of what waits for it, shortly before the limit."""
        await until(reactor, lambda: any(session.served_by for session in self.frontend.registry.sessions))
        session: Any = next(iter(self.frontend.registry.sessions))
        await until(reactor, lambda: session.backend and session.backend.received == 40_000)
        await until_steady(reactor, session.client.in_flight)
        before = session.client.in_flight()
        assert before > 0
        clock.pump([1.0] * (IDLE - 5))
        await deferToThread(socket.socket.recv, client, 12_000)
        await until(reactor, lambda: session.client.in_flight() < before)
        clock.pump([1.0] * IDLE)
        assert len(self.frontend.registry.sessions) == 1
        clock.pump([1.0] * 10)
        assert (await self.ended()).reason is EndReason.IDLE_TIMEOUT


class ForeignEndpointTests(ClientCase):
    """A factory on an endpoint of Twisted's, which speaks TLS before the factory hears of it."""

    async def test_who_has_to_open_with_a_proxy_header_has_to_do_so_in_it(self) -> None:
        self.serve(self.echo.address, preread=PrereadSettings(NetworkSet([ip_network("127.0.0.0/8")])))
        tls: Any = ServerTls(frontend_tls(self.issue()))
        listening = await SSL4ServerEndpoint(reactor, 0, tls, interface="127.0.0.1").listen(self.frontend)
        self.addCleanup(listening.stopListening)
        port = listening.getHost().port
        answer, _, _ = await deferToThread(self.talk, port, self.client_context())
        assert answer == b""
        assert (await self.ended()).reason is EndReason.BAD_PROXY_HEADER
        answer, _, _ = await deferToThread(self.talk, port, self.client_context(), ahead=v1_line())
        assert answer == HELLO
        assert (await self.ended(2)).client == "192.0.2.1:56324"


class NativeHandshakeTests(HandshakeTests):
    """The same on the native data path, where a refused client is sent the alert in any case."""

    data_path_name = "auto"
    ends_as = EndReason.CLIENT_CLOSED

    async def test_a_refused_client_that_has_sent_a_request_already_is_told_so(self) -> None:
        eve = Authority.root("Another").issue_client(self.folder, "eve", "CN=eve")
        port = self.serve_tls(client_ca=FilePath(self.root))
        with connect(port) as sock:
            incoming, in_order = await deferToThread(self.rush, sock, self.client_context(eve))
        assert in_order
        assert "ALERT" in incoming
        record = await self.ended()
        assert (record.reason, record.cause) == (
            EndReason.HANDSHAKE_FAILED,
            "certificate of an unknown authority",
        )

    def rush(self, sock: socket.socket, context: ssl.SSLContext) -> tuple[str, bool]:
        """Send the end of the handshake and a request in one segment.

        :returns: what TLS says of the answer, and whether the end was one in order.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(1 << 16))
        tls.write(bytes(3000))
        sock.sendall(outgoing.read())
        answer, in_order = fetch_all(sock)
        incoming.write(answer)
        try:
            tls.read(1)
        except ssl.SSLError as error:
            return str(error.reason), in_order
        return "", in_order

    async def test_who_speaks_http_is_not_reset(self) -> None:
        port = self.serve_tls()
        with connect(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: web.example\r\n" + b"X: y\r\n" * 500 + b"\r\n")
            _, in_order = await deferToThread(fetch_all, client)
        assert in_order
        record = await self.ended()
        assert (record.reason, record.cause) == (EndReason.HANDSHAKE_FAILED, "http request")


class NativeMemberTests(MemberTests):
    """The same on the native data path."""

    data_path_name = "auto"


class NativeSlowReaderTests(SlowReaderTests):
    """The same on the native data path."""

    data_path_name = "auto"
