"""A pool is scaled out while its clients stay connected: idle connections spread, and then all stay."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from support import peers
from support.clients import read
from support.daemon import Daemon
from support.peers import Handler, Peer
from support.reconnecting import Reconnecting
from support.waiting import until, until_steady
from tcpbalance.services.rebalancer import CALM

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
balance = "least_connections"
backends = [{backends}]
"""

REBALANCE = """
[pools.web.rebalance]
rate = "20/s"
idle_for = "500ms"
"""

CLIENTS = 30
BUSY = 3
RATE = 20.0
AT_ONCE = 0.25
"""Seconds' worth of connections that may be closed at once."""

DOWNLOAD = 4 << 20
"""Bytes; more than the kernels and the balancer hold."""


def serving(name: bytes) -> Handler:
    """Say the name; then send back what comes, and a long answer to one question."""

    def handle(sock: socket.socket) -> None:
        sock.sendall(name)
        while data := sock.recv(1000):
            sock.sendall(bytes(DOWNLOAD) if data == b"download" else data)

    return handle


def reload(daemon: Daemon, text: str) -> None:
    before = daemon.log.count("] reloaded ")
    daemon.config_file.write_text(daemon._with_data_path(text))
    daemon.send(signal.SIGHUP)
    until(lambda: daemon.log.count("] reloaded ") > before, lambda: f"the reload\n{daemon.log}")


def config(*backends: Peer) -> str:
    return CONFIG.format(backends=", ".join(f'"{backend.address}"' for backend in backends))


def span(records: list[dict[str, Any]]) -> float:
    """Give the seconds from the first end of sessions to the last."""
    starts = [datetime.fromisoformat(record["start"]).timestamp() for record in records]
    ends = [start + record["total_ms"] / 1000 for start, record in zip(starts, records, strict=True)]
    return float(max(ends) - min(ends))


def test_idle_connections_spread_over_a_backend_that_is_added(tmp_path: Path) -> None:
    with (
        peers.peer(serving(b"a")) as one,
        peers.peer(serving(b"b")) as two,
        Daemon(config(one), tmp_path) as daemon,
        closing(Reconnecting(daemon.port, CLIENTS)) as clients,
    ):
        until(lambda: clients.hear_all() == {b"a": CLIENTS}, "all connected")
        busy, waiting = clients.sockets[:BUSY], clients.sockets[BUSY]
        waiting.send(b"download")
        exchanged = 0

        def go_on() -> dict[bytes, int]:
            """Let all clients but the one that reads nothing receive, and the busy ones send."""
            nonlocal exchanged
            for number in range(CLIENTS):
                if number != BUSY:
                    data = clients.hear(number)
                    if number < BUSY:
                        exchanged += len(data)
                        clients.sockets[number].send(b"!")
            return {name: clients.servers.count(name) for name in (b"a", b"b")}

        reload(daemon, config(one, two) + REBALANCE)
        half = {b"a": CLIENTS // 2, b"b": CLIENTS // 2}
        until(lambda: go_on() == half, lambda: f"half of them on each, not {clients.servers}")
        until_steady(go_on, CALM + 0.2)
        assert clients.closed == CLIENTS // 2
        assert (clients.sockets[:BUSY], clients.sockets[BUSY]) == (busy, waiting)
        assert exchanged > BUSY
        waiting.setblocking(True)
        assert read(waiting, DOWNLOAD) == bytes(DOWNLOAD)
        assert one.broken == two.broken == 0
        moved = [record for record in daemon.access_records if record["reason"] == "rebalanced"]
        assert len(moved) == len(daemon.access_records) == CLIENTS // 2
        assert {(record["backend"], record["closed_by"]) for record in moved} == {(one.address, "balancer")}
        assert span(moved) > (len(moved) - 1) / RATE - AT_ONCE - 0.1, "they end one after the other"
