"""Reads what TLS is made of from files, and finds out beforehand whether it can work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls.errors import TlsFileError

D = TypeVar("D")
T = TypeVar("T")

LARGEST_FILE = 16 * 1024 * 1024
"""Bytes; all the authorities of a system are a quarter of a mebibyte, a large revocation list some."""

_NOT_UNDERSTOOD = (UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""How cryptography says that there is something in a certificate that it can make no sense of."""

_CERTIFICATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@frozen
class Chain:
    """A certificate with its key, which go together and are valid now.

    :param files: where they stand; the certificate is followed by those of the authorities in between.
    :param names: the host names that it is for, as they are written in it.
    :param key_kind: what its key is for; a server may have one certificate of each kind for one name.
    :param private_key: its key.
    """

    files: CertificateConfig
    names: tuple[str, ...]
    key_kind: str
    private_key: Any = field(eq=False, repr=False)


def read_chain(files: CertificateConfig, now: float) -> Chain:
    """Read a certificate and see that its key belongs to it.

    :param now: seconds since the epoch.
    :raises TlsFileError: it cannot be used; at ``cert`` or ``key``.
    """
    certificate = _certificates("cert", files.cert)[0]
    _refuse_out_of_date(certificate, files.cert, now)
    public = _parsed("cert", files.cert, x509.Certificate.public_key, certificate)
    private = read_key(files)
    if _spki(private.public_key()) != _spki(public):
        raise TlsFileError(
            "key", f"the key in {files.key} does not belong to the certificate in {files.cert}"
        )
    return Chain(files, _parsed("cert", files.cert, _names, certificate), _kind(public), private)


def read_key(files: CertificateConfig) -> Any:
    """Read a private key.

    :returns: one of cryptography's.
    :raises TlsFileError: at the key of the configuration that names its file; for one with a passphrase, too.
    """
    path, key, mend = files.key, "key", ""
    if path == files.cert:
        key, mend = "cert", ", write it there or name its file with key"
    data = _read(key, path)
    try:
        return load_pem_private_key(data, None)
    except TypeError as error:
        raise TlsFileError(
            key, f"the key in {path} has a passphrase, which nobody is there to type: write it without one"
        ) from error
    except _NOT_UNDERSTOOD as error:
        raise TlsFileError(key, f"{path} cannot be used: {error}") from error
    except ValueError as error:
        raise TlsFileError(key, f"{path} holds no private key in PEM that can be read{mend}") from error


def look_for_authorities(key: str, path: str) -> None:
    """See that a file holds certificates; what they are worth is up to OpenSSL, which believes in them.

    :raises TlsFileError: at *key*.
    """
    _refuse_without_certificate(key, path, _read(key, path))


def read_revocations(
    key: str, path: str, now: float, authorities: str | None = None
) -> list[x509.CertificateRevocationList]:
    """Read revocation lists.

    :param now: seconds since the epoch.
    :param authorities: the file of those that each have to have one; None where they are not known.
    :raises TlsFileError: at *key*; for one that is out of date, too, because nobody would be let in.
    """
    blocks = _CRL.findall(_read(key, path))
    if not blocks:
        raise TlsFileError(
            key,
            f"{path} holds no revocation list in PEM; from DER: openssl crl -inform DER -in LIST -out {path}",
        )
    lists = [_parsed(key, path, x509.load_pem_x509_crl, block) for block in blocks]
    for revocations in lists:
        until = revocations.next_update_utc
        if until is not None and until.timestamp() <= now:
            issuer = revocations.issuer.rfc4514_string()
            raise TlsFileError(
                key,
                f"the revocation list of {issuer} in {path} expired on {_day(until)}, fetch a new one",
            )
    if authorities is not None:
        _refuse_gaps(key, path, lists, authorities)
    return lists


def _refuse_gaps(
    key: str, path: str, lists: Iterable[x509.CertificateRevocationList], authorities: str
) -> None:
    """See that there is a list of each authority: without one, OpenSSL refuses all that it has certified."""
    of = {revocations.issuer for revocations in lists}
    for authority in _certificates(key, authorities):
        if authority.subject not in of:
            name = authority.subject.rfc4514_string()
            raise TlsFileError(
                key, f"{path} has no list of {name}: all that it has certified would be refused"
            )


def _read(key: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise TlsFileError(key, f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(data) > LARGEST_FILE:
        raise TlsFileError(key, f"{path} is larger than {LARGEST_FILE // 1024 // 1024} MiB")
    return data


def _certificates(key: str, path: str) -> list[x509.Certificate]:
    data = _read(key, path)
    _refuse_without_certificate(key, path, data)
    return _parsed(key, path, x509.load_pem_x509_certificates, data)


def _refuse_without_certificate(key: str, path: str, data: bytes) -> None:
    if not _CERTIFICATE.search(data):
        raise TlsFileError(key, f"{path} holds no certificate in PEM")


def _parsed(key: str, path: str, parse: Callable[[D], T], data: D) -> T:
    try:
        return parse(data)
    except _NOT_UNDERSTOOD as error:
        raise TlsFileError(key, f"{path} cannot be used: {error}") from error
    except ValueError as error:
        raise TlsFileError(
            key, f"{path} holds a certificate or revocation list that is damaged, write it anew"
        ) from error


def _spki(public: Any) -> bytes:
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _kind(public: object) -> str:
    if isinstance(public, EllipticCurvePublicKey):
        return "ECDSA"
    return "RSA" if isinstance(public, RSAPublicKey) else type(public).__name__


def _refuse_out_of_date(certificate: x509.Certificate, path: str, now: float) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if last.timestamp() <= now:
        raise TlsFileError("cert", f"the certificate in {path} expired on {_day(last)}, renew it")
    if first.timestamp() > now:
        raise TlsFileError("cert", f"the certificate in {path} is not valid before {_day(first)}")


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names of a certificate; the common name where there is no other (RFC 6125, section 6.4.4)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(_common_names(certificate))
    return tuple(names.get_values_for_type(x509.DNSName))


def _common_names(certificate: x509.Certificate) -> Iterator[str]:
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        yield str(attribute.value)
