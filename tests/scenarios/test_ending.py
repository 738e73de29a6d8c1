"""SIGTERM and SIGINT let open sessions finish, exit with 0, and leave nothing behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import peers
from support.clients import connect, read_all
from support.configs import WEB
from support.daemon import Daemon
from support.ports import accepts
from support.waiting import until

CONFIG = (
    """
shutdown_grace = "{grace}"
"""
    + WEB
    + """
[pools.web.health]
check = "command"
argv = ["sleep", "0.2"]
interval = "100ms"
timeout = "5s"
rise = 1
"""
)

SESSIONS = 200
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@contextlib.contextmanager
def talking(daemon: Daemon, count: int) -> Iterator[list[socket.socket]]:
    """Open connections and see each of them echo, so that it is a session and not only a connection."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(daemon.ports["web"])) for _ in range(count)]
        for client in clients:
            client.sendall(b"first")
        for client in clients:
            assert client.recv(100) == b"first"
        yield clients


@BOTH
def test_200_open_connections_all_finish(tmp_path: Path, number: signal.Signals) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(grace="30s", backend=backend.address)
        with Daemon(config, tmp_path) as daemon, talking(daemon, SESSIONS) as clients:
            port = daemon.ports["web"]
            daemon.send(number)
            until(lambda: not (tmp_path / "web.sock").exists(), "the end of the listeners")
            assert not accepts(port)
            for client in clients:
                client.sendall(b"second")
            for client in clients:
                client.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"second"
            assert daemon.wait() == 0
            records = daemon.access_records
    assert [(r["reason"], r["client_bytes"], r["backend_bytes"]) for r in records] == [
        ("client_closed", 11, 11)
    ] * SESSIONS


@BOTH
def test_with_nothing_open_it_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with (
        peers.peer(peers.echo) as backend,
        Daemon(CONFIG.format(grace="30s", backend=backend.address), tmp_path) as daemon,
    ):
        began = time.monotonic()
        assert daemon.stop(number) == 0
    assert time.monotonic() - began < 10
    assert not (tmp_path / "web.sock").exists()


def test_what_is_still_open_when_the_grace_is_over_is_reset(tmp_path: Path) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(grace="1s", backend=backend.address)
        with Daemon(config, tmp_path) as daemon, talking(daemon, 20) as clients:
            began = time.monotonic()
            daemon.send(signal.SIGTERM)
            clients[0].shutdown(socket.SHUT_WR)
            assert read_all(clients[0]) == b""
            assert daemon.wait() == 0
            lasted = time.monotonic() - began
            for client in clients[1:]:
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
            reasons = [record["reason"] for record in daemon.access_records]
    assert 1 <= lasted < 10
    assert sorted(reasons) == ["client_closed", *["shutdown"] * 19]


def test_a_second_signal_cuts_the_grace_short(tmp_path: Path) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(grace="1h", backend=backend.address)
        with Daemon(config, tmp_path) as daemon, talking(daemon, 3):
            daemon.send(signal.SIGTERM)
            daemon.wait_for_log("SIGTERM")
            daemon.send(signal.SIGTERM)
            assert daemon.wait() == 0
            assert {record["reason"] for record in daemon.access_records} == {"shutdown"}


def test_no_child_and_no_file_is_left(tmp_path: Path) -> None:
    with (
        peers.peer(peers.echo) as backend,
        Daemon(CONFIG.format(grace="1s", backend=backend.address), tmp_path) as daemon,
    ):
        # A health check by a command is a child most of the time.
        children = until(lambda: daemon.children, "a health check")
        assert daemon.stop() == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"tcpbalance.toml", "daemon.log", "access.log"}


def test_a_stop_while_backends_are_checked_for_the_first_time_is_a_stop(tmp_path: Path) -> None:
    with peers.unanswering() as silent:
        config = CONFIG.format(grace="30s", backend=silent).replace('["sleep", "0.2"]', '["sleep", "30"]')
        daemon = Daemon(config, tmp_path)
        with daemon.launch():
            until(lambda: daemon.catches(signal.SIGUSR1) and daemon.children, "the first check")
            assert "listens on" not in daemon.log
            assert daemon.stop() == 0
    assert not (tmp_path / "web.sock").exists()
