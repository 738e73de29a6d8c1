"""Certificates of a run are of the kind that was asked for, hold their key, and do not last."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

import stat
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.certificates import ECDSA, NAME, RSA, make


@pytest.mark.parametrize(
    ("kind", "key_type"), [(ECDSA, ec.EllipticCurvePrivateKey), (RSA, rsa.RSAPrivateKey)]
)
def test_one_file_has_the_certificate_and_its_key(tmp_path: Path, kind: str, key_type: type) -> None:
    file = make(kind, tmp_path)
    key = load_pem_private_key(file.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    assert isinstance(key, key_type)
    assert key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=2)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]


def test_nobody_else_can_read_the_key(tmp_path: Path) -> None:
    assert stat.S_IMODE(make(ECDSA, tmp_path).stat().st_mode) == 0o600
