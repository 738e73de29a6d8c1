"""Which certificate a client is shown, what it is asked for, and what happens to that when files change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL

from support.certificates import AN_HOUR_AGO, NOW, YESTERDAY, Authority, Issued, with_an_odd_date
from support.process import run
from support.programs import require
from support.tls_lines import client_context, client_in_memory, frontend_tls, shake
from tcpbalance.config.names import AlpnName
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig
from tcpbalance.net.tls.errors import TlsFileError
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.verification import why

ECDSA, RSA = b"ECDHE-ECDSA-AES128-GCM-SHA256", b"ECDHE-RSA-AES128-GCM-SHA256"
BOTH = RSA + b":" + ECDSA


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.root()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def exact(authority: Authority, folder: Path) -> Issued:
    return authority.issue(folder, "exact", "a.web.example")


@pytest.fixture
def wildcard(authority: Authority, folder: Path) -> Issued:
    return authority.issue(folder, "wildcard", "*.web.example")


@pytest.fixture
def other(authority: Authority, folder: Path) -> Issued:
    return authority.issue(folder, "other", "other.example", "more.example")


def shown(tls: ServerTls, name: str | None = None, **how: Any) -> x509.Certificate:
    """Give the certificate that a client sees.

    :param name: the server that it asks for.
    :param how: it speaks; see ``client_context``.
    """
    client = client_in_memory(client_context(**how), name)
    shake(client, tls.connection())
    certificate = client.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate


# Which is shown


def test_the_first_is_shown_to_whoever_asks_for_no_name(other: Issued, exact: Issued) -> None:
    tls = ServerTls(frontend_tls(other, exact))
    assert shown(tls) == other.leaf


@pytest.mark.parametrize("name", ["a.web.example", "A.Web.Example"])
def test_the_one_for_the_name_is_shown(other: Issued, exact: Issued, name: str) -> None:
    assert shown(ServerTls(frontend_tls(other, exact)), name) == exact.leaf


@pytest.mark.parametrize("name", ["other.example", "more.example"])
def test_each_name_of_a_certificate_finds_it(other: Issued, exact: Issued, name: str) -> None:
    assert shown(ServerTls(frontend_tls(exact, other)), name) == other.leaf


def test_the_name_itself_goes_before_a_wildcard(wildcard: Issued, exact: Issued) -> None:
    tls = ServerTls(frontend_tls(wildcard, exact))
    assert shown(tls, "a.web.example") == exact.leaf
    assert shown(tls, "b.web.example") == wildcard.leaf


@pytest.mark.parametrize("name", ["web.example", "b.a.web.example", "nobody.example"])
def test_a_wildcard_is_for_one_label(other: Issued, wildcard: Issued, name: str) -> None:
    """RFC 9525, section 6.3; who asks for anything else sees the first."""
    assert shown(ServerTls(frontend_tls(other, wildcard)), name) == other.leaf


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_either_version_finds_the_name(other: Issued, exact: Issued, version: int) -> None:
    assert shown(ServerTls(frontend_tls(other, exact)), "a.web.example", version=version) == exact.leaf


@pytest.mark.parametrize("name", ["*", "10.0.0.1", "a b", "*.*.example"])
def test_a_certificate_with_a_name_that_nobody_can_ask_for(
    authority: Authority, folder: Path, other: Issued, name: str
) -> None:
    odd = authority.issue(folder, "odd", name, "good.example")
    tls = ServerTls(frontend_tls(other, odd))
    assert shown(tls, "good.example") == odd.leaf
    assert shown(tls, "nobody.example") == other.leaf


# Two kinds of keys for one name


@pytest.mark.parametrize("name", ["a.web.example", None])
def test_a_clients_algorithms_choose_between_two_for_one_name(
    authority: Authority, folder: Path, exact: Issued, name: str | None
) -> None:
    rsa = authority.issue(folder, "rsa", "a.web.example", kind="rsa")
    tls = ServerTls(frontend_tls(exact, rsa))
    version = SSL.TLS1_2_VERSION
    assert shown(tls, name, version=version, ciphers=ECDSA) == exact.leaf
    assert shown(tls, name, version=version, ciphers=RSA) == rsa.leaf


def test_they_stand_side_by_side_for_a_name_that_is_not_the_first(
    authority: Authority, folder: Path, other: Issued, exact: Issued
) -> None:
    rsa = authority.issue(folder, "rsa", "a.web.example", kind="rsa")
    tls = ServerTls(frontend_tls(other, rsa, exact))
    for ciphers, issued in ((ECDSA, exact), (RSA, rsa)):
        assert shown(tls, "a.web.example", version=SSL.TLS1_2_VERSION, ciphers=ciphers) == issued.leaf


def test_a_wildcard_of_the_other_kind_stands_beside_one_for_the_name_itself(
    authority: Authority, folder: Path, other: Issued, exact: Issued
) -> None:
    rsa = authority.issue(folder, "rsa", "*.web.example", kind="rsa")
    tls, version = ServerTls(frontend_tls(other, exact, rsa)), SSL.TLS1_2_VERSION
    assert shown(tls, "a.web.example", version=version, ciphers=RSA) == rsa.leaf
    assert shown(tls, "a.web.example", version=version, ciphers=BOTH) == exact.leaf
    assert shown(tls, "b.web.example", version=version, ciphers=RSA) == rsa.leaf


def test_of_two_of_one_kind_for_one_name_the_first_is_shown(
    authority: Authority, folder: Path, exact: Issued
) -> None:
    again = authority.issue(folder, "again", "a.web.example")
    assert shown(ServerTls(frontend_tls(again, exact)), "a.web.example") == again.leaf


# What is asked for


@contextmanager
def refused(match: str) -> Iterator[None]:
    """The handshake fails."""
    with pytest.raises(SSL.Error, match=match):
        yield


def test_a_client_that_is_too_old_is_refused(exact: Issued) -> None:
    tls = ServerTls(frontend_tls(exact, minimum_version="1.3"))
    with refused("unsupported protocol"):
        shown(tls, version=SSL.TLS1_2_VERSION)


def test_the_best_protocol_that_the_client_offers_is_agreed_on(exact: Issued) -> None:
    tls = ServerTls(frontend_tls(exact, alpn=(AlpnName("h2"), AlpnName("http/1.1"))))
    assert agreed(tls, [b"http/1.1", b"h2"]) == b"h2"
    assert agreed(tls, [b"http/1.1"]) == b"http/1.1"
    assert agreed(tls, [b"smtp"]) == b""
    assert agreed(tls, []) == b""


def test_a_frontend_without_protocols_agrees_on_none(exact: Issued) -> None:
    assert agreed(ServerTls(frontend_tls(exact)), [b"h2"]) == b""


def agreed(tls: ServerTls, offered: list[bytes]) -> bytes:
    """Give what is agreed on by ALPN."""
    context = client_context()
    if offered:
        context.set_alpn_protos(offered)
    client = client_in_memory(context)
    shake(client, tls.connection())
    return client.get_alpn_proto_negotiated()


@pytest.fixture
def asking(authority: Authority, folder: Path, exact: Issued, other: Issued) -> ServerTls:
    """One that lets in only clients of the authority that it has not revoked."""
    authority.issue_client(folder, "alice", "CN=alice")
    bob = authority.issue_client(folder, "bob", "CN=bob")
    return ServerTls(
        frontend_tls(
            exact,
            other,
            client_ca=FilePath(authority.write(folder / "root.pem")),
            client_crl=FilePath(authority.revoke(folder / "crl.pem", bob)),
        )
    )


def comes(tls: ServerTls, folder: Path, who: str | None, name: str | None = None) -> str | None:
    """Let a client come, and give why it is refused, None where it is not."""
    context = client_context(version=SSL.TLS1_2_VERSION)
    if who is not None:
        context.use_certificate_chain_file(str(folder / f"{who}.pem"))
        context.use_privatekey_file(str(folder / f"{who}.key"))
    server = tls.connection()
    try:
        shake(client_in_memory(context, name), server)
    except SSL.Error as error:
        return why(server) or str(error)
    return None


@pytest.mark.parametrize("name", ["a.web.example", "other.example"])
def test_clients_of_the_authority_are_let_in_and_others_are_not(
    asking: ServerTls, folder: Path, name: str
) -> None:
    Authority.root("Another").issue_client(folder, "eve", "CN=eve")
    assert comes(asking, folder, "alice", name) is None
    assert comes(asking, folder, "bob", name) == "certificate revoked"
    assert comes(asking, folder, "eve", name) == "certificate of an unknown authority"
    assert "did not return a certificate" in (comes(asking, folder, None, name) or "")


# When files change


def replace(issued: Issued, by: Issued) -> None:
    """Put another certificate into the place of one."""
    issued.certificate.write_bytes(by.certificate.read_bytes())
    issued.key.write_bytes(by.key.read_bytes())


def test_new_files_are_used_from_the_next_handshake_on(exact: Issued, other: Issued) -> None:
    tls = ServerTls(frontend_tls(exact))
    before = tls.connection()
    replace(exact, other)
    assert shown(tls) == exact.leaf
    tls.reload()
    assert shown(tls) == other.leaf
    client = client_in_memory(client_context())
    shake(client, before)
    assert client.get_peer_certificate(as_cryptography=True) == exact.leaf


@pytest.mark.parametrize("broken", ["certificate", "key"])
def test_files_that_cannot_be_used_leave_all_as_it_was(exact: Issued, other: Issued, broken: str) -> None:
    tls = ServerTls(frontend_tls(exact, other))
    getattr(exact, broken).write_bytes(getattr(other, broken).read_bytes())
    with pytest.raises(TlsFileError):
        tls.reload()
    assert shown(tls) == exact.leaf
    assert shown(tls, "other.example") == other.leaf


@pytest.mark.parametrize(
    ("dates", "why"),
    [
        ({"not_before": NOW + timedelta(minutes=5)}, "is not valid before"),
        ({"not_after": AN_HOUR_AGO}, "expired on"),
    ],
)
def test_one_that_is_out_of_date_does_not_take_the_place_of_one_that_is_not(
    authority: Authority, folder: Path, exact: Issued, dates: dict[str, Any], why: str
) -> None:
    now = NOW.timestamp()
    tls = ServerTls(frontend_tls(exact), lambda: now)
    replace(exact, authority.issue(folder, "new", "a.web.example", **dates))
    with pytest.raises(TlsFileError, match=why) as caught:
        tls.reload()
    assert caught.value.key == "cert"
    assert shown(tls) == exact.leaf
    # Once the old one is out of date as well, it is no better.
    now = exact.leaf.not_valid_after_utc.timestamp()
    tls.reload()
    assert shown(tls) != exact.leaf


def test_an_odd_authority_lets_nobody_in_and_spoils_none_beside_it(
    authority: Authority, folder: Path, exact: Issued
) -> None:
    odd, ca = Authority.root("Odd"), authority.write(folder / "ca.pem")
    ca.write_bytes(with_an_odd_date(odd.write(folder / "odd.pem")) + ca.read_bytes())
    authority.issue_client(folder, "alice", "CN=alice")
    odd.issue_client(folder, "olga", "CN=olga")
    tls = ServerTls(frontend_tls(exact, client_ca=FilePath(ca)))
    assert comes(tls, folder, "alice") is None
    assert comes(tls, folder, "olga") == "certificate refused (OpenSSL's error 13)"
    (warning,) = tls.warnings
    assert "authority number 1 in" in warning


@pytest.mark.parametrize("asks", [False, True])
def test_a_session_is_gone_on_with_until_a_reload(
    exact: Issued, asking: ServerTls, folder: Path, asks: bool
) -> None:
    tls = asking if asks else ServerTls(frontend_tls(exact))
    # In this version a session that is gone on with keeps its secret: RFC 5246, section 7.3.
    context = client_context(version=SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(str(folder / "alice.pem"))
    context.use_privatekey_file(str(folder / "alice.key"))

    def secret(session: SSL.Session | None) -> tuple[bytes | None, SSL.Session | None]:
        client = client_in_memory(context)
        if session is not None:
            client.set_session(session)
        shake(client, tls.connection())
        # One that is left without a close_notify is not gone on with.
        client.shutdown()
        return client.master_key(), client.get_session()

    first, session = secret(None)
    assert secret(session)[0] == first
    tls.reload()
    assert secret(session)[0] != first


def test_revocation_lists_are_read_once_for_all_certificates(
    asking: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be many megabytes large."""
    parse, parsed = x509.load_pem_x509_crl, []

    def count(data: bytes) -> x509.CertificateRevocationList:
        parsed.append(parse(data))
        return parsed[-1]

    monkeypatch.setattr(x509, "load_pem_x509_crl", count)
    asking.reload()
    assert len(parsed) == 1


def test_an_authority_without_a_revocation_list_leaves_all_as_it_was(
    asking: ServerTls, authority: Authority, folder: Path
) -> None:
    another = Authority.root("Another")
    another.issue_client(folder, "eve", "CN=eve")
    both = authority.write(folder / "root.pem").read_bytes() + another.write(folder / "n.pem").read_bytes()
    (folder / "root.pem").write_bytes(both)
    with pytest.raises(TlsFileError, match="has no list of CN=Another"):
        asking.reload()
    assert comes(asking, folder, "alice") is None
    assert comes(asking, folder, "eve") == "certificate of an unknown authority"
    lists = another.revoke(folder / "n.pem").read_bytes() + (folder / "crl.pem").read_bytes()
    (folder / "crl.pem").write_bytes(lists)
    asking.reload()
    assert comes(asking, folder, "eve") is None
    assert comes(asking, folder, "bob") == "certificate revoked"


def test_all_files_are_named_once_each(authority: Authority, folder: Path, exact: Issued) -> None:
    root = FilePath(authority.write(folder / "root.pem"))
    tls = ServerTls(frontend_tls(exact, exact, client_ca=root))
    assert tls.files == (str(exact.certificate), str(exact.key), root)


# When the time changes


@pytest.fixture
def expired(authority: Authority, folder: Path) -> Issued:
    return authority.issue(folder, "expired", "a.web.example", not_after=AN_HOUR_AGO)


@pytest.mark.parametrize("name", ["a.web.example", None])
def test_where_there_is_no_other_an_expired_one_is_shown(
    expired: Issued, other: Issued, name: str | None
) -> None:
    tls = ServerTls(frontend_tls(expired, other))
    assert shown(tls, name) == expired.leaf
    assert shown(tls, "other.example") == other.leaf
    (warning,) = tls.warnings
    assert warning.startswith(f"the certificate in {expired.certificate} expired on ")


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("name", ["a.web.example", None])
def test_a_valid_one_goes_before_it_whatever_their_keys(
    authority: Authority, folder: Path, expired: Issued, name: str | None, kind: Any
) -> None:
    valid = authority.issue(folder, "valid", "a.web.example", kind=kind)
    for pairs in ((expired, valid), (valid, expired)):
        assert shown(ServerTls(frontend_tls(*pairs)), name) == valid.leaf


def test_a_valid_wildcard_goes_before_it(expired: Issued, wildcard: Issued) -> None:
    assert shown(ServerTls(frontend_tls(wildcard, expired)), "a.web.example") == wildcard.leaf


def test_the_time_is_the_callers_and_says_when_to_read_again(
    authority: Authority, folder: Path, other: Issued
) -> None:
    now = NOW.timestamp()
    first = authority.issue(folder, "first", "a.web.example", not_after=NOW + timedelta(hours=2))
    second = authority.issue(folder, "second", "a.web.example", not_before=NOW + timedelta(hours=1))
    tls = ServerTls(frontend_tls(first, second, other), lambda: now)
    for hours, changed, leaf, warnings in (
        (0, False, first.leaf, ["second.pem"]),
        (1, True, first.leaf, []),
        (1.9, False, first.leaf, []),
        (2, True, second.leaf, ["first.pem"]),
        (-900_000, True, first.leaf, ["first.pem", "second.pem", "other.pem"]),
        (0, True, first.leaf, ["second.pem"]),
    ):
        now = NOW.timestamp() + hours * 3600
        assert tls.is_outdated() is changed
        tls.reload()
        assert not tls.is_outdated()
        if changed and hours > 0:
            now -= 1
            assert tls.is_outdated(), "the clock has been set back over what has just begun"
            now += 1
        assert shown(tls, "a.web.example") == leaf
        assert [name for name in ("first.pem", "second.pem", "other.pem") if name in str(tls.warnings)] == [
            name for name in ("first.pem", "second.pem", "other.pem") if name in warnings
        ]


# Revocation lists and time


def test_a_list_that_is_out_of_date_keeps_its_authoritys_clients_out_and_nobody_else(
    authority: Authority, folder: Path, exact: Issued
) -> None:
    other = Authority.root("Other")
    authority.issue_client(folder, "alice", "CN=alice")
    other.issue_client(folder, "olga", "CN=olga")
    ca, crl = authority.write(folder / "ca.pem"), authority.revoke(folder / "crl.pem")
    ca.write_bytes(ca.read_bytes() + other.write(folder / "x.pem").read_bytes())
    for since, until, cause in (
        (YESTERDAY, AN_HOUR_AGO, "revocation list expired"),
        (NOW + timedelta(hours=1), NOW + timedelta(days=1), "revocation list not valid yet"),
    ):
        authority.revoke(crl, since=since, until=until)
        crl.write_bytes(crl.read_bytes() + other.revoke(folder / "x.pem").read_bytes())
        tls = ServerTls(frontend_tls(exact, client_ca=FilePath(ca), client_crl=FilePath(crl)))
        assert comes(tls, folder, "alice") == cause
        assert comes(tls, folder, "olga") is None
        (warning,) = tls.warnings
        assert warning.startswith(f"the revocation list of CN=Root in {crl} ")


def test_one_that_is_not_valid_yet_does_not_take_the_place_of_one_that_is(
    asking: ServerTls, authority: Authority, folder: Path
) -> None:
    current = (folder / "crl.pem").read_bytes()
    authority.revoke(folder / "crl.pem", since=NOW + timedelta(hours=1))
    with pytest.raises(TlsFileError, match="is not valid before"):
        asking.reload()
    assert comes(asking, folder, "alice") is None
    assert comes(asking, folder, "bob") == "certificate revoked"
    # Beside the current one it does no harm.
    (folder / "crl.pem").write_bytes((folder / "crl.pem").read_bytes() + current)
    asking.reload()
    assert (comes(asking, folder, "alice"), comes(asking, folder, "bob")) == (None, "certificate revoked")
    (warning,) = asking.warnings
    assert warning.endswith("; it is left out")


def test_a_list_for_later_is_taken_up_when_its_time_comes(
    authority: Authority, folder: Path, exact: Issued
) -> None:
    bob, now = authority.issue_client(folder, "bob", "CN=bob"), NOW.timestamp()
    later = NOW + timedelta(hours=1)
    ca, crl = authority.write(folder / "ca.pem"), authority.revoke(folder / "crl.pem", until=later)
    crl.write_bytes(crl.read_bytes() + authority.revoke(folder / "x.pem", bob, since=later).read_bytes())
    config = frontend_tls(exact, client_ca=FilePath(ca), client_crl=FilePath(crl))
    tls = ServerTls(config, lambda: now)
    assert len(tls.warnings) == 1
    now = later.timestamp() - 1
    assert not tls.is_outdated()
    now += 1
    assert tls.is_outdated()
    tls.reload()
    assert "expired on" in str(tls.warnings)


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_two_current_lists_the_newer_counts_whatever_their_order(
    authority: Authority, folder: Path, exact: Issued, newest_first: bool
) -> None:
    bob = authority.issue_client(folder, "bob", "CN=bob")
    older = authority.revoke(folder / "x.pem").read_bytes()
    newer = authority.revoke(folder / "x.pem", bob, since=AN_HOUR_AGO).read_bytes()
    crl = folder / "crl.pem"
    crl.write_bytes(newer + older if newest_first else older + newer)
    ca = authority.write(folder / "ca.pem")
    tls = ServerTls(frontend_tls(exact, client_ca=FilePath(ca), client_crl=FilePath(crl)))
    assert comes(tls, folder, "bob") == "certificate revoked"


def test_a_delta_list_is_not_taken(asking: ServerTls, authority: Authority, folder: Path) -> None:
    """OpenSSL would leave it out, and let in whom it revokes."""
    carol = authority.issue_client(folder, "carol", "CN=carol")
    delta = authority.revoke(folder / "delta.pem", carol, delta=True)
    (folder / "crl.pem").write_bytes((folder / "crl.pem").read_bytes() + delta.read_bytes())
    with pytest.raises(TlsFileError, match="is a delta list"):
        asking.reload()


def test_an_authority_that_has_expired_is_told_from_a_client_that_has(folder: Path, exact: Issued) -> None:
    ended = Authority.root("Ended", until=AN_HOUR_AGO)
    ended.issue_client(folder, "alice", "CN=alice")
    tls = ServerTls(frontend_tls(exact, client_ca=FilePath(ended.write(folder / "ca.pem"))))
    assert "the authority CN=Ended in" in str(tls.warnings)
    assert comes(tls, folder, "alice") == "authority's certificate expired"


# Kinds of keys


@pytest.mark.requires("openssl")
@pytest.mark.parametrize("algorithm", ["RSA-PSS", "ED25519"])
def test_keys_of_other_kinds_are_used_beside_the_usual_ones(
    folder: Path, exact: Issued, algorithm: str
) -> None:
    (openssl,) = require("openssl")
    certificate, key = folder / "odd.pem", folder / "odd.key"
    run([openssl, "genpkey", "-out", key, "-algorithm", algorithm])
    names = ["-subj", "/CN=a.web.example", "-addext", "subjectAltName=DNS:a.web.example"]
    run([openssl, "req", "-x509", "-key", key, "-out", certificate, *names])
    odd = CertificateConfig(cert=FilePath(certificate), key=FilePath(key))
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
        alone = ServerTls(FrontendTlsConfig(certificates=(odd,)))
        assert shown(alone, version=version) == leaf
    both = ServerTls(FrontendTlsConfig(certificates=(*frontend_tls(exact).certificates, odd)))
    assert len(set(asdict_kinds(both))) == 2


def asdict_kinds(tls: ServerTls) -> list[str]:
    """Give the kinds of keys of the certificates that a frontend has."""
    assert tls._material is not None
    return [chain.key_kind for chain in tls._material.chains]
