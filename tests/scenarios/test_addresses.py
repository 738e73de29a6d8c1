"""Every kind of address, several to a frontend, on both sides; and what a killed balancer leaves behind."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from support import peers
from support.clients import ask, ask_unix, read_all
from support.daemon import Daemon
from support.process import Process
from support.programs import require
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = {listen}
pool = "web"

[pools.web]
backends = ["{backend}"]
"""


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


WITH_IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")


@WITH_IPV6
def test_a_frontend_on_three_kinds_of_address(tmp_path: Path) -> None:
    listen = '["127.0.0.1:0", "[::1]:0", "unix:web.sock"]'
    with (
        peers.peer(peers.echo) as backend,
        Daemon(CONFIG.format(listen=listen, backend=backend.address), tmp_path) as daemon,
    ):
        four, six, unix = daemon.addresses["web"]
        assert ask(_port(four), b"4") == b"4"
        with socket.create_connection(("::1", _port(six)), timeout=10) as client:
            client.sendall(b"6")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"6"
        assert ask_unix(str(tmp_path / "web.sock"), b"u") == b"u"
        records = daemon.wait_for_records(3)
    assert four.startswith("127.0.0.1:")
    assert six.startswith("[::1]:")
    assert unix == f"unix:{tmp_path}/web.sock"
    assert [record["client"].rpartition(":")[0] for record in records] == ["127.0.0.1", "[::1]", "unix"]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_a_host_name_is_looked_up(tmp_path: Path) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(listen='"127.0.0.1:0"', backend=f"localhost:{backend.port}")
        with Daemon(config, tmp_path) as daemon:
            assert ask(daemon.port, b"hello") == b"hello"
            (record,) = daemon.wait_for_records(1)
    assert record["backend"] == f"localhost:{backend.port}"


@pytest.mark.requires("socat")
def test_a_unix_socket_as_the_backend(tmp_path: Path) -> None:
    (socat,) = require("socat")
    command = [socat, f"UNIX-LISTEN:{tmp_path}/backend.sock,fork", "EXEC:cat"]
    config = CONFIG.format(listen='"127.0.0.1:0"', backend="unix:backend.sock")
    with Process(command, tmp_path, tmp_path / "socat.log"), Daemon(config, tmp_path) as daemon:
        until((tmp_path / "backend.sock").exists, "the backend")
        assert ask(daemon.port, b"x" * 1_000_000) == b"x" * 1_000_000


def test_after_a_kill_it_starts_again_on_the_same_unix_socket(tmp_path: Path) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(listen='"unix:web.sock"', backend=backend.address)
        with Daemon(config, tmp_path) as daemon:
            assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
            assert (tmp_path / "web.sock").is_socket()
            daemon.start()
            assert ask_unix(str(tmp_path / "web.sock"), b"again") == b"again"
            assert daemon.stop() == 0
    assert not (tmp_path / "web.sock").exists()


def test_a_file_that_is_no_socket_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "web.sock").write_text("precious")
    daemon = Daemon(CONFIG.format(listen='"unix:web.sock"', backend="127.0.0.1:9"), tmp_path)
    with daemon.launch() as process:
        assert process.wait(30) == 1
    assert "frontend web" in daemon.log
    assert (tmp_path / "web.sock").read_text() == "precious"
