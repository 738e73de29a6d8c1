"""What is wrong with the files of a table is found before anything starts, each at its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.certificates import NOW, YESTERDAY, Authority
from support.tls_lines import frontend_tls, pair_of
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig, TlsConfig
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.examination import flaws_in_files
from tcpbalance.net.tls.server import ServerTls

NAME = "web.example"


def flaws(config: TlsConfig) -> list[tuple[object, str]]:
    """Give the keys that are to blame, and what is said."""
    return [(flaw.path, flaw.message) for flaw in flaws_in_files(("tls",), config)]


def of_a_kind_for_later(folder: Path) -> Path:
    """Write a certificate and its key, of ML-DSA (FIPS 204), into one file."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="no ML-DSA")
    try:
        key = mldsa.MLDSA65PrivateKey.generate()
    except UnsupportedAlgorithm as error:
        pytest.skip(f"no ML-DSA: {error}")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, YESTERDAY, NOW.replace(year=NOW.year + 1)
    )
    file = folder / "mldsa.pem"
    file.write_bytes(
        builder.sign(key, None).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return file


def test_a_key_of_a_kind_that_cannot_be_used_yet(tmp_path: Path) -> None:
    file = FilePath(of_a_kind_for_later(tmp_path))
    config = FrontendTlsConfig(certificates=(CertificateConfig(cert=file),))
    said = f"the key in {file} is of a kind that cannot be used"
    assert flaws(config) == [(("tls", "certificates", 0, "key"), said)]
    with pytest.raises(TlsFileError, match="of a kind that cannot be used"):
        ServerTls(config)


@pytest.mark.parametrize("end", ["frontend", "pool"])
def test_an_authority_without_a_revocation_list(tmp_path: Path, end: str) -> None:
    authority = Authority.root()
    issued = authority.issue(tmp_path, "web", NAME)
    ca = FilePath(authority.write(tmp_path / "ca.pem"))
    crl = FilePath(authority.revoke(tmp_path / "crl.pem"))
    config, key = (
        (frontend_tls(issued, client_ca=ca, client_crl=crl), "client_crl")
        if end == "frontend"
        else (PoolTlsConfig(ca=ca, crl=crl, certificate=pair_of(issued)), "crl")
    )
    assert flaws(config) == []
    Authority.root("Another").revoke(Path(crl))
    said = f"{crl} has no list of CN=Root: all that it has certified would be refused"
    assert flaws(config) == [(("tls", key), said)]


def test_authorities_that_cannot_be_read_are_told_once(tmp_path: Path) -> None:
    """And the list is looked at all the same."""
    crl = FilePath(Authority.root().revoke(tmp_path / "crl.pem"))
    missing = FilePath(tmp_path / "missing.pem")
    said = f"cannot read {missing}: no such file or directory"
    assert flaws(PoolTlsConfig(ca=missing, crl=crl)) == [(("tls", "ca"), said)]
    Path(crl).write_text("")
    assert [path for path, _ in flaws(PoolTlsConfig(ca=missing, crl=crl))] == [("tls", "ca"), ("tls", "crl")]
