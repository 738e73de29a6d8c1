"""TLS towards backends: which authorities to trust, what to ask for, and the session to go on with."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from OpenSSL import SSL
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.errors import Fault
from tcpbalance.net.tls.connection import Connection
from tcpbalance.net.tls.contexts import add_chain, new_context, trust, use_revocations
from tcpbalance.net.tls.errors import HandshakeFailed
from tcpbalance.net.tls.facts import peer_certificate
from tcpbalance.net.tls.material import Material, read_material
from tcpbalance.net.tls.verification import note_why
from tcpbalance.wire.certificate import AlternativeNames


class ClientTls:
    """Makes the connections of a pool that speaks TLS with its backends.

    One context serves all of them: what is asked for is set on each connection, and a session is used again
    only with the backend, and under the name, that it began with.

    :param config: which authorities to trust, and what to show.
    :param wall_clock: seconds since the epoch.
    :ivar files: all that were read.
    :ivar warnings: what of them is out of date: a certificate is shown all the same, and of an authority
        whose revocation list is out of date, no backend is trusted.
    :raises TlsFileError: one of the files cannot be used.
    """

    def __init__(self, config: PoolTlsConfig, wall_clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._wall_clock = wall_clock
        self._peers: dict[tuple[Address, str | None], TlsPeer] = {}
        self.files = tuple(dict.fromkeys(_files(config)))
        self._material: Material | None = None
        self.reload()

    def reload(self) -> None:
        """Read all files anew now; see `prepare`."""
        self.prepare()()

    def prepare(self) -> Callable[[], None]:
        """Read all files anew; may be called in a thread.

        :returns: lets handshakes use them from then on, of which none goes on with an earlier session.
        :raises TlsFileError: one of the files cannot be used, or what is out of date in it would take the
            place of what is not; all stays as it was.
        """
        now = self._wall_clock()
        material = _read(self._config, now)
        if self._material is not None:
            material.refuse_if_worse(self._material, "ca", "crl", now)
        context = _build(self._config, material)

        def commit() -> None:
            self._context, self._material = context, material
            self.warnings = material.warnings(now)
            self._span = material.span(now)
            self._peers.clear()

        return commit

    def is_outdated(self) -> bool:
        """Whether something has gone out of date, or become valid, since the files were read."""
        start, end = self._span
        return not start <= self._wall_clock() < end

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
                self._context, name, self._wall_clock, verify=self._config.verify
            )
        return peer


@implementer(IOpenSSLClientConnectionCreator)
class TlsPeer:
    """One backend: makes connections to it, and verifies its identity.

    :param context: the pool's.
    :param name: its server name or IP address; None where it has none, as on a unix socket.
    :param wall_clock: seconds since the epoch.
    :param verify: whether its certificate has to be for that name.
    """

    __slots__ = ("_context", "_ip", "_last", "_name", "_until", "_verify", "_wall_clock")

    def __init__(
        self, context: SSL.Context, name: str | None, wall_clock: Callable[[], float], *, verify: bool
    ) -> None:
        self._context = context
        self._name = name
        self._ip = _is_ip(name)
        self._verify = verify
        self._wall_clock = wall_clock
        self._last: SSL.Connection | None = None
        self._until = math.inf

    def connection(self) -> Connection:
        """Begin with the backend, going on with the session of the last connection that it has approved."""
        connection = Connection(self._context)
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
        if self._last is None or self._wall_clock() >= self._until:
            return None
        return self._last.get_session()

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Twisted's call."""
        return self.connection()

    def approve(self, connection: SSL.Connection) -> None:
        """See that the handshake was with the backend that was meant: RFC 9525.

        :raises HandshakeFailed: its certificate is for another name.
        """
        if self._verify:
            self._until = self._verify_identity(connection)
        self._last = connection

    def _verify_identity(self, connection: SSL.Connection) -> float:
        """See that the certificate is for the name.

        :returns: until when it is valid.
        """
        if self._name is None:
            raise HandshakeFailed("no server name to verify the certificate by", Fault.CONFIGURATION)
        certificate = peer_certificate(connection, Fault.BACKEND)
        names = None if certificate is None else certificate.names
        if certificate is None or names is None:
            raise HandshakeFailed(
                f"certificate has no subjectAltName, which {self._name} must be in", Fault.BACKEND
            )
        if not (_has_address if self._ip else _has_host)(names, self._name):
            raise HandshakeFailed(f"certificate is not for {self._name}", Fault.BACKEND)
        return certificate.not_after


def _files(config: PoolTlsConfig) -> Iterator[str]:
    if config.certificate is not None:
        yield from (config.certificate.cert, config.certificate.key)
    yield from filter(None, (config.ca, config.crl))


def _read(config: PoolTlsConfig, now: float) -> Material:
    pairs = () if config.certificate is None else (config.certificate,)
    if not config.verify:
        return read_material(pairs, ("ca", None), ("crl", None), now)
    return read_material(pairs, ("ca", config.ca), ("crl", config.crl), now)


def _build(config: PoolTlsConfig, material: Material) -> SSL.Context:
    context = new_context()
    for chain in material.chains:
        add_chain(context, chain)
    if config.verify:
        _believe(context, config, material)
    return context


def _believe(context: SSL.Context, config: PoolTlsConfig, material: Material) -> None:
    if config.ca is None:
        context.set_default_verify_paths()
    else:
        trust(context, "ca", config.ca)
    if config.crl is not None:
        use_revocations(context, material.revocations.lists)
    context.set_verify(SSL.VERIFY_PEER, note_why)


def _host(address: Address) -> str | None:
    """The host to ask for; the dot that ends a full name and the zone of an address have no place in it."""
    return None if address.host is None else address.host.removesuffix(".").partition("%")[0]


def _has_address(names: AlternativeNames, address: str) -> bool:
    return ipaddress.ip_address(address).packed in names.ip


def _has_host(names: AlternativeNames, host: str) -> bool:
    """Whether one of the names is that host, or a wildcard for it; one that is for no host matches none."""
    try:
        wanted = DNS_ID(host)
    except ValueError as error:
        raise HandshakeFailed(
            f"no certificate can be for {host}, give the backend a server_name", Fault.CONFIGURATION
        ) from error
    return any(map(wanted.verify, _patterns(names)))


def _patterns(names: AlternativeNames) -> Iterator[DNSPattern]:
    for name in names.dns:
        # The library dislikes an IP address, or a wildcard that is none, in the place of a host name.
        with contextlib.suppress(CertificateError):
            yield DNSPattern.from_bytes(name)


def _is_ip(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True
