"""A side that has finished sending still hears the other out: both ways, with real half-closing programs."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from support import peers
from support.clients import connect, read_all
from support.daemon import Daemon
from support.ports import free_port
from support.process import Process, run
from support.programs import require
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
half_close_timeout = "{half_close_timeout}"

[pools.web]
backends = ["{backend}"]
"""


def config(backend: str, half_close_timeout: str = "30s") -> str:
    """Give a configuration over one backend."""
    return CONFIG.format(backend=backend, half_close_timeout=half_close_timeout)


@pytest.mark.requires("nc")
@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_nc_gets_the_answer_that_comes_only_after_its_end(tmp_path: Path, size: int) -> None:
    (nc,) = require("nc")
    question = "q" * size
    with peers.peer(peers.hash_after_end) as backend, Daemon(config(backend.address), tmp_path) as daemon:
        answer = run([nc, "-N", "127.0.0.1", str(daemon.port)], input=question)
        (record,) = daemon.wait_for_records(1)
    assert answer == hashlib.sha256(question.encode()).hexdigest()
    assert (record["client_bytes"], record["backend_bytes"]) == (size, 64)
    assert (record["reason"], record["closed_by"]) == ("client_closed", "client")


@pytest.mark.requires("nc")
def test_nc_as_the_backend_finishes_first_and_still_reads(tmp_path: Path) -> None:
    (nc,) = require("nc")
    port, sent = free_port(), tmp_path / "sent"
    # It sends its file and finishes; -N says so to its peer, and it goes on reading.
    script = f"{nc} -N -l 127.0.0.1 {port} < {sent} > {tmp_path}/received"
    sent.write_text("a" * 1000)
    with Process(["sh", "-c", script], tmp_path, tmp_path / "nc.log") as backend:
        until(lambda: _listens(port), "nc to listen")
        with Daemon(config(f"127.0.0.1:{port}"), tmp_path) as daemon:
            with connect(daemon.port) as client:
                assert read_all(client) == b"a" * 1000
                client.sendall(b"still here")
                client.shutdown(socket.SHUT_WR)
            (record,) = daemon.wait_for_records(1)
        assert backend.wait() == 0
    assert (tmp_path / "received").read_text() == "still here"
    assert (record["reason"], record["client_bytes"], record["backend_bytes"]) == ("backend_closed", 10, 1000)


def _listens(port: int) -> bool:
    # A connection would be the only one that nc takes, so this asks the kernel.
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()


def test_a_half_closed_connection_that_stays_quiet_is_ended(tmp_path: Path) -> None:
    with (
        peers.peer(peers.ignore_the_end) as backend,
        Daemon(config(backend.address, half_close_timeout="1s"), tmp_path) as daemon,
    ):
        with connect(daemon.port) as client:
            client.sendall(b"?")
            client.shutdown(socket.SHUT_WR)
            # A reset: an answer that did not come must not look like an empty one.
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        (record,) = daemon.wait_for_records(1)
    assert (record["reason"], record["closed_by"]) == ("half_close_timeout", "balancer")
    assert 1000 <= record["total_ms"] < 5000


def test_a_unix_socket_is_half_closed_like_any_other(tmp_path: Path) -> None:
    with peers.peer(peers.hash_after_end) as backend:
        text = config(backend.address).replace("127.0.0.1:0", "unix:web.sock")
        with Daemon(text, tmp_path), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(tmp_path / "web.sock"))
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client).decode() == hashlib.sha256(b"question").hexdigest()


def test_a_client_that_finishes_before_there_is_a_backend_is_still_served(tmp_path: Path) -> None:
    with (
        peers.late(peers.hash_after_end) as backend,
        Daemon(config(backend.address), tmp_path) as daemon,
        connect(daemon.port) as client,
    ):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        backend.accept_from_now_on()
        client.settimeout(10)
        assert read_all(client).decode() == hashlib.sha256(b"question").hexdigest()
