"""The probe that completes a TLS handshake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
)
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.health.probes.base import ProbeFailed, Target
from tcpbalance.health.probes.causes import named_causes
from tcpbalance.health.probes.connection import ProbeConnection, connected
from tcpbalance.health.probes.endpoint import endpoint_for
from tcpbalance.net.tls.connection import Connection


@frozen
class TlsProbe:
    """Passes when the backend completes a TLS handshake.

    Where its pool speaks TLS, it does so as a connection of the pool's would. Else the certificate is not
    verified: the probe shows that the backend speaks TLS, not which server it is. A host name is sent as the
    server name (SNI, RFC 6066 section 3).
    """

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it does not accept, or the handshake does not come to its end.
        """
        endpoint = endpoint_for(target)
        if target.tls is not None:
            with named_causes():
                async with connected(endpoint, ProbeConnection(), target):
                    return
        endpoint = wrapClientTLS(_Client(target.address), endpoint, clock=cast(IReactorTime, target.reactor))
        peer = _HandshakeProbe()
        with named_causes(), _named_tls_causes():
            async with connected(endpoint, peer, target):
                await peer.verdict.wait()


@implementer(IHandshakeListener)
class _HandshakeProbe(ProbeConnection):
    """Settled by the end of the handshake."""

    def handshakeCompleted(self) -> None:
        self.verdict.settle(None)


@implementer(IOpenSSLClientConnectionCreator)
class _Client:
    """Makes the TLS side of one connection."""

    def __init__(self, address: Address) -> None:
        self._server_name = _server_name(address)

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,
    ) -> SSL.Connection:
        connection = Connection(CertificateOptions(verify=False).getContext())
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        return connection


def _server_name(address: Address) -> bytes | None:
    """The name to send; an IP address and the dot that ends a full name have no place in it (RFC 6066)."""
    if address.host is None or address.is_numeric:
        return None
    return address.host.removesuffix(".").encode("ascii")


@contextmanager
def _named_tls_causes() -> Iterator[None]:
    try:
        yield
    except SSL.Error as error:
        raise ProbeFailed(f"TLS handshake failed: {_words(error)}") from error


def _words(error: SSL.Error) -> str:
    """What OpenSSL says happened last: it keeps a queue of (library, function, reason)."""
    queue = error.args[0] if error.args else ()
    return str(queue[-1][2]) if isinstance(queue, list) and queue else "no reason given"
