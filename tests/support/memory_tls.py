"""TLS with nothing encrypted: Twisted's own TLS transport over a connection object that only frames.

What matters to a relay is not the cipher but the manners: no half-close, a close_notify of its own
that is waited for, writes gathered until the next turn, an end without close_notify that counts as a loss.
All of that is Twisted's ``BufferingTLSTransport``; this stands in for ``OpenSSL.SSL.Connection`` beneath it.
"""

from __future__ import annotations

import struct
from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

_HELLO, _DATA, _CLOSE_NOTIFY = b"H", b"D", b"C"
_HEADER = struct.Struct("!cI")
_RECORD = 2**14


def records(data: bytes) -> bytes:
    """*data* as it goes over the wire."""
    return b"".join(map(_record, (data[start : start + _RECORD] for start in range(0, len(data), _RECORD))))


def _record(data: bytes) -> bytes:
    return _HEADER.pack(_DATA, len(data)) + data


HELLO = _HEADER.pack(_HELLO, 0)
"""What either side says first; the handshake is done for the one that has heard the other's."""

CLOSE_NOTIFY = _HEADER.pack(_CLOSE_NOTIFY, 0)
"""close_notify, as it goes over the wire."""


class Unframer:
    """Takes records apart.

    :ivar plain: the bytes that came in and were not taken yet.
    :ivar hello: whether the other's part of the handshake has come.
    :ivar close_notify: whether close_notify has come.
    """

    def __init__(self) -> None:
        self.plain = bytearray()
        self.hello = False
        self.close_notify = False
        self._wire = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire, in pieces of any size."""
        self._wire += data
        while len(self._wire) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._wire)
            end = _HEADER.size + length
            if len(self._wire) < end:
                return
            self.plain += self._wire[_HEADER.size : end]
            self.hello = self.hello or kind == _HELLO
            self.close_notify = self.close_notify or kind == _CLOSE_NOTIFY
            del self._wire[:end]


class NullTlsConnection:
    """The part of ``OpenSSL.SSL.Connection`` over memory BIOs that Twisted calls."""

    def __init__(self) -> None:
        self._incoming = Unframer()
        self._outgoing = bytearray(HELLO)
        self._shaken = False
        self._said_close_notify = False
        self._ended = False

    def set_accept_state(self) -> None:
        """Nothing to choose."""

    set_connect_state = set_accept_state

    def set_app_data(self, data: object) -> None:
        """Nothing calls back."""

    def do_handshake(self) -> None:
        if not self._incoming.hello:
            raise WantReadError
        self._shaken = True

    def bio_write(self, data: bytes) -> int:
        self._incoming.feed(data)
        return len(data)

    def bio_read(self, limit: int) -> bytes:
        if not self._outgoing:
            raise WantReadError
        data = bytes(self._outgoing[:limit])
        del self._outgoing[:limit]
        return data

    def bio_shutdown(self) -> None:
        self._ended = True

    def recv(self, limit: int) -> bytes:
        if self._incoming.plain:
            data = bytes(self._incoming.plain[:limit])
            del self._incoming.plain[:limit]
            return data
        if self._incoming.close_notify:
            raise ZeroReturnError
        if self._ended:
            raise Error([("SSL routines", "", "unexpected eof while reading")])
        raise WantReadError

    def send(self, data: bytes) -> int:
        if self._said_close_notify:
            raise Error([("SSL routines", "", "protocol is shutdown")])
        if not self._shaken:
            raise WantReadError
        self._outgoing += records(data)
        return len(data)

    def shutdown(self) -> bool:
        if not self._said_close_notify:
            self._said_close_notify = True
            self._outgoing += CLOSE_NOTIFY
        return self._incoming.close_notify

    def get_alpn_proto_negotiated(self) -> bytes:
        return b""

    def get_peer_certificate(self) -> None:
        return None


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class _NullTls:
    def clientConnectionForTLS(self, protocol: Any) -> Any:
        return NullTlsConnection()

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        return NullTlsConnection()


def tls_around(protocol: IProtocol, clock: IReactorTime, *, client: bool) -> IProtocol:
    """Wrap *protocol* as a TLS endpoint of Twisted wraps it.

    :param clock: for the writes that are gathered until the next turn.
    :param client: whether this end is the one that connected.
    """
    factory = TLSMemoryBIOFactory(_NullTls(), client, Factory(), clock)
    return factory.protocol(factory, protocol)
