"""What a peer has said before its kernel resets the connection, which it has closed with bytes unread.

That is what becomes of a server that answers in the middle of an upload and closes, "413" for example:
RFC 2525, section 2.17. The side across gets all of the answer, and then a reset.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread

from support import peers
from support.clients import TIMEOUT, ask, connect
from support.sockets import until
from support.tls_case import NAME, TlsCase
from support.tls_lines import frontend_tls
from support.tls_peers import tls_peer
from tcpbalance import LimitsConfig
from tcpbalance.net.ends import NO_LINGER
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.proxy.preread_settings import PrereadSettings

reactor: Any = global_reactor

TRIES = 8
ANSWER = b"HTTP/1.1 413 Request Entity Too Large\r\n\r\n" + b"too large\n" * 2000
PIECE = bytes(1 << 16)


class BeforeAResetCase(TlsCase):
    """One side uploads, the other one answers without reading that."""

    def setUp(self) -> None:
        super().setUp()
        self.issued = self.issue()
        self.uploading = threading.Event()
        self.heard: list[tuple[bytes, bool]] = []

    def preread(self) -> PrereadSettings:
        return PrereadSettings(tls=ServerTls(frontend_tls(self.issued)))

    async def upload_to(self, port: int, tls: bool = False) -> None:
        for done in range(TRIES):
            await deferToThread(self.as_client, port, tls, self.upload)
            record = await self.ended(done + 1)
            assert self.heard[-1] == (ANSWER, False)
            assert (record.reason.word, record.backend_bytes) == ("backend_reset", len(ANSWER))

    async def answer_to(self, port: int, tls: bool = False) -> None:
        for done in range(TRIES):
            await deferToThread(self.as_client, port, tls, self.answer_unread)
            record = await self.ended(done + 1)
            await until(reactor, lambda done=done: len(self.heard) > done)  # type: ignore[misc]
            assert self.heard[-1] == (ANSWER, False)
            assert (record.reason.word, record.client_bytes) == ("client_reset", len(ANSWER))

    # What they do, in threads.

    def as_client(self, port: int, tls: bool, handler: peers.Handler) -> None:
        with connect(port) as plain:
            if not tls:
                handler(plain)
                return
            with self.client_context().wrap_socket(plain, server_hostname=NAME) as secured:
                handler(secured)

    def answer_unread(self, sock: socket.socket) -> None:
        if isinstance(sock, ssl.SSLSocket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(1)
        assert self.uploading.wait(TIMEOUT)
        self.uploading.clear()
        sock.sendall(ANSWER)

    def upload(self, sock: socket.socket) -> None:
        """Send until an answer comes, and read all of that.

        Whoever speaks TLS sends no more once there may be an answer: OpenSSL reads nothing after a write that
        has failed.
        """
        broken = False
        if isinstance(sock, ssl.SSLSocket):
            sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]
            sock.sendall(PIECE * 4)
            self.uploading.set()
        else:
            self.uploading.set()
            broken = send_until_answered(sock)
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while part := sock.recv(1 << 16):
                data += part
            self.heard.append((data, not broken))
            return
        self.heard.append((data, False))


def send_until_answered(sock: socket.socket) -> bool:
    """Send for as long as nothing comes; tell whether that met a break, which is told only once."""
    while not select.select([sock], [], [], 0)[0]:
        if select.select([sock], [sock], [], TIMEOUT)[1]:
            try:
                sock.send(PIECE)
            except ConnectionError:
                return True
    return False


def answer_and_finish(sock: socket.socket) -> None:
    """Answer, say close_notify, and be reset before it is answered."""
    assert isinstance(sock, ssl.SSLSocket)
    sock.recv(1)
    sock.sendall(ANSWER)
    sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        sock.unwrap()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


class PlainTests(BeforeAResetCase):
    """The one that answers speaks no TLS."""

    async def test_a_backend_answers(self) -> None:
        with peers.peer(self.answer_unread) as backend:
            await self.upload_to(self.serve(backend.address))

    async def test_a_backend_on_a_unix_socket_answers(self) -> None:
        """There a write says EPIPE, as after an end in order, and the socket keeps its error for itself."""
        path = self.folder / "backend"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{path}")
            listener.listen()
            server = threading.Thread(target=self.answer_all, args=(listener,), daemon=True)
            server.start()
            await self.upload_to(self.serve(f"unix:{path}"))
            await deferToThread(server.join)

    def answer_all(self, listener: socket.socket) -> None:
        for _ in range(TRIES):
            sock, _ = listener.accept()
            with sock:
                self.answer_unread(sock)

    async def test_a_backend_answers_a_client_that_speaks_tls(self) -> None:
        with peers.peer(self.answer_unread) as backend:
            await self.upload_to(self.serve(backend.address, preread=self.preread()), tls=True)

    async def test_a_backend_answers_within_a_bandwidth(self) -> None:
        limits = LimitsConfig(bandwidth_per_connection=1 << 16)
        with peers.peer(self.answer_unread) as backend:
            await self.upload_to(self.serve(backend.address, limits=limits))

    async def test_a_client_answers(self) -> None:
        with peers.peer(self.upload) as backend:
            await self.answer_to(self.serve(backend.address))

    async def test_a_client_answers_a_backend_that_speaks_tls(self) -> None:
        with tls_peer(self.upload, self.issued) as backend:
            await self.answer_to(self.serve(backend.address, tls=self.believing()))


class NativePlainTests(PlainTests):
    """The same on the native data path."""

    data_path_name = "auto"


class SecuredTests(BeforeAResetCase):
    """The one that answers speaks TLS."""

    async def test_a_backend_that_speaks_tls_answers(self) -> None:
        with tls_peer(self.answer_unread, self.issued) as backend:
            await self.upload_to(self.serve(backend.address, tls=self.believing()))

    async def test_a_backend_that_is_reset_after_its_close_notify_has_ended_in_order(self) -> None:
        with tls_peer(answer_and_finish, self.issued) as backend:
            port = self.serve(backend.address, tls=self.believing())
            for done in range(TRIES):
                assert await deferToThread(ask, port, b"?") == ANSWER
                record = await self.ended(done + 1)
                assert record.reason.word in {"client_closed", "backend_closed"}

    async def test_a_client_that_speaks_tls_answers(self) -> None:
        with peers.peer(self.upload) as backend:
            await self.answer_to(self.serve(backend.address, preread=self.preread()), tls=True)


class NativeSecuredTests(SecuredTests):
    """The same on the native data path."""

    data_path_name = "auto"
