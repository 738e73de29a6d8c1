"""HAProxy in front of several workers: each of its clients has one worker, whatever connection it has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import clients
from support.daemon import Daemon
from support.haproxy import haproxy
from support.peers import echo, peer
from support.waiting import until
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count

pytestmark = [
    pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"),
    pytest.mark.requires("haproxy"),
]

WORKERS = 4
LIMIT = 10

CONFIG = """
workers = 4
shutdown_grace = "10s"

[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
accept_proxy_protocol = ["127.0.0.1"]

[frontends.web.limits]
connections_per_client = 10

[pools.web]
backends = ["{backend}"]
"""

SENDER = """
frontend web
    mode tcp
    bind 127.0.0.1:{{port}}
    bind ::1:{{port}}
    default_backend web
backend web
    mode tcp
    server tcpbalance 127.0.0.1:{port} {send}
"""


@contextmanager
def behind_haproxy(folder: Path, send: str) -> Iterator[tuple[int, Daemon]]:
    """HAProxy in front of the workers in front of a server that says what it hears."""
    with (
        peer(echo) as backend,
        Daemon(CONFIG.format(backend=backend.address), folder) as daemon,
        haproxy(SENDER.format(port=daemon.port, send=send)) as port,
    ):
        yield port, daemon


def is_served(client: socket.socket) -> bool:
    """Whether it hears what it says; HAProxy passes the end on of one that is refused."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except ConnectionError:
        return False


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_each_client_has_one_worker_and_all_workers_have_some(tmp_path: Path, send: str) -> None:
    sources = [f"127.0.0.{last}" for last in range(10, 20)]
    with behind_haproxy(tmp_path, send) as (port, daemon):
        for source in sources * 3:
            with clients.connect(port, source) as client:
                assert is_served(client)

        def named() -> list[dict[str, Any]]:
            # Without the one that has found out whether HAProxy listens.
            return [record for record in daemon.access_records if record["client_bytes"]]

        until(lambda: len(named()) >= 3 * len(sources), lambda: f"records: {daemon.access_records}")
        assert len(named()) == 3 * len(sources)
        workers = {worker_of(record) for record in named()}
        assert workers == {(source, owner(socket.inet_aton(source), WORKERS)) for source in sources}
        assert len({worker for _, worker in workers}) == WORKERS
        assert daemon.stop() == 0


def worker_of(record: dict[str, Any]) -> tuple[str, int]:
    """The client, and the worker that has served it."""
    host, _, _ = record["client"].rpartition(":")
    return host, record["worker"]


@pytest.mark.parametrize(("host", "source"), [("127.0.0.1", "127.0.0.77"), ("::1", "::1")])
def test_a_limit_is_exact_behind_haproxy(tmp_path: Path, host: str, source: str) -> None:
    with behind_haproxy(tmp_path, "send-proxy-v2") as (port, daemon), ExitStack() as stack:
        served = 0
        for _ in range(4 * LIMIT):
            client = stack.enter_context(socket.create_connection((host, port), 20, (source, 0)))
            served += is_served(client)
        assert served == LIMIT
        assert daemon.stop() == 0
