"""What can be wrong with a file of certificates, keys or revocation lists, and how that is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.certificates import AN_HOUR_AGO, NOW, Authority, Issued, new_key, self_signed, write_key
from support.tls_lines import pair_of
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls import files
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import look_for_authorities, read_chain, read_revocations

NOW_S = NOW.timestamp()

# secp112r1, by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp112r1 -noenc -days 36500`.
ODD_KEY = """\
-----BEGIN PRIVATE KEY-----
ME4CAQAwEAYHKoZIzj0CAQYFK4EEAAYENzA1AgEBBA5JV31+o+PC5VZTQa1RPaEg
Ax4ABGld3jhyxxxTlc4GQ/hXfsqzf+MeZQZGZuqYfYI=
-----END PRIVATE KEY-----
"""
ODD_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBJjCB8qADAgECAhQnYFRqLv2d/9MR+eMUkYYMVw9KnzAKBggqhkjOPQQDAjAO
MQwwCgYDVQQDDANvZGQwIBcNMjYxMTI0MjExMzUzWhgPMjEyNjEwMzEyMTEzNTNa
MA4xDDAKBgNVBAMMA29kZDAyMBAGByqGSM49AgEGBSuBBAAGAx4ABGld3jhyxxxT
lc4GQ/hXfsqzf+MeZQZGZuqYfYKjUzBRMB0GA1UdDgQWBBSC6TrpI6fPLCs650aH
DFA2vyijWzAfBgNVHSMEGDAWgBSC6TrpI6fPLCs650aHDFA2vyijWzAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCAyMAMCACDi9eA6dHuJkq17m12v8kAg5z4deb
yRNqZExQnVdsnA==
-----END CERTIFICATE-----
"""
IN_2040 = datetime(2040, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


@pytest.fixture
def issued(authority: Authority, tmp_path: Path) -> Issued:
    return authority.issue(tmp_path, "web", "web.example", "*.web.example", "10.0.0.1")


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Give the key that is to blame, and what is said."""
    with pytest.raises(TlsFileError) as caught:
        call()
    return caught.value.key, str(caught.value)


def refused_chain(cert: Path, key: Path, now: float = NOW_S) -> tuple[str, str]:
    """The same for a certificate and its key."""
    pair = CertificateConfig(cert=FilePath(cert), key=FilePath(key))
    return refused(lambda: read_chain(pair, now))


# Certificates and keys


def test_a_certificate_with_its_key(issued: Issued) -> None:
    chain = read_chain(pair_of(issued), NOW_S)
    assert (chain.files, chain.key_kind) == (pair_of(issued), "ECDSA")
    assert chain.names == ("web.example", "*.web.example")


def test_one_of_rsa(authority: Authority, tmp_path: Path) -> None:
    assert read_chain(pair_of(authority.issue(tmp_path, "web", "a", kind="rsa")), NOW_S).key_kind == "RSA"


def test_both_in_one_file_in_any_order(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_bytes(issued.key.read_bytes() + issued.certificate.read_bytes())
    read_chain(CertificateConfig(cert=FilePath(file)), NOW_S)


def test_without_other_names_it_is_for_the_common_name(authority: Authority, tmp_path: Path) -> None:
    chain = read_chain(pair_of(authority.issue_client(tmp_path, "old", "CN=old.example,O=Example")), NOW_S)
    assert chain.names == ("old.example",)


def test_a_certificate_that_is_not_there(issued: Issued, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    said = f"cannot read {missing}: no such file or directory"
    assert refused_chain(missing, issued.key) == ("cert", said)
    assert refused_chain(issued.certificate, missing) == ("key", said)


def test_a_folder(issued: Issued, tmp_path: Path) -> None:
    assert refused_chain(tmp_path, issued.key) == ("cert", f"cannot read {tmp_path}: is a directory")


def test_a_file_without_end(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 100)
    assert refused_chain(issued.certificate, issued.key) == (
        "cert",
        f"{issued.certificate} is larger than 0 MiB",
    )


def test_a_certificate_that_is_no_pem(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "web.der"
    file.write_bytes(b"0\x82\x01\x00")
    assert refused_chain(file, issued.key) == ("cert", f"{file} holds no certificate in PEM")


def test_a_key_in_the_place_of_a_certificate(issued: Issued) -> None:
    key, said = refused_chain(issued.key, issued.key)
    assert key == "cert"
    assert said == f"{issued.key} holds no certificate in PEM"


def test_a_certificate_that_was_cut_short(issued: Issued) -> None:
    issued.certificate.write_bytes(issued.certificate.read_bytes()[:200])
    key, said = refused_chain(issued.certificate, issued.key)
    assert key == "cert"
    assert (
        said == f"{issued.certificate} holds a certificate or revocation list that is damaged, write it anew"
    )


def test_a_certificate_in_the_place_of_a_key(issued: Issued) -> None:
    said = f"{issued.certificate} holds no private key in PEM that can be read"
    mend = ", write it there or name its file with key"
    assert refused_chain(issued.certificate, issued.certificate) == ("cert", said + mend)


def test_a_key_with_a_passphrase(issued: Issued) -> None:
    write_key(issued.key, new_key(), passphrase=b"secret")
    assert refused_chain(issued.certificate, issued.key) == (
        "key",
        f"the key in {issued.key} has a passphrase, which nobody is there to type: write it without one",
    )


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_the_key_of_another_certificate(issued: Issued, kind: str) -> None:
    write_key(issued.key, new_key(kind))  # type: ignore[arg-type]
    assert refused_chain(issued.certificate, issued.key) == (
        "key",
        f"the key in {issued.key} does not belong to the certificate in {issued.certificate}",
    )


def test_the_first_certificate_is_the_one_that_counts(authority: Authority, tmp_path: Path) -> None:
    issued = authority.intermediate().issue(tmp_path, "web", "web.example")
    first, _, rest = issued.certificate.read_bytes().partition(b"-----END CERTIFICATE-----\n")
    read_chain(pair_of(issued), NOW_S)
    issued.certificate.write_bytes(rest + first + b"-----END CERTIFICATE-----\n")
    assert refused_chain(issued.certificate, issued.key)[0] == "key"


def test_a_certificate_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "web.example", not_after=AN_HOUR_AGO)
    day = f"{AN_HOUR_AGO:%Y-%m-%d %H:%M UTC}"
    said = f"the certificate in {issued.certificate} expired on {day}, renew it"
    assert refused_chain(issued.certificate, issued.key) == ("cert", said)


def test_a_certificate_that_is_for_later(authority: Authority, tmp_path: Path) -> None:
    later = NOW + timedelta(hours=1)
    issued = authority.issue(tmp_path, "web", "web.example", not_before=later)
    said = f"the certificate in {issued.certificate} is not valid before {later:%Y-%m-%d %H:%M UTC}"
    assert refused_chain(issued.certificate, issued.key) == ("cert", said)


def test_it_is_valid_from_its_first_second_and_not_in_its_last(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "a", not_before=NOW, not_after=NOW + timedelta(seconds=10))
    read_chain(pair_of(issued), NOW_S)
    read_chain(pair_of(issued), NOW_S + 9)
    assert "expired" in refused_chain(issued.certificate, issued.key, NOW_S + 10)[1]
    assert "not valid before" in refused_chain(issued.certificate, issued.key, NOW_S - 1)[1]


def test_self_signed_is_good_enough(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "web.example")
    read_chain(CertificateConfig(cert=FilePath(certificate), key=FilePath(key)), NOW_S)


def test_a_key_of_a_kind_that_nobody_supports(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "odd.key"
    file.write_text(ODD_KEY)
    key, said = refused_chain(issued.certificate, file)
    assert key == "key"
    assert said.startswith(f"{file} cannot be used: ")


def test_a_certificate_with_a_key_of_such_a_kind(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "odd.pem"
    file.write_text(ODD_CERTIFICATE)
    key, said = refused_chain(file, issued.key, IN_2040)
    assert key == "cert"
    assert said.startswith(f"{file} cannot be used: ")


# Authorities


def test_authorities(authority: Authority, tmp_path: Path) -> None:
    look_for_authorities("ca", str(authority.write(tmp_path / "root.pem")))


def test_authorities_that_cannot_be_read_are_told_at_their_key(tmp_path: Path) -> None:
    file = tmp_path / "root.pem"
    assert refused(lambda: look_for_authorities("ca", str(file))) == (
        "ca",
        f"cannot read {file}: no such file or directory",
    )
    file.write_bytes(b"")
    assert refused(lambda: look_for_authorities("client_ca", str(file))) == (
        "client_ca",
        f"{file} holds no certificate in PEM",
    )


# Revocation lists


def test_the_lists_of_several_authorities_in_one_file(authority: Authority, tmp_path: Path) -> None:
    file = authority.revoke(tmp_path / "crl.pem")
    both = Authority.root("Another").revoke(tmp_path / "another.pem").read_bytes() + file.read_bytes()
    file.write_bytes(b"# the lists of two\n" + both)
    assert len(read_revocations("crl", str(file), NOW_S)) == 2


def test_a_file_without_a_list(authority: Authority, tmp_path: Path) -> None:
    file = authority.write(tmp_path / "root.pem")
    assert refused(lambda: read_revocations("crl", str(file), NOW_S)) == (
        "crl",
        f"{file} holds no revocation list in PEM; from DER: openssl crl -inform DER -in LIST -out {file}",
    )


def test_a_list_that_is_garbled(tmp_path: Path) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    key, said = refused(lambda: read_revocations("crl", str(file), NOW_S))
    assert key == "crl"
    assert said == f"{file} holds a certificate or revocation list that is damaged, write it anew"


def test_a_list_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    file = authority.revoke(tmp_path / "crl.pem")
    later = NOW + timedelta(days=90)
    day = f"{later:%Y-%m-%d %H:%M UTC}"
    assert refused(lambda: read_revocations("client_crl", str(file), later.timestamp())) == (
        "client_crl",
        f"the revocation list of CN=Root in {file} expired on {day}, fetch a new one",
    )


def test_a_file_that_lacks_the_list_of_an_authority(authority: Authority, tmp_path: Path) -> None:
    other = Authority.root("Another")
    authorities, crl = authority.write(tmp_path / "ca.pem"), authority.revoke(tmp_path / "crl.pem")
    assert read_revocations("crl", str(crl), NOW_S, str(authorities))
    authorities.write_bytes(authorities.read_bytes() + other.write(tmp_path / "other.pem").read_bytes())
    assert refused(lambda: read_revocations("crl", str(crl), NOW_S, str(authorities))) == (
        "crl",
        f"{crl} has no list of CN=Another: all that it has certified would be refused",
    )
