"""TLS with the other end in our hands: handshakes in memory, and peers whose bytes can be cut at will."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from socket import SocketType
from typing import Any, Self

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from support.certificates import Issued
from support.clients import reset
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig

A_RECORD = 16 * 1024
"""The most bytes that fit into one: RFC 8446, section 5.1."""


CLOSE_NOTIFY_IN_THE_CLEAR = b"\x15\x03\x03\x00\x02\x01\x00"
"""close_notify, as it travels before there are keys: RFC 8446, section 6.1."""


def pair_of(issued: Issued) -> CertificateConfig:
    """Give a certificate and its key as a configuration names them."""
    return CertificateConfig(cert=FilePath(issued.certificate), key=FilePath(issued.key))


def frontend_tls(*issued: Issued, **more: Any) -> FrontendTlsConfig:
    """Give the configuration of a frontend that shows some certificates."""
    return FrontendTlsConfig(certificates=tuple(map(pair_of, issued)), **more)


def client_context(
    ca: Path | None = None, version: int | None = None, ciphers: bytes | None = None
) -> SSL.Context:
    """Make what a client begins with.

    :param ca: whom it believes; None for anybody.
    :param version: of TLS, the only one that it speaks.
    :param ciphers: for version 1.2.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    if ca is not None:
        context.load_verify_locations(str(ca))
        context.set_verify(SSL.VERIFY_PEER)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if ciphers is not None:
        context.set_cipher_list(ciphers)
    return context


def client_in_memory(context: SSL.Context, name: str | None = None) -> SSL.Connection:
    """Make a client without a socket.

    :param name: the server that it asks for.
    """
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    return connection


def shake(client: SSL.Connection, server: SSL.Connection) -> None:
    """Let two in memory shake hands, and carry what comes behind, such as session tickets.

    :raises SSL.Error: of the first that has had enough; the other has been told.
    """
    ends = (client, server)
    for _ in range(4):
        for here, there in (ends, ends[::-1]):
            try:
                with contextlib.suppress(SSL.WantReadError):
                    here.do_handshake()
            finally:
                _carry(here, there)
    for end in ends:
        with contextlib.suppress(SSL.WantReadError):
            end.recv(1)


def _carry(here: SSL.Connection, there: SSL.Connection) -> None:
    for data in to_send(here):
        there.bio_write(data)


def to_send(connection: SSL.Connection) -> Iterator[bytes]:
    """Take what a connection in memory wants to have sent."""
    with contextlib.suppress(SSL.WantReadError):
        while True:
            yield connection.bio_read(1 << 16)


class Peer:
    """One end of a connection that speaks TLS in memory, and sends and reads when it is told to.

    :param sock: connected, not blocking; closed by ``close``.
    :param tls: in memory.
    :ivar received: what has come, out of TLS.
    :ivar finished: whether the other end has said close_notify.
    :ivar ended: whether the stream has ended beneath.
    """

    def __init__(self, sock: socket.socket, tls: SSL.Connection) -> None:
        self.sock = sock
        self.tls = tls
        self.received = bytearray()
        self.finished = False
        self.ended = False

    def written(self, data: bytes) -> bytes:
        """Give *data* as it travels, in records as large as they can be."""
        for start in range(0, len(data), A_RECORD):
            self.tls.send(data[start : start + A_RECORD])
        return b"".join(to_send(self.tls))

    def close_notify(self) -> bytes:
        """Give the word that no more will come, as it travels."""
        self.tls.shutdown()
        return b"".join(to_send(self.tls))

    def look(self) -> Self:
        """Read what has come, and answer it where the handshake asks for that; gives itself."""
        self._take()
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self.sock.recv(1 << 16):
                self.tls.bio_write(data)
                self._take()
            self.ended = True
        return self

    def _take(self) -> None:
        try:
            while True:
                self.received += self.tls.recv(1 << 16)
        except SSL.ZeroReturnError:
            self.finished = True
        except SSL.WantReadError:
            for data in to_send(self.tls):
                self.sock.sendall(data)

    def reset(self) -> None:
        """Break off beneath."""
        reset(self.sock)

    def close(self) -> None:
        """Close what is beneath, without a word."""
        self.sock.close()


def no_error_is_left() -> bool:
    """Whether OpenSSL's queue of errors, which all connections of a thread share, is empty."""
    return not Binding().lib.ERR_peek_error()


def is_readable(sock: SocketType) -> bool:
    """Whether something has come."""
    return bool(select.select([sock], [], [], 0)[0])


def is_broken(sock: SocketType) -> bool:
    """Whether the peer has broken off, which is not taken note of."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def connected() -> tuple[socket.socket, socket.socket]:
    """Give the two ends of a connection, neither of which blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for sock in (theirs, ours):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return theirs, ours
