"""Certificates for proxies that terminate TLS, made anew for each run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NAME = "localhost"
"""Whom they are for."""

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

ECDSA, RSA = "ecdsa", "rsa"

_NEW_KEY: dict[str, Callable[[], _Key]] = {
    ECDSA: lambda: ec.generate_private_key(ec.SECP256R1()),
    RSA: lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
}


def make(kind: str, folder: Path) -> Path:
    """Make a key and a certificate that is signed by itself and valid for two days.

    :param kind: of the key, `ECDSA` or `RSA`.
    :returns: the PEM file that holds both.
    """
    key = _NEW_KEY[kind]()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / f"{kind}.pem"
    file.touch(mode=0o600)
    file.write_bytes(_certificate(key).public_bytes(Encoding.PEM) + secret)
    return file


def _certificate(key: _Key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # From yesterday, for a clock that is set back meanwhile.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
