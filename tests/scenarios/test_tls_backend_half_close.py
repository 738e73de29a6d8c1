"""A client that has finished sending still hears a backend out that speaks TLS."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from support import peers
from support.certificates import Authority
from support.clients import ask, connect, read_all
from support.daemon import Daemon
from support.tls_peers import REQUEST, configured, page, quoted, records_of, served, tls_peer

NAME = "web.example"
TLS = f'ca = "root.pem"\nserver_name = "{NAME}"'
SIZES = (0, 10, 300_000)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.root()
    made.write(tmp_path / "root.pem")
    return made


def test_the_answer_comes_that_is_given_only_after_the_end(tmp_path: Path, authority: Authority) -> None:
    with (
        tls_peer(peers.hash_after_end, authority.issue(tmp_path, "backend", NAME)) as backend,
        Daemon(configured([served("web", quoted(backend.address), tls=TLS)]), tmp_path) as daemon,
    ):
        for size in SIZES:
            question = b"?" * size
            assert ask(daemon.port, question).decode() == hashlib.sha256(question).hexdigest()
        records = records_of(daemon, "web", len(SIZES))
        assert backend.broken == 0
    assert [(record["reason"], record["client_bytes"]) for record in records] == [
        ("client_closed", size) for size in SIZES
    ]


@pytest.mark.requires("nginx")
def test_nginx_which_closes_without_reading_our_close_notify_has_answered_all_the_same(
    tmp_path: Path, authority: Authority
) -> None:
    shown = authority.issue(tmp_path, "backend", NAME)
    with (
        page(shown.certificate, shown.key) as backend,
        Daemon(configured([served("web", quoted(backend.address), tls=TLS)]), tmp_path) as daemon,
    ):
        for _ in range(20):
            assert _ask_and_finish(daemon.port).endswith(b"page\n")
        assert {record["reason"] for record in records_of(daemon, "web", 20)} == {"client_closed"}


def _ask_and_finish(port: int) -> bytes:
    """Send the end in one segment with the request: else nginx may have closed before the end comes."""
    with connect(port) as sock:
        sock.send(REQUEST, socket.MSG_MORE)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)
