"""Certificates of an authority of the test's own, made in this process, which is quicker than openssl."""

from __future__ import annotations

import functools
import ipaddress
import ssl
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, TypeAlias

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Kind: TypeAlias = Literal["ecdsa", "rsa"]

NOW = datetime.now(UTC).replace(microsecond=0)
YESTERDAY = NOW - timedelta(days=1)
AN_HOUR_AGO = NOW - timedelta(hours=1)
_IN_TEN_YEARS = NOW + timedelta(days=3650)
# As long as clients are used to, and not so short that a scanner warns of the end.
_IN_NINETY_DAYS = NOW + timedelta(days=90)

_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""The algorithm of a signature, as it stands in front of one: RFC 5758, section 3.2."""


@frozen
class Issued:
    """A certificate and its key, each in a file.

    :ivar certificate: the file also has what stands between it and the root.
    :ivar leaf: the certificate itself.
    """

    certificate: Path
    key: Path
    leaf: x509.Certificate

    @property
    def serial(self) -> int:
        """The number by which it is known from all others of its authority."""
        return self.leaf.serial_number


@frozen
class Authority:
    """One that signs certificates.

    :ivar certificate: its own.
    :ivar chain: what a server has to send along: its own certificate and those above, without the root's.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    _key: Key = field(repr=False)

    @classmethod
    def root(cls, name: str = "Root", until: datetime = _IN_TEN_YEARS) -> Self:
        """Make one that nobody stands above."""
        key, subject = new_key(), _named(name)
        return cls(_sign(subject, key, subject, key, _of_authority(), until), (), key)

    def intermediate(self, name: str = "Intermediate") -> Authority:
        """Make one that this one vouches for."""
        key = new_key()
        signed = self._signed(_named(name), key, _of_authority(), _IN_TEN_YEARS)
        return Authority(signed, (signed, *self.chain), key)

    def write(self, file: Path) -> Path:
        """Write its own certificate, as those who trust it need it.

        :returns: the file.
        """
        file.write_bytes(_pem(self.certificate))
        return file

    def issue(
        self,
        folder: Path,
        file_name: str,
        *names: str,
        kind: Kind = "ecdsa",
        not_before: datetime = YESTERDAY,
        not_after: datetime = _IN_NINETY_DAYS,
    ) -> Issued:
        """Make a certificate for a server, in ``file_name.pem`` with the chain and ``file_name.key``.

        :param names: host names, or IP addresses; the first is also the common name. Without any, it has only
            a common name.
        """
        extensions = _of_server(names) if names else _of_leaf(ExtendedKeyUsageOID.SERVER_AUTH)
        key = new_key(kind)
        leaf = self._signed(_named(names[0] if names else file_name), key, extensions, not_after, not_before)
        return _written(folder, file_name, leaf, key, self.chain)

    def issue_client(
        self, folder: Path, file_name: str, subject: str, not_after: datetime = _IN_NINETY_DAYS
    ) -> Issued:
        """Make a certificate for a client.

        :param subject: in the form of RFC 4514, such as "CN=alice,O=Example".
        """
        key = new_key()
        leaf = self._signed(x509.Name.from_rfc4514_string(subject), key, _of_client(), not_after)
        return _written(folder, file_name, leaf, key, self.chain)

    def revoke(
        self,
        file: Path,
        *revoked: Issued,
        since: datetime = YESTERDAY,
        until: datetime = _IN_NINETY_DAYS,
        delta: bool = False,
    ) -> Path:
        """Write the list of those certificates of this authority that hold no longer.

        :param since: when it was made.
        :param until: when the next one is due.
        :param delta: whether it says only what has changed since another one.
        :returns: the file.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(since)
            .next_update(until)
        )
        if delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder(issued.serial, AN_HOUR_AGO)
            builder = builder.add_revoked_certificate(entry.build())
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return file

    def sign_again(self, issued: Issued, change: Callable[[bytes], bytes]) -> Issued:
        """Make of a certificate one that cryptography would not make.

        :param change: gives what is to be signed, of what was; as long as that.
        """
        signed = change(issued.leaf.tbs_certificate_bytes)
        assert len(signed) == len(issued.leaf.tbs_certificate_bytes)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        bits = b"\0" + self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        body = signed + _ECDSA_WITH_SHA256 + b"\x03" + bytes([len(bits)]) + bits
        issued.certificate.write_text(
            ssl.DER_cert_to_PEM_cert(b"\x30\x82" + struct.pack(">H", len(body)) + body)
        )
        return issued

    def _signed(
        self,
        subject: x509.Name,
        key: Key,
        extensions: Iterable[tuple[x509.ExtensionType, bool]],
        not_after: datetime,
        not_before: datetime = YESTERDAY,
    ) -> x509.Certificate:
        ours = self.certificate.subject
        return _sign(subject, key, ours, self._key, extensions, not_after, not_before)


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a host name that nobody vouches for.

    :returns: its file, and that of its key.
    """
    key, subject = new_key(), _named(name)
    leaf = _sign(subject, key, subject, key, _of_server([name]), _IN_NINETY_DAYS)
    issued = _written(folder, name, leaf, key)
    return issued.certificate, issued.key


def with_an_odd_date(file: Path) -> bytes:
    """Give a file's certificate in PEM, with a zone in its first day: OpenSSL reads that, and we do not.

    RFC 5280, section 4.1.2.5.1, forbids that. Its signature is wrong then.
    """
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    at = der.index(b"\x17\x0d") + 2
    return ssl.DER_cert_to_PEM_cert(der[: at + 8] + b"+0000" + der[at + 13 :]).encode()


def write_key(file: Path, key: Key, passphrase: bytes | None = None) -> Path:
    """Write a key, encrypted if there is a passphrase.

    :returns: the file.
    """
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return file


def new_key(kind: Kind = "ecdsa") -> Key:
    """Make a key; an RSA one is always the same, because making one takes long."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else _rsa_key()


@functools.cache
def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _of_authority() -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (_usage(signs_others=True), True)]


def _of_server(names: Iterable[str]) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.SubjectAlternativeName(list(map(_identity, names))), False),
        *_of_leaf(ExtendedKeyUsageOID.SERVER_AUTH),
    ]


def _identity(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _of_client() -> list[tuple[x509.ExtensionType, bool]]:
    return _of_leaf(ExtendedKeyUsageOID.CLIENT_AUTH)


def _of_leaf(purpose: x509.ObjectIdentifier) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_others=False), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    ]


def _usage(signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    issuer_key: Key,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
    not_after: datetime,
    not_before: datetime = YESTERDAY,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _written(
    folder: Path, file_name: str, leaf: x509.Certificate, key: Key, chain: Iterable[x509.Certificate] = ()
) -> Issued:
    certificate = folder / f"{file_name}.pem"
    certificate.write_bytes(b"".join(map(_pem, (leaf, *chain))))
    return Issued(certificate, write_key(folder / f"{file_name}.key", key), leaf)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
