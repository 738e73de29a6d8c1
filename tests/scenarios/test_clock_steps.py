"""The wall clock is set back or forward under load: timers keep their time, timestamps follow it."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support import peers
from support.clients import TIMEOUT, ask, connect, read, read_all
from support.daemon import Daemon
from support.waiting import until
from support.wall_clock import WallClock

CONFIG = """
shutdown_grace = "20m"

[access_log]
path = "access.log"
format = "json"

[frontends.echo]
listen = "127.0.0.1:0"
pool = "echo"
[frontends.echo.access]
deny_file = "denied.txt"

[frontends.idle]
listen = "127.0.0.1:0"
pool = "echo"
idle_timeout = "1s"

[frontends.silent]
listen = "127.0.0.1:0"
pool = "silent"

[frontends.checked]
listen = "127.0.0.1:0"
pool = "checked"

[pools.echo]
backends = ["{echo}"]

[pools.checked]
backends = ["{checked}"]
[pools.checked.health]
interval = "100ms"
timeout = "10s"

[pools.silent]
backends = ["{silent}"]
connect_timeout = "1s"
retries = 0
"""

HALF_AN_HOUR = timedelta(minutes=30)

PAUSE = 0.01
"""Seconds between two requests of the load."""

_LOGGED = re.compile(r"^(\S+) \[.*read \S+denied\.txt again", re.MULTILINE)


@contextmanager
def load_on(port: int) -> Iterator[list[bytes]]:
    """Have a client ask again and again; gives its answers, and fails the test if one of them was wrong."""
    answers: list[bytes] = []
    done = threading.Event()

    def go() -> None:
        while not done.wait(PAUSE):
            answers.append(ask(port, b"load"))

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join(2 * TIMEOUT)
    assert set(answers) == {b"load"}


def is_echoed(sock: socket.socket) -> bool:
    sock.sendall(b"x")
    return read(sock, 1) == b"x"


def wait_for_end(sock: socket.socket) -> None:
    """Wait until the balancer ends a connection; the client's own time-out is far below the step."""
    with suppress(ConnectionResetError):
        read_all(sock)


def logged_reloads(daemon: Daemon) -> list[datetime]:
    return [datetime.fromisoformat(stamp) for stamp in _LOGGED.findall(daemon.log)]


@pytest.mark.requires("faketime")
def test_steps_of_the_wall_clock_move_timestamps_and_no_timer(tmp_path: Path) -> None:
    (tmp_path / "denied.txt").write_text("192.0.2.1\n")
    clock = WallClock(tmp_path)
    with ExitStack() as stack:
        echo = stack.enter_context(peers.peer(peers.echo))
        checked = stack.enter_context(peers.peer(peers.hang))
        silent = stack.enter_context(peers.unanswering())
        config = CONFIG.format(echo=echo.address, checked=checked.address, silent=silent)
        daemon = stack.enter_context(Daemon(config, tmp_path, environment=clock.environment))
        stay = stack.enter_context(connect(daemon.ports["echo"]))
        idle = stack.enter_context(connect(daemon.ports["idle"]))
        waiting = stack.enter_context(connect(daemon.ports["silent"]))
        assert is_echoed(stay)
        assert is_echoed(idle)

        with load_on(daemon.ports["echo"]) as answers:
            clock.step(-HALF_AN_HOUR)
            (tmp_path / "denied.txt").write_text("192.0.2.1\n192.0.2.2\n")
            checks = checked.accepted
            wait_for_end(waiting)
            wait_for_end(idle)
            until(lambda: checked.accepted >= checks + 3, "three health checks")
            until(lambda: logged_reloads(daemon), lambda: f"a reload\n{daemon.log}")
        records = daemon.wait_for_records(2 + len(answers))
        last = {record["frontend"]: record for record in records}
        assert last["idle"]["reason"] == "idle_timeout"
        assert last["silent"]["cause"] == "timed out after 1 s"
        assert last["silent"]["total_ms"] >= 1000
        assert clock.shows(datetime.fromisoformat(last["echo"]["start"]))
        assert clock.shows(logged_reloads(daemon)[-1])

        daemon.send(signal.SIGTERM)
        daemon.wait_for_log(r"1 open sessions may finish within 1200 s")
        clock.step(+HALF_AN_HOUR)
        # Each echo is a turn of the reactor, in which a timer that has come would end the session.
        assert all(is_echoed(stay) for _ in range(10))
        stay.close()
        assert daemon.wait() == 0
