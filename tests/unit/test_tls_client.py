"""Whom a pool believes its backends to be, and with which of them it goes on with a session."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from support.certificates import AN_HOUR_AGO, NOW, YESTERDAY, Authority, Issued, self_signed
from support.tls_lines import frontend_tls, pair_of, shake
from tcpbalance.config.addresses import Address, HostName
from tcpbalance.config.paths import FilePath
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig
from tcpbalance.errors import Fault, SettingError
from tcpbalance.net.tls.client import ClientTls, TlsPeer, _has_address, _has_host
from tcpbalance.net.tls.errors import HandshakeFailed, TlsFileError
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.verification import why
from tcpbalance.wire.certificate import AlternativeNames

NINETY_DAYS_LATER = (NOW + timedelta(days=90)).timestamp()
"""When the certificates end."""

NAME, OTHER = "web.example", "other.example"


@frozen
class World:
    """A folder with an authority's certificates."""

    folder: Path
    authority: Authority
    root: FilePath

    def backend(self, *names: str) -> ServerTls:
        """A backend whose certificate is for these names."""
        return ServerTls(frontend_tls(self.authority.issue(self.folder, "backend", *names)))

    def pool(self, **keys: Any) -> ClientTls:
        """A pool that believes the authority."""
        return ClientTls(PoolTlsConfig(ca=self.root, **keys))


@pytest.fixture
def world(tmp_path: Path) -> World:
    authority = Authority.root()
    return World(tmp_path, authority, FilePath(authority.write(tmp_path / "root.pem")))


def meet(peer: TlsPeer, backend: ServerTls) -> SSL.Connection:
    """Shake hands with a backend and approve of it.

    :returns: the backend's side.
    :raises HandshakeFailed: it is refused.
    """
    ours, theirs = peer.connection(), backend.connection()
    try:
        shake(ours, theirs)
    except SSL.Error as error:
        raise HandshakeFailed(why(ours) or str(error)) from error
    peer.approve(ours)
    # A session is gone on with only after a close_notify.
    ours.shutdown()
    return theirs


def at(text: str, server_name: str | None = None) -> tuple[Address, str | None]:
    """Give where a backend listens, and its own name."""
    return Address.parse(text), server_name


# Who it has to be


@pytest.mark.parametrize(
    ("written", "own", "pools", "names"),
    [
        ("10.0.0.1:443", None, None, ["10.0.0.1"]),
        ("[2001:db8::1]:443", None, None, ["2001:db8::1"]),
        ("web.example:443", None, None, [NAME]),
        ("WEB.example.:443", None, None, [NAME]),
        ("10.0.0.1:443", None, NAME, [NAME]),
        ("10.0.0.1:443", NAME, OTHER, [NAME]),
        ("other.example:443", "10.0.0.1", None, ["10.0.0.1"]),
        ("a.web.example:443", None, None, ["*.web.example"]),
        ("10.0.0.1:443", NAME, None, [OTHER, NAME]),
        ("db_1.web.example:443", None, None, ["db_1.web.example"]),
        ("unix:/run/app.sock", None, NAME, [NAME]),
        ("[fe80::1%eth0]:443", None, None, ["fe80::1"]),
    ],
)
def test_a_backend_with_a_certificate_for_its_name_is_approved(
    world: World, written: str, own: str | None, pools: str | None, names: list[str]
) -> None:
    pool = world.pool(server_name=None if pools is None else HostName(pools))
    meet(pool.peer(*at(written, own)), world.backend(*names))


@pytest.mark.parametrize(
    ("written", "own", "names", "asked"),
    [
        ("10.0.0.1:443", None, ["10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1:443", None, [NAME], "10.0.0.1"),
        ("[2001:db8::1]:443", None, ["2001:db8::2"], "2001:db8::1"),
        ("web.example:443", None, [OTHER], NAME),
        ("web.example:443", None, ["10.0.0.1"], NAME),
        ("b.a.web.example:443", None, ["*.web.example"], "b.a.web.example"),
        ("web.example:443", OTHER, [NAME], OTHER),
    ],
)
def test_a_backend_with_a_certificate_for_somebody_else_is_refused(
    world: World, written: str, own: str | None, names: list[str], asked: str
) -> None:
    with pytest.raises(HandshakeFailed) as caught:
        meet(world.pool().peer(*at(written, own)), world.backend(*names))
    assert caught.value.cause == f"certificate is not for {asked}"


def test_a_common_name_alone_is_not_enough(world: World) -> None:
    """RFC 9525, section 6.1: certificates without other names are for nobody."""
    old = world.authority.issue(world.folder, NAME)
    with pytest.raises(HandshakeFailed, match=f"certificate has no subjectAltName, which {NAME} must be in"):
        meet(world.pool().peer(*at("web.example:443")), ServerTls(frontend_tls(old)))


ODD = {
    "address-as-name": b"\x82\x0810.0.0.1",
    "five-octets": b"\x82\x01a\x87\x05\x0a\0\0\1\1",
    "latin-1": b"\x82\x08w\xfcrst.de",
    "nul": b"\x82\x08a.de\0.de",
    "wildcard": b"\x82\x08*a*.b.cd",
    "empty": b"\x82\x01a\x82\x00\x82\x03b.c",
    "uri-with-port": b"\x86\x08a://b:80",
    "mail": b"\x81\x08a@b.cdef",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize(("written", "asked"), [("web.example:443", NAME), ("10.0.0.1:443", "10.0.0.1")])
def test_an_odd_name_neither_matches_nor_spoils_the_one_beside_it(
    world: World, odd: bytes, written: str, asked: str
) -> None:
    def backend(*names: str) -> ServerTls:
        issued = world.authority.issue(world.folder, "odd", "stand-in", *names)
        world.authority.sign_again(issued, lambda tbs: tbs.replace(b"\x82\x08stand-in", odd))
        return ServerTls(frontend_tls(issued))

    peer = world.pool().peer(*at(written))
    meet(peer, backend(asked))
    with pytest.raises(HandshakeFailed) as caught:
        meet(peer, backend(OTHER))
    assert (caught.value.cause, caught.value.fault) == (f"certificate is not for {asked}", Fault.BACKEND)


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"*.", b"*.*.example", b"*", b"1_0", b"xn--"])))
def test_no_name_spoils_the_right_one_beside_it(odd: list[bytes]) -> None:
    assert _has_host(AlternativeNames((*odd, NAME.encode())), NAME)
    assert _has_address(AlternativeNames(ip=(*odd, bytes((10, 0, 0, 1)))), "10.0.0.1")
    matching = any(name.strip().lower() == NAME.encode() for name in odd)
    assert _has_host(AlternativeNames(tuple(odd)), NAME) is matching


def test_a_subject_that_the_library_dislikes_is_none_of_our_business(world: World) -> None:
    """Many wildcards of old stand as a common name in a PrintableString, which has no asterisk."""
    issued = world.authority.issue(world.folder, "old", "*.web.example")
    old = b"\x0c\x0d*.web.example"
    world.authority.sign_again(issued, lambda tbs: tbs.replace(old, b"\x13" + old[1:]))
    meet(world.pool().peer(*at("a.web.example:443")), ServerTls(frontend_tls(issued)))


def test_a_name_that_no_certificate_can_be_for_is_the_configurations_fault(world: World) -> None:
    with pytest.raises(HandshakeFailed) as caught:
        meet(world.pool().peer(*at("web.example:443", "2130706433")), world.backend(NAME))
    assert caught.value.cause == "no certificate can be for 2130706433, give the backend a server_name"
    assert caught.value.fault is Fault.CONFIGURATION


def test_without_verification_anybody_will_do(world: World) -> None:
    certificate, key = self_signed(world.folder, OTHER)
    pair = CertificateConfig(cert=FilePath(certificate), key=FilePath(key))
    pool = ClientTls(PoolTlsConfig(verify=False))
    backend = ServerTls(FrontendTlsConfig(certificates=(pair,)))
    theirs = meet(pool.peer(*at("web.example:443")), backend)
    assert theirs.get_servername() == NAME.encode()


def test_a_backend_of_an_unknown_authority_is_refused(world: World) -> None:
    eve = Authority.root("Another").issue(world.folder, "eve", NAME)
    with pytest.raises(HandshakeFailed, match="certificate of an unknown authority"):
        meet(world.pool().peer(*at("web.example:443")), ServerTls(frontend_tls(eve)))


def test_a_chain_is_followed_and_every_authority_needs_its_revocation_list(world: World) -> None:
    middle = world.authority.intermediate()
    backend = ServerTls(frontend_tls(middle.issue(world.folder, "leaf", NAME)))
    meet(world.pool().peer(*at("web.example:443")), backend)
    crl = world.authority.revoke(world.folder / "crl.pem")
    with pytest.raises(HandshakeFailed, match="no revocation list of its issuer"):
        meet(world.pool(crl=FilePath(crl)).peer(*at("web.example:443")), backend)
    of_middle = middle.revoke(world.folder / "middle.pem").read_bytes()
    crl.write_bytes(crl.read_bytes() + of_middle)
    meet(world.pool(crl=FilePath(crl)).peer(*at("web.example:443")), backend)
    # The authority in the middle may have been revoked as well.
    world.authority.revoke(crl, Issued(crl, crl, middle.certificate))
    crl.write_bytes(crl.read_bytes() + of_middle)
    with pytest.raises(HandshakeFailed, match="authority's certificate revoked"):
        meet(world.pool(crl=FilePath(crl)).peer(*at("web.example:443")), backend)


# What is asked for and shown


@pytest.mark.parametrize(
    ("written", "own", "asked"),
    [
        ("web.example:443", None, NAME.encode()),
        ("web.example.:443", None, NAME.encode()),
        ("web.example:443", OTHER, OTHER.encode()),
        ("10.0.0.1:443", None, None),
        ("web.example:443", "10.0.0.1", None),
        ("unix:/run/app.sock", None, None),
        ("unix:/run/app.sock", OTHER, OTHER.encode()),
    ],
)
def test_a_host_name_is_asked_for_and_an_address_is_not(
    world: World, written: str, own: str | None, asked: bytes | None
) -> None:
    pool = ClientTls(PoolTlsConfig(verify=False))
    assert meet(pool.peer(*at(written, own)), world.backend(NAME)).get_servername() == asked


def test_a_certificate_is_shown_to_a_backend_that_asks_for_one(world: World) -> None:
    ours = world.authority.issue_client(world.folder, "balancer", "CN=balancer")
    shown = world.authority.issue(world.folder, "backend", NAME)
    backend = ServerTls(frontend_tls(shown, client_ca=world.root))
    theirs = meet(world.pool(certificate=pair_of(ours)).peer(*at("web.example:443")), backend)
    assert theirs.get_peer_certificate(as_cryptography=True) == ours.leaf


# Sessions


def secret(peer: TlsPeer, backend: ServerTls) -> bytes | None:
    """Meet a backend that speaks version 1.2, where a session that is gone on with keeps its secret."""
    return meet(peer, backend).master_key()


@pytest.fixture
def backend(world: World) -> ServerTls:
    """One that speaks version 1.2, and knows the sessions of all its names."""
    made = world.backend(NAME, OTHER)
    made._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    return made


def test_a_session_is_gone_on_with(world: World, backend: ServerTls) -> None:
    pool = world.pool()
    first = secret(pool.peer(*at("web.example:443")), backend)
    assert secret(pool.peer(*at("web.example:443")), backend) == first
    assert secret(pool.peer(*at("web.example:443")), backend) == first


@pytest.mark.parametrize(
    ("written", "own"), [("other.example:443", None), ("web.example:444", None), ("web.example:443", OTHER)]
)
def test_with_nobody_but_the_same_backend_under_the_same_name(
    world: World, backend: ServerTls, written: str, own: str | None
) -> None:
    pool = world.pool()
    first = secret(pool.peer(*at("web.example:443")), backend)
    assert secret(pool.peer(*at(written, own)), backend) != first


def test_a_session_with_one_who_was_refused_is_not_gone_on_with(world: World, backend: ServerTls) -> None:
    peer = world.pool().peer(*at("nobody.example:443"))
    ours, theirs = peer.connection(), backend.connection()
    shake(ours, theirs)
    with pytest.raises(HandshakeFailed):
        peer.approve(ours)
    ours.shutdown()
    again, there = peer.connection(), backend.connection()
    shake(again, there)
    assert there.master_key() != theirs.master_key()


def test_a_reload_forgets_sessions(world: World, backend: ServerTls) -> None:
    pool = world.pool()
    first = secret(pool.peer(*at("web.example:443")), backend)
    pool.reload()
    assert secret(pool.peer(*at("web.example:443")), backend) != first


@pytest.mark.parametrize("verify", [True, False])
def test_past_the_expiry_of_the_certificate_that_it_began_with_it_is_not(
    world: World, backend: ServerTls, verify: bool
) -> None:
    """Where nobody looks at certificates, none of them counts."""
    now = NOW.timestamp()
    config = PoolTlsConfig(ca=world.root) if verify else PoolTlsConfig(verify=False)
    pool = ClientTls(config, lambda: now)
    peer = pool.peer(*at("web.example:443"))
    first = secret(peer, backend)
    now = NINETY_DAYS_LATER - 1
    assert secret(peer, backend) == first
    now = NINETY_DAYS_LATER
    assert (secret(peer, backend) == first) is not verify


# When files change


def test_a_reload_believes_the_new_authority_and_the_old_no_more(world: World) -> None:
    pool, backend = world.pool(), world.backend(NAME)
    Authority.root().write(Path(world.root))
    meet(pool.peer(*at("web.example:443")), backend)
    pool.reload()
    with pytest.raises(HandshakeFailed):
        meet(pool.peer(*at("web.example:443")), backend)


def test_authorities_that_have_all_expired_do_not_take_the_place_of_a_valid_one(
    world: World, backend: ServerTls
) -> None:
    now = NOW.timestamp()
    pool = ClientTls(PoolTlsConfig(ca=world.root), lambda: now)
    valid = Path(world.root).read_bytes()
    Authority.root("Ended", until=AN_HOUR_AGO).write(Path(world.root))
    with pytest.raises(TlsFileError, match=r"the authority CN=Ended in .* expired on") as caught:
        pool.reload()
    assert caught.value.key == "ca"
    meet(pool.peer(*at("web.example:443")), backend)
    # Once the valid one is out of date as well, they are no worse.
    now = (NOW + timedelta(days=3651)).timestamp()
    pool.prepare()
    now = NOW.timestamp()
    Path(world.root).write_bytes(Path(world.root).read_bytes() + valid)
    pool.reload()
    meet(pool.peer(*at("web.example:443")), backend)


def test_a_file_that_cannot_be_used_leaves_all_as_it_was(world: World, backend: ServerTls) -> None:
    pool = world.pool()
    first = secret(pool.peer(*at("web.example:443")), backend)
    Path(world.root).write_bytes(b"")
    with pytest.raises(TlsFileError):
        pool.reload()
    assert secret(pool.peer(*at("web.example:443")), backend) == first


def test_an_authority_without_a_revocation_list_leaves_all_as_it_was(
    world: World, backend: ServerTls
) -> None:
    """OpenSSL would refuse all that it has certified."""
    crl = world.authority.revoke(world.folder / "crl.pem")
    pool = world.pool(crl=FilePath(crl))
    first = secret(pool.peer(*at("web.example:443")), backend)
    Authority.root("Another").revoke(crl)
    with pytest.raises(TlsFileError, match="has no list of CN=Root"):
        pool.reload()
    assert secret(pool.peer(*at("web.example:443")), backend) == first


@pytest.mark.parametrize("key", ["ca", "crl"])
def test_without_verification_there_are_no_authorities(key: str) -> None:
    with pytest.raises(SettingError, match=f"{key} has no effect with verify = false, leave out one of them"):
        PoolTlsConfig(verify=False, **{key: FilePath("missing.pem")})  # type: ignore[arg-type]


def test_all_files_are_named(world: World) -> None:
    ours: Issued = world.authority.issue_client(world.folder, "balancer", "CN=balancer")
    crl = FilePath(world.authority.revoke(world.folder / "crl.pem"))
    pool = world.pool(certificate=pair_of(ours), crl=crl)
    assert pool.files == (str(ours.certificate), str(ours.key), world.root, crl)
    assert ClientTls(PoolTlsConfig()).files == ()


def test_an_expired_certificate_of_ours_is_shown_and_warned_of(world: World) -> None:
    ours = world.authority.issue_client(world.folder, "balancer", "CN=balancer", not_after=AN_HOUR_AGO)
    pool = world.pool(certificate=pair_of(ours))
    (warning,) = pool.warnings
    assert warning.startswith(f"the certificate in {ours.certificate} expired on ")
    shown = world.authority.issue(world.folder, "backend", NAME)
    backend = ServerTls(frontend_tls(shown, client_ca=world.root))
    with pytest.raises(HandshakeFailed):
        meet(pool.peer(*at("web.example:443")), backend)
    meet(pool.peer(*at("web.example:443")), world.backend(NAME))


def test_the_time_is_the_callers_and_says_when_to_read_again(world: World) -> None:
    ours = world.authority.issue_client(world.folder, "balancer", "CN=balancer")
    now = YESTERDAY.timestamp() - 1
    pool = ClientTls(PoolTlsConfig(certificate=pair_of(ours)), lambda: now)
    assert "is not valid before" in str(pool.warnings)
    assert not pool.is_outdated()
    now += 1
    assert pool.is_outdated()
    pool.reload()
    assert (pool.warnings, pool.is_outdated()) == ((), False)


def test_a_revocation_list_that_is_out_of_date_fails_the_handshake_with_that_cause(world: World) -> None:
    crl = world.authority.revoke(world.folder / "crl.pem", until=AN_HOUR_AGO)
    pool = world.pool(crl=FilePath(crl))
    assert "all that this authority has certified is refused" in str(pool.warnings)
    with pytest.raises(HandshakeFailed, match="revocation list expired"):
        meet(pool.peer(*at("web.example:443")), world.backend(NAME))
    world.authority.revoke(crl)
    pool.reload()
    meet(pool.peer(*at("web.example:443")), world.backend(NAME))
    world.authority.revoke(crl, until=AN_HOUR_AGO)
    with pytest.raises(TlsFileError, match="expired on"):
        pool.reload()
    meet(pool.peer(*at("web.example:443")), world.backend(NAME))


def test_an_authority_that_has_expired_is_warned_of(world: World) -> None:
    now = NOW.timestamp()
    pool = ClientTls(PoolTlsConfig(ca=world.root), lambda: now)
    assert pool.warnings == ()
    now = (NOW + timedelta(days=3651)).timestamp()
    assert pool.is_outdated()
    pool.reload()
    assert "the authority CN=Root in" in str(pool.warnings)


# Where there is no name


def test_one_without_a_name_cannot_be_verified(world: World) -> None:
    with pytest.raises(HandshakeFailed) as caught:
        meet(world.pool().peer(*at("unix:/run/app.sock")), world.backend(NAME))
    assert caught.value.cause == "no server name to verify the certificate by"
