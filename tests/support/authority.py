"""An authority that certifies whatever a test needs, in memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

KeyKind = Literal["ECDSA", "RSA"]

_DAY = timedelta(days=1)


@frozen
class Issued:
    """A certificate and its key.

    :ivar chain: the certificate in PEM, followed by those of the authorities in between.
    """

    certificate: x509.Certificate
    chain: bytes
    key: bytes


@frozen
class Authority:
    """An authority, and who has certified it.

    :param above: its own authority, None for one that vouches for itself.
    """

    name: str
    above: Authority | None = None
    _key: EllipticCurvePrivateKey = field(factory=lambda: generate_ec(SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    @certificate.default
    def _certified(self) -> x509.Certificate:
        unsigned = _unsigned(self.name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        unsigned = unsigned.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False
        )
        return (self.above or self)._sign(unsigned, _named(self.above.name if self.above else self.name))

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: str, kind: KeyKind = "ECDSA") -> Issued:
        """Certify a new key for host names or IP addresses; the first is its common name as well."""
        key = generate_ec(SECP256R1()) if kind == "ECDSA" else generate_rsa(65537, 2048)
        unsigned = _unsigned(names[0], key).add_extension(
            x509.SubjectAlternativeName(list(map(_general_name, names))), False
        )
        certificate = self._sign(unsigned, _named(self.name))
        chain = [certificate, *([self.certificate] if self.above is not None else [])]
        return Issued(
            certificate,
            b"".join(one.public_bytes(Encoding.PEM) for one in chain),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def revoke(self, issued: Iterable[Issued] = ()) -> bytes:
        """Give its revocation list, in PEM, with these certificates in it."""
        now = datetime.now(UTC)
        revocations = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_named(self.name))
            .last_update(now - _DAY)
            .next_update(now + _DAY)
        )
        for one in issued:
            revocations = revocations.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.certificate.serial_number)
                .revocation_date(now - _DAY)
                .build()
            )
        return revocations.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def _sign(self, unsigned: x509.CertificateBuilder, issuer: x509.Name) -> x509.Certificate:
        return unsigned.issuer_name(issuer).sign(self._key, SHA256())


def _unsigned(name: str, key: EllipticCurvePrivateKey | RSAPrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
