"""Backends with which no TLS comes about are passed over like those that refuse, and the log says why."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import peers
from support.certificates import AN_HOUR_AGO, Authority, Issued, self_signed
from support.clients import connect, read_all, reset
from support.daemon import Daemon
from support.tls_peers import configured, fetch, page, quoted, records_of, served, tls_peer
from support.waiting import until

NAME, OTHER = "web.example", "other.example"

TIMEOUT = 500
"""Milliseconds that a connection and its handshake may take together."""

CAUSES = {
    "expired": "certificate expired",
    "self-signed": "certificate self-signed",
    "wrong-name": f"certificate is not for {NAME}",
    "odd-names": f"certificate is not for {NAME}",
    "no-names": f"certificate has no subjectAltName, which {NAME} must be in",
    "wrong-purpose": "certificate for another purpose",
    "revoked": "certificate revoked",
    "unknown": "certificate of an unknown authority",
    "answers-plain": "wrong version number",
    "greets-plain": "wrong version number",
    "silent": "timed out after 0.5 s",
    "resets": "reset",
    "closes": "closed",
}
"""The cause of each fault, in the log behind "TLS: "."""

pytestmark = pytest.mark.requires("nginx")


def _answers_plain(sock: socket.socket) -> None:
    sock.recv(1 << 16)
    sock.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    read_all(sock)


def _greets_plain(sock: socket.socket) -> None:
    sock.sendall(b"220 mail.example ESMTP\r\n")
    read_all(sock)


def _resets(sock: socket.socket) -> None:
    sock.recv(1 << 16)
    reset(sock)


def _closes(sock: socket.socket) -> None:
    sock.recv(1 << 16)


HANDLERS = {
    "answers-plain": _answers_plain,
    "greets-plain": _greets_plain,
    "silent": peers.hang,
    "resets": _resets,
    "closes": _closes,
}


STAND_INS = ("abcd.efg", "other", "wurst")


def _with_odd_names(authority: Authority, issued: Issued) -> Issued:
    """Put in the place of the stand-ins: an IP address as a host name, one of five octets, and Latin-1."""

    def change(tbs: bytes) -> bytes:
        return (
            tbs.replace(b"\x82\x08abcd.efg", b"\x82\x0810.0.0.1")
            .replace(b"\x82\x05other", b"\x87\x05\x0a\0\0\1\2")
            .replace(b"\x82\x05wurst", b"\x82\x05w\xfcrst")
        )

    return authority.sign_again(issued, change)


def _shown(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The certificates and keys of those that speak TLS, by their faults."""
    authority = Authority.root()
    authority.write(folder / "root.pem")
    issued = {
        "good": authority.issue(folder, "good", NAME),
        "expired": authority.issue(folder, "expired", NAME, not_after=AN_HOUR_AGO),
        "wrong-name": authority.issue(folder, "wrong-name", OTHER),
        "odd-names": _with_odd_names(authority, authority.issue(folder, "odd-names", OTHER, *STAND_INS)),
        "no-names": authority.issue(folder, "no-names"),
        "own-beside-odd-names": _with_odd_names(
            authority, authority.issue(folder, "own-beside-odd-names", *STAND_INS, NAME)
        ),
        "wrong-purpose": authority.issue_client(folder, "wrong-purpose", f"CN={NAME}"),
        "revoked": authority.issue(folder, "revoked", NAME),
        "unknown": Authority.root("Unknown").issue(folder, "unknown", NAME),
    }
    authority.revoke(folder / "crl.pem", issued["revoked"])
    pairs = {name: (made.certificate, made.key) for name, made in issued.items()}
    return {**pairs, "self-signed": self_signed(folder, NAME)}


def _pools(at: dict[str, str], fault: str) -> str:
    """With a good backend behind the faulty one, and without."""
    tls = f'ca = "root.pem"\nserver_name = "{NAME}"\n' + ('crl = "crl.pem"' if fault == "revoked" else "")
    pool = f'connect_timeout = "{TIMEOUT}ms"'
    return served(fault, quoted(at[fault], at["good"]), tls=tls, pool=pool) + served(
        f"only-{fault}", quoted(at[fault]), tls=tls, pool=f"{pool}\nretries = 0"
    )


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Daemon]:
    """Two frontends for each fault."""
    folder = tmp_path_factory.mktemp("tls-backend-faults")
    with ExitStack() as stack:
        at = {
            name: stack.enter_context(page(certificate, key)).address
            for name, (certificate, key) in _shown(folder).items()
        }
        at |= {name: stack.enter_context(peers.peer(handler)).address for name, handler in HANDLERS.items()}
        pools = [_pools(at, fault) for fault in (*CAUSES, "own-beside-odd-names")]
        yield stack.enter_context(Daemon(configured(pools), folder))


@pytest.mark.parametrize("fault", CAUSES)
def test_a_faulty_backend_is_passed_over(balancer: Daemon, fault: str) -> None:
    assert fetch(balancer.ports[fault]) == "page"
    (record,) = records_of(balancer, fault)
    assert (record["attempts"], record["reason"]) == (2, "backend_closed")
    assert record["cause"] == f"TLS: {CAUSES[fault]}"


def test_odd_names_beside_the_right_one_do_no_harm(balancer: Daemon) -> None:
    assert fetch(balancer.ports["only-own-beside-odd-names"]) == "page"


@pytest.mark.parametrize("fault", CAUSES)
def test_where_only_a_faulty_backend_is_the_session_ends_with_its_cause(balancer: Daemon, fault: str) -> None:
    with connect(balancer.ports[f"only-{fault}"]) as client:
        assert client.recv(1) == b""
    (record,) = records_of(balancer, f"only-{fault}")
    assert (record["attempts"], record["reason"], record["backend"]) == (1, "connect_failed", None)
    assert record["cause"] == f"TLS: {CAUSES[fault]}"
    assert fault != "silent" or TIMEOUT <= record["total_ms"] < 10 * TIMEOUT


def test_a_handshake_is_given_up_when_its_client_leaves(tmp_path: Path, data_path: object) -> None:
    with (
        peers.peer(peers.hang) as silent,
        Daemon(
            configured(
                [served("web", quoted(silent.address), tls="verify = false", pool='connect_timeout = "1h"')]
            ),
            tmp_path,
        ) as daemon,
    ):
        client = connect(daemon.port)
        until(lambda: silent.open_connections == 1, "the handshake")
        reset(client)
        until(lambda: silent.open_connections == 0, "the end of the handshake")
        (record,) = records_of(daemon, "web")
    assert (record["reason"], record["attempts"], record["cause"]) == ("client_reset", 1, None)


@pytest.mark.parametrize("finishes", [False, True], ids=["client goes on", "client has finished"])
def test_one_that_has_answered_and_breaks_off_is_not_passed_over(
    tmp_path: Path, data_path: object, finishes: bool
) -> None:
    """As without TLS: the question was worked on, and is put to nobody else.

    On the native data path; Twisted's TLS loses such an answer without a word.
    """
    authority = Authority.root()
    authority.write(tmp_path / "root.pem")
    shown = authority.issue(tmp_path, "backend", NAME)
    with (
        tls_peer(peers.answer_unread(b"too large"), shown) as bad,
        tls_peer(peers.says(b"good"), shown) as good,
        Daemon(
            configured(
                [
                    served(
                        "web",
                        quoted(bad.address, good.address),
                        tls=f'ca = "root.pem"\nserver_name = "{NAME}"',
                    )
                ]
            ),
            tmp_path,
        ) as daemon,
    ):
        for _ in range(20):
            with connect(daemon.port) as client, contextlib.suppress(ConnectionResetError):
                client.sendall(b"?" * 40_000)
                if finishes:
                    client.shutdown(socket.SHUT_WR)
                read_all(client)
        records = records_of(daemon, "web", 20)
    assert [record["attempts"] for record in records] == [1] * 20
