"""Reads certificates and authorities from files in PEM, and finds out beforehand what is wrong with them.

Keys are read by OpenSSL alone, in `tcpbalance.net.tls.contexts`: it knows more kinds than any library above.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from attrs import frozen
from OpenSSL import crypto

from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.wire.certificate import Certificate, read_certificate

MAX_TLS_FILE = 16 * 1024 * 1024
"""Bytes; all the authorities of a system are a quarter of a mebibyte, a large revocation list some."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_BEGIN_CERTIFICATE = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", re.MULTILINE)
_CERTIFICATE = re.compile(
    rb"^-----BEGIN (?P<kind>(?:X509 |TRUSTED )?CERTIFICATE)-----\s*$(?P<body>[^-]*)^-----END (?P=kind)-----",
    re.MULTILINE,
)
TRUSTED = b"TRUSTED CERTIFICATE"
"""What the block of a certificate calls itself that says for what it is trusted: openssl-x509(1)."""

_KINDS = {
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.113549.1.1.10": "RSA-PSS",
    "1.2.840.10045.2.1": "ECDSA",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
"""Kinds of keys, for each of which OpenSSL can have one certificate: SSL_CTX_use_certificate(3)."""


@frozen
class Validity:
    """When something may be used.

    :param what: how it reads in a message, such as ``the certificate in web.pem``.
    :param start: seconds since the epoch.
    :param end: seconds since the epoch; None for no end.
    :param remedy: what to do when it is over.
    """

    what: str
    start: float
    end: float | None
    remedy: str

    def mistake(self, now: float) -> str | None:
        """Say why it is not valid; None when it is.

        :param now: seconds since the epoch.
        """
        if self.end is not None and self.end <= now:
            return f"{self.what} expired on {_day(self.end)}, {self.remedy}"
        if self.start > now:
            return f"{self.what} is not valid before {_day(self.start)}"
        return None

    @property
    def limits(self) -> tuple[float, ...]:
        """The moments at which that changes."""
        return (self.start,) if self.end is None else (self.start, self.end)


@frozen
class Chain:
    """A certificate, whose key is in a file of its own or in the same.

    :param files: where they are; the certificate is followed by those of the authorities in between.
    :param names: the host names that it is for, as they are written in it.
    :param key_kind: what its key is for; a server may have one certificate of each kind for one name.
    :param validity: when clients believe it.
    """

    files: CertificateConfig
    names: tuple[str, ...]
    key_kind: str
    validity: Validity


@frozen
class Trusted:
    """One of the authorities in a file.

    :param subject: its name, as RFC 4514 writes it.
    :param validity: when what it has certified is believed.
    """

    subject: str
    validity: Validity


@frozen
class Authorities:
    """Those of a file.

    :param known: that were read.
    :param unknown: why others were not, which OpenSSL takes: it decides what they are worth.
    """

    known: tuple[Trusted, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def subjects(self) -> list[str]:
        """Their names."""
        return [each.subject for each in self.known]

    def mistakes(self, now: float) -> list[str]:
        """Say which of them are out of date, or cannot be read.

        :param now: seconds since the epoch.
        """
        return [*self.unknown, *filter(None, (each.validity.mistake(now) for each in self.known))]

    def is_any_valid(self, now: float) -> bool:
        """Whether one of them is known to be valid.

        :param now: seconds since the epoch.
        """
        return any(each.validity.mistake(now) is None for each in self.known)


def read_chain(files: CertificateConfig) -> Chain:
    """Read a certificate; its key is not looked at.

    :raises TlsFileError: it cannot be used; at ``cert``.
    """
    path = files.cert
    data = read_file("cert", path)
    first, *rest = _certificates("cert", path, data)
    if any(kind == TRUSTED for kind, _ in rest):
        raise TlsFileError(
            "cert",
            f"{path} has a BEGIN TRUSTED CERTIFICATE behind the first certificate, which OpenSSL leaves out: "
            f"write each of these anew by openssl x509 -in OLD -out NEW",
        )
    try:
        certificate = read_certificate(first[1])
    except ValueError as error:
        raise _damaged("cert", path) from error
    return Chain(
        files,
        _names(certificate),
        _KINDS.get(certificate.key_algorithm, certificate.key_algorithm),
        Validity(f"the certificate in {path}", certificate.not_before, certificate.not_after, "renew it"),
    )


def read_authorities(key: str, path: str) -> Authorities:
    """Read the authorities of a file.

    :raises TlsFileError: at *key*.
    """
    known: list[Trusted] = []
    unknown: list[str] = []
    for number, (_, der) in enumerate(_certificates(key, path, read_file(key, path)), 1):
        try:
            certificate = read_certificate(der)
        except ValueError as error:
            if not _openssl_reads(der):
                raise _damaged(key, path) from error
            unknown.append(
                f"authority number {number} in {path} cannot be read, "
                f"what it has certified may be refused: {error}"
            )
        else:
            known.append(_trusted(path, certificate))
    return Authorities(tuple(known), tuple(unknown))


def _trusted(path: str, certificate: Certificate) -> Trusted:
    validity = Validity(
        f"the authority {certificate.subject} in {path}",
        certificate.not_before,
        certificate.not_after,
        "nothing that it has certified is believed",
    )
    return Trusted(certificate.subject, validity)


def unchanged_span(now: float, validities: Iterable[Validity]) -> tuple[float, float]:
    """Give the time around now in which what is valid stays valid, and what is not stays so.

    :returns: its beginning, and its end, which does not belong to it.
    """
    limits = [limit for validity in validities for limit in validity.limits]
    return (
        max((limit for limit in limits if limit <= now), default=float("-inf")),
        min((limit for limit in limits if limit > now), default=float("inf")),
    )


def read_file(key: str, path: str) -> bytes:
    """Read a file.

    :raises TlsFileError: at *key*; for one that is too large, too, or that OpenSSL would not read to its end.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TLS_FILE + 1)
    except OSError as error:
        raise TlsFileError(key, f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > MAX_TLS_FILE:
        raise TlsFileError(key, f"{path} is larger than {MAX_TLS_FILE // 1024 // 1024} MiB")
    if data.startswith(BYTE_ORDER_MARK):
        raise TlsFileError(key, f"{path} begins with a byte order mark, save it without one")
    return data


def _certificates(key: str, path: str, data: bytes) -> list[tuple[bytes, bytes]]:
    """Find all certificates of a file, at least one: what the block of each calls itself, and its DER.

    In a TRUSTED CERTIFICATE, what it is trusted for follows: openssl-x509(1).
    """
    if not _BEGIN_CERTIFICATE.search(data):
        raise TlsFileError(key, f"{path} holds no certificate in PEM{_of_another_form(path, data)}")
    blocks = list(_CERTIFICATE.finditer(data))
    if len(blocks) < len(_BEGIN_CERTIFICATE.findall(data)):
        raise _damaged(key, path)
    try:
        return [(block["kind"], binascii.a2b_base64(block["body"])) for block in blocks]
    except binascii.Error as error:
        raise _damaged(key, path) from error


def _damaged(key: str, path: str) -> TlsFileError:
    return TlsFileError(key, f"{path} holds a certificate that is damaged, write it anew")


def _openssl_reads(der: bytes) -> bool:
    try:
        crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    except crypto.Error:
        return False
    return True


def _of_another_form(path: str, data: bytes) -> str:
    if b"-----BEGIN PKCS7-----" in data:
        return f" but in PKCS #7; write it anew by openssl pkcs7 -print_certs -in {path} -out NEW"
    try:
        read_certificate(data)
    except ValueError:
        return ""
    return f" but in DER; write it anew by openssl x509 -inform DER -in {path} -out NEW"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _names(certificate: Certificate) -> tuple[str, ...]:
    """The host names of a certificate; the common name where there is no other (RFC 6125, section 6.4.4)."""
    if certificate.names is not None:
        return tuple(name.decode("ascii", "replace") for name in certificate.names.dns)
    return () if certificate.common_name is None else (certificate.common_name,)
