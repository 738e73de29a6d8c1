"""Begins TLS on a connection that stands, whichever transport carries it."""

from __future__ import annotations

from typing import Any

from tcpbalance.net.adapted_transport import as_transport
from tcpbalance.net.socket_transport import SocketTransport
from tcpbalance.net.tls.client import TlsPeer
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_transport import TlsTransport


def accept_tls(transport: Any, tls: ServerTls, rest: bytes = b"") -> Any:
    """Let a client speak TLS from here on; its protocol hears ``handshakeCompleted`` once it does.

    :param transport: the client's.
    :param rest: what has been read and is a part of it; a leg has been looked into, and nothing was read.
    :returns: the transport from now on.
    """
    if isinstance(transport, SocketTransport):
        transport.leave(len(rest))
        leg = TlsTransport(transport, tls.connection())
        leg.read_again()
        return leg
    transport.accept_tls(tls, rest)
    return transport


def connect_tls(transport: Any, peer: TlsPeer) -> Any:
    """Speak TLS with a backend from here on; the protocol hears ``handshakeCompleted`` once that stands.

    :param transport: the backend's.
    :param peer: who it should be.
    :returns: the transport from now on.
    """
    if isinstance(transport, SocketTransport):
        leg = TlsTransport(transport, peer.connection())
        leg.begin()
        return leg
    as_transport(transport).connect_tls(peer)  # type: ignore[attr-defined]
    return transport
