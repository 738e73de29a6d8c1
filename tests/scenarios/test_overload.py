"""With as many descriptors as it may have, it accepts nobody, ends who buffers most, and recovers."""

from __future__ import annotations

import contextlib
import math
import re
import resource
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support import peers
from support.clients import connect, read, read_all
from support.daemon import Daemon
from support.waiting import until_steady

CONFIG = """
[overload]
descriptors = "90%"

[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

SMALL = 7
"""Sessions beside the one that buffers most."""


def hello_or_flood(sock: socket.socket) -> None:
    """Greet, and after that send without end to who asks for it."""
    if sock.recv(1) == b"?":
        peers.floods(1 << 30)(sock)
    else:
        peers.holds(b"hello")(sock)


def greeted(port: int) -> socket.socket:
    """Connect, and be greeted."""
    sock = connect(port)
    sock.sendall(b"!")
    assert read(sock, 5) == b"hello"
    return sock


def ended_at(record: dict[str, Any]) -> datetime:
    """When a session ended, as its account says."""
    return datetime.fromisoformat(record["start"]) + timedelta(milliseconds=record["total_ms"])


def test_the_biggest_is_ended_and_who_has_waited_is_served(tmp_path: Path) -> None:
    with (
        peers.peer(hello_or_flood) as backend,
        Daemon(CONFIG.format(backend=backend.address), tmp_path) as daemon,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(greeted(daemon.port)) for _ in range(SMALL)]
        big = stack.enter_context(connect(daemon.port, receive_buffer=4096))
        big.sendall(b"?")
        # It does not read, and what is on its way to it grows until there is no more room.
        until_steady(lambda: (daemon.processor_time, len(daemon.descriptors)))
        limit = math.ceil(len(daemon.descriptors) / 0.9)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        daemon.wait_for_log("accepting is paused")
        clients.append(stack.enter_context(greeted(daemon.port)))
        with pytest.raises(ConnectionResetError):
            read_all(big)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        records = daemon.wait_for_records(SMALL + 2)
        assert daemon.stop() == 0
    assert [record["reason"] for record in records] == ["overload", *["client_closed"] * (SMALL + 1)]
    assert records[0]["closed_by"] == "balancer"
    assert max(datetime.fromisoformat(record["start"]) for record in records) >= ended_at(records[0])
    done = re.findall(r"overload: descriptors \d+ of \d+; (.*?)[,\n]", daemon.log)
    assert done == [
        "accepting is paused",
        f"ended 1 of {SMALL + 1} sessions",
        "clients are accepted again",
    ]
