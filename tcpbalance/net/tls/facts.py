"""What was agreed on in a handshake, for logs and PROXY headers."""

from __future__ import annotations

from attrs import define
from OpenSSL import SSL, crypto

from tcpbalance.errors import Fault
from tcpbalance.net.tls.errors import HandshakeFailed
from tcpbalance.net.tls.openssl import agreement
from tcpbalance.wire.certificate import Certificate, read_certificate

MAX_SUBJECT = 1000
"""Characters of a subject that logs show, and of a common name that backends are sent; few have a hundred,
and a certificate may have as many as fit into a handshake."""

_NO_CERTIFICATE = None, None


# Not frozen, because one is made for each handshake and a frozen one takes twice as long to make.
@define
class TlsFacts:
    """The TLS of one connection.

    :param version: such as ``"TLSv1.3"``.
    :param cipher: the suite's name.
    :param server_name: what the client asked for, None where it did not.
    :param alpn: the protocol that was agreed on, None for none.
    :param subject: of the client's certificate (RFC 4514), shortened where it is very long; None without one.
    :param common_name: of the same; None where it is very long.
    """

    version: str
    cipher: str
    server_name: str | None
    alpn: bytes | None
    subject: str | None
    common_name: str | None


def facts_of(connection: SSL.Connection, now: float) -> TlsFacts:
    """Ask a connection whose handshake is over.

    :param now: seconds since the epoch.
    :raises HandshakeFailed: the client's certificate has expired since it was shown, in an earlier session,
        or cannot be read.
    """
    subject, common_name = _client(connection, now) if connection.get_verify_mode() else _NO_CERTIFICATE
    version, cipher, protocol = agreement(connection)
    return TlsFacts(version, cipher, asked_name(connection), protocol, subject, common_name)


def asked_name(connection: SSL.Connection) -> str | None:
    """What the client asks for, None where it does not, or has not said so yet."""
    name = connection.get_servername()
    return name.decode("ascii", "backslashreplace") if name else None


def peer_certificate(connection: SSL.Connection, fault: Fault) -> Certificate | None:
    """Read the certificate that the other end has shown, None where it has shown none.

    :param fault: whose it is when it cannot be read.
    :raises HandshakeFailed: OpenSSL has taken it, and it cannot be read.
    """
    shown = connection.get_peer_certificate()
    if shown is None:
        return None
    try:
        return read_certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown))
    except ValueError as error:
        raise HandshakeFailed(f"certificate cannot be read: {error}", fault) from error


def _client(connection: SSL.Connection, now: float) -> tuple[str | None, str | None]:
    """The subject of the client's certificate, and the common name in it."""
    certificate = peer_certificate(connection, Fault.CLIENT)
    if certificate is None:
        return _NO_CERTIFICATE
    if certificate.not_after <= now:
        raise HandshakeFailed("certificate expired")
    subject, name = certificate.subject, certificate.common_name
    if len(subject) > MAX_SUBJECT:
        subject = f"{subject[:MAX_SUBJECT]}..."
    # A part of a name might be the name of another client.
    return subject, name if name is not None and len(name) <= MAX_SUBJECT else None
