"""Backends for probes to look at: servers on real sockets that answer well, badly, or not at all."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress, IHandshakeListener, IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

BLOCK = 16 * 1024


class Talk(Protocol):
    """One connection of a `Server`."""

    transport: Any

    def __init__(self, server: Server) -> None:
        self.server = server
        self.heard = b""

    def connectionMade(self) -> None:
        self.server.open.add(self)
        self.begin()

    def begin(self) -> None:
        """Say what is said unasked."""
        self.transport.write(self.server.greeting)
        if self.server.answer is None:
            self.server.then(self)

    def dataReceived(self, data: bytes) -> None:
        first = not self.heard
        self.heard += data
        self.server.heard.append(data)
        if first and self.server.answer is not None:
            self.transport.write(self.server.answer)
            self.server.then(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.open.discard(self)
        self.server.ends.append(type(reason.value).__name__)


@implementer(IHandshakeListener)
class TlsTalk(Talk):
    """The same over TLS: it begins when the handshake is over."""

    def connectionMade(self) -> None:
        self.server.open.add(self)

    def handshakeCompleted(self) -> None:
        """Twisted's word that it is."""
        self.begin()


def stay(_: Talk) -> None:
    """Say no more, and leave it to the other side to close."""


def close(talk: Talk) -> None:
    """Finish."""
    talk.transport.loseConnection()


def reset(talk: Talk) -> None:
    """Break off."""
    talk.transport.abortConnection()


def go_deaf(talk: Talk) -> None:
    """Read no more, so that not even the end of the connection is noticed."""
    talk.transport.pauseProducing()


def repeat(block: bytes) -> Callable[[Talk], None]:
    """Say the same again and again, as fast as it is taken, for ever."""

    def begin(talk: Talk) -> None:
        talk.transport.registerProducer(_Endless(talk, block * (BLOCK // len(block))), False)

    return begin


@implementer(IPullProducer)
@frozen
class _Endless:
    talk: Talk
    block: bytes

    def resumeProducing(self) -> None:
        self.talk.server.said += len(self.block)
        self.talk.transport.write(self.block)

    def stopProducing(self) -> None:
        """The connection is gone."""


@define(eq=False, slots=False)
class Server(Factory):
    """What every connection meets.

    :ivar greeting: said at once.
    :ivar answer: said to the first bytes heard; None to wait for none.
    :ivar then: what follows.
    :ivar talk: the kind of connection.
    :ivar ends: how the connections ended, as the names of Twisted's errors.
    :ivar said: bytes that `repeat` has written.
    """

    noisy = False

    greeting: bytes = b""
    answer: bytes | None = None
    then: Callable[[Talk], None] = stay
    talk: type[Talk] = Talk
    heard: list[bytes] = field(factory=list)
    ends: list[str] = field(factory=list)
    open: set[Talk] = field(factory=set)
    said: int = 0

    def buildProtocol(self, addr: IAddress | None) -> Talk:
        """A talk for each."""
        return self.talk(self)


def http(
    body: bytes = b"", *, status: str = "200 OK", headers: tuple[str, ...] = (), length: bool = True
) -> bytes:
    """Build an answer; each test spoils it in one place."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


@frozen
class Certificate:
    """A self-signed certificate and its key."""

    key: Any
    certificate: Any

    @classmethod
    def make(cls, name: str) -> Certificate:
        """Make one for `name`, for an hour."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        return cls(key, unsigned.sign(key, hashes.SHA256()))

    def write_to(self, file: Path) -> Path:
        """Write both to a file, as PEM."""
        no_password = serialization.NoEncryption()
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password
        )
        file.write_bytes(key + self.certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def tls(self, server: Server, names: list[bytes | None]) -> TLSMemoryBIOFactory:
        """Let `server` speak TLS; the server names that clients send go to `names`."""
        options = CertificateOptions(privateKey=self.key, certificate=self.certificate)

        def note_name(connection: SSL.Connection) -> None:
            names.append(connection.get_servername())

        options.getContext().set_tlsext_servername_callback(note_name)
        server.talk = TlsTalk
        return TLSMemoryBIOFactory(options, False, server)
