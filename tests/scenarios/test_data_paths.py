"""The log names the data path and the reason; the native data path serves within every reactor."""

from __future__ import annotations

import hashlib
import re
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from support import peers, transfers
from support.clients import ask, connect, read_all, reset
from support.daemon import Daemon
from support.nginx import nginx
from support.process import run
from support.programs import require
from support.waiting import until

CONFIG = """
{data_path}

[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.also]
listen = "unix:also.sock"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

REACTORS = {"epoll": "EPollReactor", "asyncio": "AsyncioSelectorReactor", "poll": "PollReactor"}
MIB = 1 << 20


def config(backend: str, data_path: str = "") -> str:
    """Give a configuration over one backend."""
    return CONFIG.format(backend=backend, data_path=data_path)


def _data_paths(daemon: Daemon) -> list[tuple[str, str]]:
    """Which frontend is served by which data path and why."""
    return re.findall(r"frontend (\S+) listens on \S+ by the (.*)$", daemon.log, re.MULTILINE)


@pytest.mark.parametrize("reactor", REACTORS)
def test_the_native_data_path_is_taken_within_every_reactor(tmp_path: Path, reactor: str) -> None:
    with (
        peers.named("a") as (backend,),
        Daemon(config(backend.address), tmp_path, reactor=reactor) as daemon,
    ):
        assert ask(daemon.port) == b"a"
        assert daemon.stop() == 0
    why = f"native data path (epoll within {REACTORS[reactor]})"
    assert _data_paths(daemon) == [("web", why), ("also", why)]


@pytest.mark.parametrize("reactor", REACTORS)
def test_the_portable_data_path_is_used_when_it_is_configured(tmp_path: Path, reactor: str) -> None:
    text = 'data_path = "portable"'
    with (
        peers.named("a") as (backend,),
        Daemon(config(backend.address, text), tmp_path, reactor=reactor) as daemon,
    ):
        assert ask(daemon.port) == b"a"
        assert daemon.stop() == 0
    why = f"portable data path ({text})"
    assert _data_paths(daemon) == [("web", why), ("also", why)]


@pytest.mark.requires("nginx", "curl", "wrk")
@pytest.mark.parametrize("reactor", REACTORS)
def test_http(tmp_path: Path, reactor: str) -> None:
    curl, wrk = require("curl", "wrk")
    with nginx("a") as (server,), Daemon(config(server.address), tmp_path, reactor=reactor) as daemon:
        url = f"http://127.0.0.1:{daemon.port}/"
        before = time.time()
        assert run([curl, "-sS", url, url]) == "a\na\n"
        (record,) = daemon.wait_for_records(1)
        report = run([wrk, "-t1", "-c20", "-d1s", "-H", "Connection: close", url])
        report += run([wrk, "-t1", "-c20", "-d1s", url])
        assert daemon.stop() == 0
    assert re.findall(r"Socket errors|Non-2xx", report) == []
    assert min(int(count) for count in re.findall(r"(\d+) requests in", report)) > 100
    # Not every reactor's clock is the day's; the record has the day's all the same.
    assert abs(datetime.fromisoformat(record["start"]).timestamp() - before) < 10


@pytest.mark.parametrize("reactor", REACTORS)
def test_ends_and_resets(tmp_path: Path, reactor: str) -> None:
    question = bytes(range(256)) * 1000
    with (
        peers.peer(peers.hash_after_end) as backend,
        Daemon(config(backend.address), tmp_path, reactor=reactor) as daemon,
    ):
        assert ask(daemon.port, question).decode() == hashlib.sha256(question).hexdigest()
        client = connect(daemon.port)
        until(lambda: backend.open_connections == 1, "the backend's connection")
        reset(client)
        until(lambda: backend.broken == 1, "the reset at the backend")
        reasons = [record["reason"] for record in daemon.wait_for_records(2)]
        assert daemon.stop() == 0
    assert reasons == ["client_closed", "client_reset"]


@pytest.mark.parametrize("reactor", REACTORS)
def test_bulk_both_ways(tmp_path: Path, reactor: str) -> None:
    with transfers.end(tmp_path, "serve", 64 * MIB) as server:
        until(lambda: server.output.endswith("\n"), "the server's port")
        with Daemon(config(f"127.0.0.1:{int(server.output)}"), tmp_path, reactor=reactor) as daemon:
            with transfers.end(tmp_path, "connect", 64 * MIB, daemon.port) as client:
                assert (client.wait(50), server.wait(50)) == (0, 0)
            daemon.wait_for_records(1)
            assert daemon.stop() == 0
    transfers.assert_whole(client, server, 64 * MIB)


def test_sigterm_in_the_middle_of_bulk(tmp_path: Path) -> None:
    """Pipes are full of bytes then: what may finish within the grace does, and what does not is reset."""
    text = 'shutdown_grace = "500ms"'
    with (
        peers.peer(peers.floods(1 << 40)) as backend,
        Daemon(config(backend.address, text), tmp_path) as daemon,
        connect(daemon.port) as reading,
        connect(daemon.port) as stalled,
    ):
        for client in (reading, stalled):
            assert len(client.recv(MIB)) > 0
        until(lambda: "pipe" in "".join(daemon.descriptors.values()), "bulk")
        daemon.process.send(signal.SIGTERM)
        for client in (reading, stalled):
            with pytest.raises(ConnectionResetError):
                read_all(client)
        assert daemon.wait() == 0
        assert [record["reason"] for record in daemon.access_records] == ["shutdown"] * 2
