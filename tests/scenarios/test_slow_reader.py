"""A client or a backend that stops reading slows only itself, and costs little memory."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

from support import peers
from support.clients import ask, connect, read_all
from support.daemon import Daemon
from support.waiting import until, until_steady

CONFIG = """
shutdown_grace = "500ms"

[frontends.flood]
listen = "127.0.0.1:0"
pool = "flood"

[frontends.echo]
listen = "127.0.0.1:0"
pool = "echo"

[pools.flood]
backends = ["{flood}"]

[pools.echo]
backends = ["{echo}"]
"""

MIB = 1 << 20
ENDLESS = 64 * MIB
STALLED = 40
PER_SESSION = 512 * 1024
"""Bytes that one session may hold in the process, whatever its client does."""


def test_clients_that_stop_reading_hold_up_nobody_and_little_memory(tmp_path: Path) -> None:
    with (
        peers.peer(peers.floods(64 * MIB)) as flood,
        peers.peer(peers.echo) as echo,
        Daemon(CONFIG.format(flood=flood.address, echo=echo.address), tmp_path) as daemon,
    ):
        # One whole transfer first: what the process needs for any transfer is no growth.
        assert len(ask(daemon.ports["flood"])) == 64 * MIB
        before = daemon.memory
        stalled = [connect(daemon.ports["flood"], receive_buffer=4096) for _ in range(STALLED)]
        try:
            until(lambda: flood.open_connections == STALLED, "every backend's connection")
            until_steady(lambda: daemon.processor_time)
            grown = daemon.memory - before
            began = time.monotonic()
            assert len(ask(daemon.ports["flood"])) == 64 * MIB
            assert ask(daemon.ports["echo"], b"x" * MIB) == b"x" * MIB
            quick = time.monotonic() - began
            stalled_end = len(read_all(stalled[0]))
        finally:
            for client in stalled:
                client.close()
    # Without back-pressure this would be 40 times 64 MiB.
    assert grown < STALLED * PER_SESSION
    assert quick < 10
    # The one that begins to read again gets everything.
    assert stalled_end == 64 * MIB


def test_a_backend_that_stops_reading_holds_up_its_client_and_nobody_else(tmp_path: Path) -> None:
    with (
        peers.peer(peers.read_nothing) as stuck,
        peers.peer(peers.echo) as echo,
        Daemon(CONFIG.format(flood=stuck.address, echo=echo.address), tmp_path) as daemon,
    ):
        before = daemon.memory
        clients = [connect(daemon.ports["flood"]) for _ in range(10)]
        try:
            sent = [_send_until_stuck(client) for client in clients]
            grown = daemon.memory - before
            assert ask(daemon.ports["echo"], b"x" * MIB) == b"x" * MIB
        finally:
            for client in clients:
                client.close()
    # Each got stuck, after what the kernel keeps on both sides, and not for want of bytes to send.
    assert max(sent) < ENDLESS
    assert grown < 10 * PER_SESSION


def _send_until_stuck(client: socket.socket) -> int:
    client.settimeout(0.5)
    block = bytes(1 << 16)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < ENDLESS:
            sent += client.send(block)
    return sent
