"""What systemd learns of a balancer: ready, reloading, stopping, the status, and that its loop turns."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import peers
from support.clients import connect, read
from support.daemon import Daemon
from support.notify import ServiceManager, service_manager
from support.waiting import until

CONFIG = """
shutdown_grace = "20s"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}", "127.0.0.1:9"]
"""

HELD = """
[pools.web.health]
check = "command"
argv = ["sh", "-c", "while [ ! -e held ]; do sleep 0.01; done"]
timeout = "20s"
"""


@contextmanager
def launched(
    folder: Path, more: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Daemon, ServiceManager]]:
    """Start a balancer as a service, and do not wait for anything."""
    with service_manager(folder / "notify") as manager, peers.peer(peers.echo) as backend:
        variables = {"NOTIFY_SOCKET": str(folder / "notify"), **(environment or {})}
        daemon = Daemon(CONFIG.format(backend=backend.address) + more, folder, environment=variables)
        with daemon.launch():
            yield daemon, manager


def test_it_is_ready_when_it_serves_and_not_before(tmp_path: Path) -> None:
    with launched(tmp_path, HELD) as (daemon, manager):
        until(lambda: daemon.children, "the first check")
        assert manager.messages == []
        (tmp_path / "held").touch()
        manager.wait_for("READY=1")
        daemon.wait_for_log("listens on")
        daemon.stop()
        assert manager.messages == ["READY=1", "STOPPING=1"]
        assert manager.statuses[-2:] == ["1 frontend, 2 of 2 backends up, 0 open sessions"] * 2


def test_the_status_has_the_open_sessions(tmp_path: Path) -> None:
    with launched(tmp_path) as (daemon, manager):
        manager.wait_for("READY=1")
        with connect(daemon.port) as client:
            client.sendall(b"a")
            assert read(client, 1) == b"a"
            until(lambda: manager.messages and manager.statuses[-1].endswith("1 open session"), "the session")
        until(lambda: manager.messages and manager.statuses[-1].endswith("0 open sessions"), "its end")


def test_a_reload_has_a_beginning_and_an_end(tmp_path: Path) -> None:
    with launched(tmp_path) as (daemon, manager):
        manager.wait_for("READY=1")
        before = time.monotonic_ns() // 1000
        daemon.send(signal.SIGHUP)
        manager.wait_for("READY=1", 2)
        first, reloading, second = manager.messages
        state, when = reloading.split("\nMONOTONIC_USEC=")
    assert (first, state, second) == ("READY=1", "RELOADING=1", "READY=1")
    assert before <= int(when) <= time.monotonic_ns() // 1000


def test_signs_of_life_come_from_the_start_to_the_last_session(tmp_path: Path) -> None:
    with launched(tmp_path, environment={"WATCHDOG_USEC": "200000"}) as (daemon, manager):
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1", 5)
        with connect(daemon.port) as client:
            client.sendall(b"a")
            assert read(client, 1) == b"a"
            daemon.send(signal.SIGTERM)
            manager.wait_for("STOPPING=1")
            manager.wait_for("WATCHDOG=1", manager.messages.count("WATCHDOG=1") + 5)
        assert daemon.wait() == 0
        assert manager.messages.index("STOPPING=1") > manager.messages.index("READY=1")


def test_a_watchdog_for_another_process_gets_none(tmp_path: Path) -> None:
    variables = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with launched(tmp_path, environment=variables) as (daemon, manager):
        manager.wait_for("READY=1")
        assert daemon.stop() == 0
        assert manager.messages == ["READY=1", "STOPPING=1"]


@pytest.mark.parametrize("path", ["/nonexistent/notify", "@nothing listens here"])
def test_a_manager_that_cannot_be_reached_is_no_reason_not_to_serve(tmp_path: Path, path: str) -> None:
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(backend=backend.address)
        with Daemon(config, tmp_path, environment={"NOTIFY_SOCKET": path}) as daemon:
            with connect(daemon.port) as client:
                client.sendall(b"a")
                assert read(client, 1) == b"a"
            assert daemon.stop() == 0
            assert daemon.log.count(f"NOTIFY_SOCKET {path}: ") == 1
