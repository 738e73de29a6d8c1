"""TLS towards backends: whom to believe, what to ask for, and the session to go on with."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.exceptions import CertificateError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.errors import Fault
from tcpbalance.net.tls.connection import new_connection
from tcpbalance.net.tls.contexts import add_chain, heed, new_context, trust
from tcpbalance.net.tls.errors import HandshakeFailed
from tcpbalance.net.tls.files import read_chain, read_revocations
from tcpbalance.net.tls.verification import note_why


class ClientTls:
    """Makes the connections of a pool that speaks TLS with its backends.

    One context serves all of them: what is asked for is set on each connection, and a session is used again
    only with the backend, and under the name, that it began with.

    :param config: whom to believe, and what to show.
    :param wall_seconds: seconds since the epoch.
    :ivar files: all that were read.
    :raises TlsFileError: one of the files cannot be used.
    """

    def __init__(self, config: PoolTlsConfig, wall_seconds: Callable[[], float] = time.time) -> None:
        self._config = config
        self._wall_seconds = wall_seconds
        self._peers: dict[tuple[Address, str | None], TlsPeer] = {}
        self.files = tuple(dict.fromkeys(_files(config)))
        self.reload()

    def reload(self) -> None:
        """Read all files anew: handshakes use them from now on, and none goes on with an earlier session.

        :raises TlsFileError: one of the files cannot be used; all stays as it was.
        """
        self._context = _build(self._config, self._wall_seconds())
        self._peers.clear()

    def peer(self, address: Address, server_name: str | None) -> TlsPeer:
        """Give what is known of a backend.

        :param address: where it listens.
        :param server_name: its own; None for the pool's, or the host of the address.
        """
        key = address, server_name
        peer = self._peers.get(key)
        if peer is None:
            name = server_name or self._config.server_name or _host(address)
            peer = self._peers[key] = TlsPeer(
                self._context, name, self._wall_seconds, verify=self._config.verify
            )
        return peer


@implementer(IOpenSSLClientConnectionCreator)
class TlsPeer:
    """One backend: makes connections to it, and finds out whether it is who it should be.

    :param context: the pool's.
    :param name: its server name or IP address; None where it has none, as on a unix socket.
    :param wall_seconds: seconds since the epoch.
    :param verify: whether its certificate has to be for that name.
    """

    __slots__ = ("_context", "_ip", "_last", "_name", "_until", "_verify", "_wall_seconds")

    def __init__(
        self, context: SSL.Context, name: str | None, wall_seconds: Callable[[], float], *, verify: bool
    ) -> None:
        self._context = context
        self._name = name
        self._ip = _is_ip(name)
        self._verify = verify
        self._wall_seconds = wall_seconds
        self._last: SSL.Connection | None = None
        self._until = math.inf

    def connection(self, sock: Any) -> SSL.Connection:
        """Begin with the backend, going on with the session of the last connection that it has approved.

        :param sock: the socket; None to take the bytes in and out by hand.
        """
        connection = new_connection(self._context, sock)
        connection.set_connect_state()
        if self._name is not None and not self._ip:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        session = self._session()
        if session is not None:
            connection.set_session(session)
        return connection

    def _session(self) -> SSL.Session | None:
        """The session of the last connection, while the certificate is good that it began with.

        Asked for only now, because tickets come after the handshake (RFC 8446, section 4.6.1).
        """
        if self._last is None or self._wall_seconds() >= self._until:
            return None
        return self._last.get_session()

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Twisted's call."""
        return self.connection(None)

    def approve(self, connection: SSL.Connection) -> None:
        """See that the handshake was with the backend that was meant: RFC 9525.

        :raises HandshakeFailed: its certificate is for somebody else.
        """
        if self._verify:
            self._verify_identity(connection)
            certificate: Any = connection.get_peer_certificate(as_cryptography=True)
            self._until = certificate.not_valid_after_utc.timestamp()
        self._last = connection

    def _verify_identity(self, connection: SSL.Connection) -> None:
        if self._name is None:
            raise HandshakeFailed("no server name to verify the certificate by", Fault.CONFIGURATION)
        verify = verify_ip_address if self._ip else verify_hostname
        try:
            verify(connection, self._name)
        except (VerificationError, CertificateError) as error:
            raise HandshakeFailed(f"certificate is not for {self._name}", Fault.BACKEND) from error


def _files(config: PoolTlsConfig) -> Iterator[str]:
    if config.certificate is not None:
        yield from (config.certificate.cert, config.certificate.key)
    yield from filter(None, (config.ca, config.crl))


def _build(config: PoolTlsConfig, now: float) -> SSL.Context:
    context = new_context()
    if config.certificate is not None:
        add_chain(context, read_chain(config.certificate, now))
    if config.verify:
        _believe(context, config, now)
    return context


def _believe(context: SSL.Context, config: PoolTlsConfig, now: float) -> None:
    if config.ca is None:
        context.set_default_verify_paths()
    else:
        trust(context, "ca", config.ca)
    if config.crl is not None:
        heed(context, read_revocations("crl", config.crl, now, config.ca))
    context.set_verify(SSL.VERIFY_PEER, note_why)


def _host(address: Address) -> str | None:
    """The host to ask for; the dot that ends a full name and the zone of an address have no place in it."""
    return None if address.host is None else address.host.removesuffix(".").partition("%")[0]


def _is_ip(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True
