"""What can be wrong with a file of certificates, keys or revocation lists, and how that is said."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from support.certificates import (
    AN_HOUR_AGO,
    NOW,
    YESTERDAY,
    Authority,
    Issued,
    new_key,
    self_signed,
    with_an_odd_date,
    write_key,
)
from support.process import run
from support.programs import require
from support.tls_lines import pair_of
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig
from tcpbalance.net.tls import files
from tcpbalance.net.tls.contexts import load_chain, new_context, trust, use_revocations
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.files import read_authorities
from tcpbalance.net.tls.revocation import Revocations, read_revocations

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


def pair(cert: Path, key: Path | None = None) -> CertificateConfig:
    """Name the files of a certificate and its key, or the one of both."""
    return CertificateConfig(cert=FilePath(cert), key=FilePath(key or cert))


def refused_chain(cert: Path, key: Path) -> tuple[str, str]:
    """The same for a certificate and its key."""
    return refused(lambda: load_chain(pair(cert, key)))


# Certificates and keys


def test_a_certificate_with_its_key(issued: Issued) -> None:
    chain = load_chain(pair_of(issued))
    assert (chain.files, chain.key_kind) == (pair_of(issued), "ECDSA")
    assert chain.names == ("web.example", "*.web.example")


def test_one_of_rsa(authority: Authority, tmp_path: Path) -> None:
    assert load_chain(pair_of(authority.issue(tmp_path, "web", "a", kind="rsa"))).key_kind == "RSA"


def test_both_in_one_file_in_any_order(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_bytes(issued.key.read_bytes() + issued.certificate.read_bytes())
    load_chain(CertificateConfig(cert=FilePath(file)))


def test_without_other_names_it_is_for_the_common_name(authority: Authority, tmp_path: Path) -> None:
    chain = load_chain(pair_of(authority.issue_client(tmp_path, "old", "CN=old.example,O=Example")))
    assert chain.names == ("old.example",)


def test_a_certificate_that_is_not_there(issued: Issued, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    said = f"cannot read {missing}: no such file or directory"
    assert refused_chain(missing, issued.key) == ("cert", said)
    assert refused_chain(issued.certificate, missing) == ("key", said)


def test_a_folder(issued: Issued, tmp_path: Path) -> None:
    assert refused_chain(tmp_path, issued.key) == ("cert", f"cannot read {tmp_path}: is a directory")


def test_a_file_without_end(issued: Issued, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TLS_FILE", 100)
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
    assert said == f"{issued.certificate} holds a certificate that is damaged, write it anew"


def test_an_authority_in_between_that_was_cut_short(authority: Authority, tmp_path: Path) -> None:
    issued = authority.intermediate().issue(tmp_path, "web", "web.example")
    issued.certificate.write_bytes(issued.certificate.read_bytes()[:-100])
    said = f"{issued.certificate} holds a certificate that is damaged, write it anew"
    assert refused_chain(issued.certificate, issued.key) == ("cert", said)


def test_a_certificate_in_the_place_of_a_key(issued: Issued) -> None:
    said = f"{issued.certificate} holds no private key in PEM that can be read"
    mend = ", write it there or name its file with key"
    assert refused_chain(issued.certificate, issued.certificate) == ("cert", said + mend)


def test_a_key_with_a_passphrase(issued: Issued) -> None:
    write_key(issued.key, new_key(), passphrase=b"secret")
    key, said = refused_chain(issued.certificate, issued.key)
    assert key == "key"
    assert said == (
        f"the key in {issued.key} has a passphrase, which cannot be entered: write it without one, by "
        f"openssl pkey -in {issued.key} -out NEW"
    )


def test_a_key_with_a_passphrase_in_the_form_of_old(issued: Issued) -> None:
    """Else OpenSSL would ask for it at the terminal."""
    key = new_key("rsa").private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
    )
    assert b"Proc-Type" in key
    issued.key.write_bytes(key)
    assert "has a passphrase" in refused_chain(issued.certificate, issued.key)[1]


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
    load_chain(pair_of(issued))
    issued.certificate.write_bytes(rest + first + b"-----END CERTIFICATE-----\n")
    assert refused_chain(issued.certificate, issued.key)[0] == "key"


def test_a_certificate_that_has_expired(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "web.example", not_after=AN_HOUR_AGO)
    day = f"{AN_HOUR_AGO:%Y-%m-%d %H:%M UTC}"
    said = f"the certificate in {issued.certificate} expired on {day}, renew it"
    assert load_chain(pair_of(issued)).validity.mistake(NOW_S) == said


def test_a_certificate_that_is_for_later(authority: Authority, tmp_path: Path) -> None:
    later = NOW + timedelta(hours=1)
    issued = authority.issue(tmp_path, "web", "web.example", not_before=later)
    said = f"the certificate in {issued.certificate} is not valid before {later:%Y-%m-%d %H:%M UTC}"
    assert load_chain(pair_of(issued)).validity.mistake(NOW_S) == said


def test_it_is_valid_from_its_first_second_and_not_in_its_last(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(tmp_path, "web", "a", not_before=NOW, not_after=NOW + timedelta(seconds=10))
    validity = load_chain(pair_of(issued)).validity
    assert validity.mistake(NOW_S) is None
    assert validity.mistake(NOW_S + 9) is None
    assert "expired" in str(validity.mistake(NOW_S + 10))
    assert "not valid before" in str(validity.mistake(NOW_S - 1))


def test_self_signed_is_good_enough(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "web.example")
    load_chain(CertificateConfig(cert=FilePath(certificate), key=FilePath(key)))


def test_a_key_that_openssl_finds_too_weak(tmp_path: Path) -> None:
    file = tmp_path / "odd.pem"
    file.write_text(ODD_KEY + ODD_CERTIFICATE)
    assert refused_chain(file, file) == ("cert", f"OpenSSL refuses {file}: ee key too small")


def test_a_key_beside_the_certificate_of_another_kind(issued: Issued, tmp_path: Path) -> None:
    file = tmp_path / "odd.key"
    file.write_text(ODD_KEY)
    assert refused_chain(issued.certificate, file) == (
        "key",
        f"the key in {file} does not belong to the certificate in {issued.certificate}",
    )


KINDS = {
    "RSA-PSS": ("RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
    "Ed25519": ("ED25519",),
    "Ed448": ("ED448",),
    "ECDSA": ("EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
}


@pytest.mark.requires("openssl")
@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_other_kinds(made: Callable[..., tuple[Path, Path]], kind: str) -> None:
    chain = load_chain(pair(*made(*KINDS[kind])))
    assert (chain.key_kind, chain.names) == (kind, ("odd.example",))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Have openssl make a key, and a certificate for it."""
    (openssl,) = require("openssl")

    def make(*algorithm: str) -> tuple[Path, Path]:
        certificate, key = tmp_path / "odd.pem", tmp_path / "odd.key"
        run([openssl, "genpkey", "-out", key, "-algorithm", *algorithm])
        names = ["-subj", "/CN=odd.example", "-addext", "subjectAltName=DNS:odd.example"]
        run([openssl, "req", "-x509", "-key", key, "-out", certificate, *names])
        return certificate, key

    return make


# How a file is written


@pytest.mark.requires("openssl")
def test_a_trusted_certificate(issued: Issued, tmp_path: Path) -> None:
    """What openssl writes with -trustout: the certificate, and behind it what it is trusted for."""
    (openssl,) = require("openssl")
    file = tmp_path / "trusted.pem"
    run([openssl, "x509", "-in", issued.certificate, "-trustout", "-out", file])
    assert b"BEGIN TRUSTED CERTIFICATE" in file.read_bytes()
    assert load_chain(pair(file, issued.key)).names == load_chain(pair_of(issued)).names
    assert read_authorities("ca", str(file)).subjects == ["CN=web.example"]
    file.write_bytes(issued.certificate.read_bytes() + file.read_bytes())
    key, said = refused_chain(file, issued.key)
    assert key == "cert"
    assert said.startswith(f"{file} has a BEGIN TRUSTED CERTIFICATE behind the first certificate")
    assert "openssl x509 -in" in said


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "text-in-front": lambda pem: b"Bag Attributes\n    friendlyName: web\nsubject=CN = web\n" + pem,
    "line-ends-of-windows": lambda pem: pem.replace(b"\n", b"\r\n"),
    "no-last-line-end": lambda pem: pem.removesuffix(b"\n"),
    "twice": lambda pem: pem + pem,
    "empty-lines": lambda pem: b"\n\n" + pem + b"\n\n",
    "spaces-behind": lambda pem: pem.replace(b"-----\n", b"----- \n"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("what", ["certificate", "key"])
def test_forms_of_a_file_that_make_no_difference(
    issued: Issued, form: Callable[[bytes], bytes], what: str
) -> None:
    file = getattr(issued, what)
    file.write_bytes(form(file.read_bytes()))
    assert load_chain(pair_of(issued)).names == ("web.example", "*.web.example")


def test_a_key_in_the_form_of_old_with_its_parameters_in_front(issued: Issued) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    issued.key.write_bytes(parameters + issued.key.read_bytes())
    load_chain(pair_of(issued))


@pytest.mark.parametrize("what", ["certificate", "key"])
def test_a_byte_order_mark(issued: Issued, what: str) -> None:
    """OpenSSL would leave out what follows it."""
    file = getattr(issued, what)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    key, said = refused_chain(issued.certificate, issued.key)
    assert key == ("cert" if what == "certificate" else "key")
    assert said == f"{file} begins with a byte order mark, save it without one"


def test_der(issued: Issued) -> None:
    issued.certificate.write_bytes(issued.leaf.public_bytes(Encoding.DER))
    key, said = refused_chain(issued.certificate, issued.key)
    assert key == "cert"
    assert said == (
        f"{issued.certificate} holds no certificate in PEM but in DER; write it anew by openssl x509 "
        f"-inform DER -in {issued.certificate} -out NEW"
    )


def test_certificates_in_pkcs_7(issued: Issued) -> None:
    issued.certificate.write_bytes(b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n")
    said = refused_chain(issued.certificate, issued.key)[1]
    assert said.endswith(f"write it anew by openssl pkcs7 -print_certs -in {issued.certificate} -out NEW")


def test_a_key_of_openssh(issued: Issued) -> None:
    key = new_key().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    issued.key.write_bytes(key)
    at, said = refused_chain(issued.certificate, issued.key)
    assert at == "key"
    assert said.endswith(f"write it in PEM, by ssh-keygen -p -m PEM -f {issued.key}")


@pytest.mark.parametrize("key", [b"", b"0\x82\x01\x00", b"-----BEGIN PUBLIC KEY-----\n"])
def test_what_is_no_key(issued: Issued, key: bytes) -> None:
    issued.key.write_bytes(key)
    said = f"{issued.key} holds no private key in PEM that can be read"
    assert refused_chain(issued.certificate, issued.key) == ("key", said)


@pytest.mark.parametrize("size", [100, 60])
def test_a_key_that_was_cut_short(issued: Issued, size: int) -> None:
    issued.key.write_bytes(issued.key.read_bytes()[:size] + b"\n-----END PRIVATE KEY-----\n")
    said = f"OpenSSL finds no key in {issued.key} that it can read, write it anew"
    assert refused_chain(issued.certificate, issued.key) == ("key", said)
    issued.key.write_bytes(issued.key.read_bytes()[:size])
    assert refused_chain(issued.certificate, issued.key)[0] == "key"


# Authorities


def test_authorities(authority: Authority, tmp_path: Path) -> None:
    (read,) = read_authorities("ca", str(authority.write(tmp_path / "root.pem"))).known
    assert read.subject == "CN=Root"
    later = NOW + timedelta(days=3650)
    said = (
        f"the authority CN=Root in {tmp_path / 'root.pem'} expired on {later:%Y-%m-%d %H:%M UTC}, "
        "nothing that it has certified is believed"
    )
    assert read.validity.mistake(NOW_S) is None
    assert read.validity.mistake(later.timestamp()) == said


def test_an_odd_authority_spoils_none_beside_it(authority: Authority, tmp_path: Path) -> None:
    ca = authority.write(tmp_path / "ca.pem")
    ca.write_bytes(with_an_odd_date(Authority.root("Odd").write(tmp_path / "odd.pem")) + ca.read_bytes())
    trust(new_context(), "ca", str(ca))
    read = read_authorities("ca", str(ca))
    assert read.subjects == ["CN=Root"]
    (mistake,) = read.mistakes(NOW_S)
    assert mistake.startswith(
        f"authority number 1 in {ca} cannot be read, what it has certified may be refused: a time"
    )
    assert read.is_any_valid(NOW_S)
    ca.write_bytes((tmp_path / "odd.pem").read_bytes().replace(b"MII", b"MIA", 1))
    key, said = refused(lambda: read_authorities("ca", str(ca)))
    assert (key, said) == ("ca", f"{ca} holds a certificate that is damaged, write it anew")


def test_an_odd_authority_in_a_chain_is_left_to_clients(authority: Authority, tmp_path: Path) -> None:
    issued = authority.intermediate().issue(tmp_path, "web", "web.example")
    odd = with_an_odd_date(Authority.root("Odd").write(tmp_path / "odd.pem"))
    issued.certificate.write_bytes(issued.certificate.read_bytes() + odd)
    assert load_chain(pair_of(issued)).names == ("web.example",)


def test_authorities_that_cannot_be_read_are_told_at_their_key(tmp_path: Path) -> None:
    file = tmp_path / "root.pem"
    assert refused(lambda: read_authorities("ca", str(file))) == (
        "ca",
        f"cannot read {file}: no such file or directory",
    )
    file.write_bytes(b"")
    assert refused(lambda: read_authorities("client_ca", str(file))) == (
        "client_ca",
        f"{file} holds no certificate in PEM",
    )


# Revocation lists


def read_lists(*files: Path, now: float = NOW_S, authorities: tuple[str, ...] = ()) -> Revocations:
    """Read the lists of several files, put into one."""
    together = files[0].with_name("together.pem")
    together.write_bytes(b"".join(file.read_bytes() for file in files))
    return read_revocations("crl", str(together), now, authorities)


def test_the_lists_of_several_authorities_in_one_file(authority: Authority, tmp_path: Path) -> None:
    file = authority.revoke(tmp_path / "crl.pem")
    both = Authority.root("Another").revoke(tmp_path / "another.pem").read_bytes() + file.read_bytes()
    file.write_bytes(b"# the lists of two\n" + both)
    read = read_lists(file, authorities=("CN=Root", "CN=Another"))
    assert (len(read.lists), read.left_out, read.gaps(NOW_S)) == (2, [], {})


def test_a_file_without_a_list(authority: Authority, tmp_path: Path) -> None:
    file = authority.write(tmp_path / "root.pem")
    assert refused(lambda: read_revocations("crl", str(file), NOW_S, ())) == (
        "crl",
        f"{file} holds no revocation list in PEM; from DER: openssl crl -inform DER -in LIST -out {file}",
    )


@pytest.mark.parametrize(
    ("block", "how"),
    [
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "cannot be read, write it anew: "),
        (b"-----BEGIN X509 CRL-----\nAAAA\n", "is damaged, write it anew"),
    ],
    ids=["garbled", "cut-short"],
)
def test_a_list_that_is_damaged(authority: Authority, tmp_path: Path, block: bytes, how: str) -> None:
    file = authority.revoke(tmp_path / "crl.pem")
    file.write_bytes(file.read_bytes() + block)
    key, said = refused(lambda: read_revocations("crl", str(file), NOW_S, ()))
    assert key == "crl"
    assert said.startswith(f"{file} holds a revocation list that {how}")


def day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M UTC}"


UNTIL_THEN = ": until then, all that this authority has certified is refused"


@pytest.mark.parametrize("authorities", [("CN=Root",), ("cn=root ",), ()])
def test_a_list_that_is_out_of_date_leaves_a_gap(
    authority: Authority, tmp_path: Path, authorities: tuple[str, ...]
) -> None:
    old = authority.revoke(tmp_path / "old.pem", until=AN_HOUR_AGO)
    read = read_lists(old, authorities=authorities)
    said = f"the revocation list of CN=Root in {tmp_path / 'together.pem'} expired on {day(AN_HOUR_AGO)}"
    assert list(read.gaps(NOW_S).values()) == [f"{said}, fetch a new one{UNTIL_THEN}"]
    assert (len(read.lists), read.left_out) == (1, [])
    later = NOW + timedelta(hours=1)
    early = authority.revoke(tmp_path / "early.pem", since=later)
    said = f"the revocation list of CN=Root in {tmp_path / 'together.pem'} is not valid before {day(later)}"
    assert list(read_lists(early).gaps(NOW_S).values()) == [f"{said}{UNTIL_THEN}"]


def test_of_several_that_are_out_of_date_the_newest_is_named(authority: Authority, tmp_path: Path) -> None:
    older = authority.revoke(
        tmp_path / "older.pem", since=YESTERDAY - timedelta(days=2), until=YESTERDAY - timedelta(days=1)
    )
    old = authority.revoke(tmp_path / "old.pem", until=AN_HOUR_AGO)
    for pair_of_lists in ((older, old), (old, older)):
        read = read_lists(*pair_of_lists)
        (gap,) = read.gaps(NOW_S).values()
        assert f"expired on {day(AN_HOUR_AGO)}" in gap
        assert (len(read.lists), len(read.left_out)) == (1, 1)


def test_beside_a_current_one_it_is_left_out(authority: Authority, tmp_path: Path) -> None:
    old = authority.revoke(tmp_path / "old.pem", until=AN_HOUR_AGO)
    early = authority.revoke(tmp_path / "early.pem", since=NOW + timedelta(hours=1))
    current = authority.revoke(tmp_path / "current.pem")
    read = read_lists(old, current, early, authorities=("CN=Root",))
    assert (len(read.lists), read.gaps(NOW_S)) == (1, {})
    assert ["expired" in why for why in read.left_out] == [True, False]
    assert all(why.endswith("; it is left out") for why in read.left_out)
    assert len(read.validities) == 3


def test_a_delta_list_is_refused(authority: Authority, tmp_path: Path) -> None:
    delta = authority.revoke(tmp_path / "delta.pem", delta=True)
    key, said = refused(lambda: read_lists(authority.revoke(tmp_path / "crl.pem"), delta))
    assert key == "crl"
    assert said.startswith(f"the revocation list of CN=Root in {tmp_path / 'together.pem'} is a delta list, ")
    assert said.endswith("replace it with the complete list")


def test_the_name_of_an_authority_may_be_odd(tmp_path: Path) -> None:
    authority = Authority.root("a\x1bb")
    ca = authority.write(tmp_path / "ca.pem")
    names = read_authorities("ca", str(ca)).subjects
    crl = authority.revoke(tmp_path / "crl.pem")
    assert names == ["CN=a\\1Bb"]
    assert len(read_revocations("crl", str(crl), NOW_S, names).lists) == 1


def test_the_name_of_an_authority_may_be_in_latin_1(tmp_path: Path) -> None:
    der = x509.load_pem_x509_crl(
        Authority.root("Muller").revoke(tmp_path / "crl.pem").read_bytes()
    ).public_bytes(Encoding.DER)
    der = der.replace(b"\x0c\x06Muller", b"\x14\x06M\xfcller")
    text = base64.encodebytes(der).decode()
    (tmp_path / "crl.pem").write_text(f"-----BEGIN X509 CRL-----\n{text}-----END X509 CRL-----\n")
    read = read_revocations("crl", str(tmp_path / "crl.pem"), NOW_S, ["CN=M\\FCller"])
    use_revocations(new_context(), read.lists)
    assert len(read.lists) == 1


def test_a_file_that_lacks_the_list_of_an_authority(authority: Authority, tmp_path: Path) -> None:
    crl = authority.revoke(tmp_path / "crl.pem")
    assert read_revocations("crl", str(crl), NOW_S, ["CN=Root"]).lists
    assert refused(lambda: read_revocations("crl", str(crl), NOW_S, ["CN=Root", "CN=Another"])) == (
        "crl",
        f"{crl} has no list of CN=Another: all that it has certified would be refused",
    )


def test_an_authority_does_not_lose_its_current_list(authority: Authority, tmp_path: Path) -> None:
    current = read_lists(authority.revoke(tmp_path / "current.pem"))
    early = read_lists(authority.revoke(tmp_path / "early.pem", since=NOW + timedelta(hours=1)))
    key, said = refused(lambda: early.refuse_if_worse("crl", current, NOW_S))
    assert key == "crl"
    assert "is not valid before" in said
    current.refuse_if_worse("crl", early, NOW_S)
    early.refuse_if_worse("crl", early, NOW_S)
    early.refuse_if_worse("crl", Revocations(), NOW_S)
    early.refuse_if_worse("crl", current, (NOW + timedelta(days=91)).timestamp())
