"""`tcpbalance top` in a real terminal, in front of a balancer that runs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.admin import Stage
from support.clients import ask
from support.daemon import TCPBALANCE, Daemon
from support.ports import refusing
from support.tmux import Terminal, terminal
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

WORKERS = [1, pytest.param(2, marks=pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"))]

pytestmark = pytest.mark.requires("tmux")


def top(stage: Stage, *options: str) -> list[str]:
    return [str(TCPBALANCE), "top", f"--admin={stage.folder}/admin.sock", *options]


def started(daemon: Daemon) -> Daemon:
    daemon.wait_for_log("admin listens on")
    return daemon


@pytest.fixture
def workers() -> int:
    """Most of this is the same with any number of processes."""
    return 1


UNIX = 'listen = "unix:admin.sock"'


def shown(window: Terminal) -> str:
    return "\n".join(window.screen())


@pytest.mark.parametrize("workers", WORKERS)
def test_backends_are_shown_and_drained(stage: Stage) -> None:
    with stage.daemon(UNIX) as daemon:
        started(daemon)
        with terminal(top(stage), stage.folder / "tmux", 100) as window:
            lines = window.wait_for("2 of 2 up")
            assert all(len(line) <= 100 for line in lines)
            (titles,) = [line for line in lines if "BACKEND" in line]
            assert titles.split() == [
                *("POOL", "BACKEND", "STATE", "WEIGHT", "OPEN", "CONN/S", "ERRORS", "MEDIAN", "QUEUE")
            ]
            ask(daemon.port, b"x")
            until(lambda: " ms" in shown(window), lambda: f"a median: {shown(window)}")
            window.press("d")
            window.wait_for("Drain web/a?")
            window.press("y")
            window.wait_for("web/a: draining (until the next restart)")
            window.wait_for("1 of 2 up")
            window.press("r")
            window.press("y")
            window.wait_for("2 of 2 up")
            window.press("w")
            window.wait_for("Weight of web/a, 1 to 256; it is 1.")
            window.type("7")
            window.press("Enter")
            window.wait_for("web/a: weight 7 (until the next reload)")
            window.press("q")
            window.wait_for("ended with 0")


def test_a_narrow_terminal(stage: Stage) -> None:
    with stage.daemon(UNIX) as daemon:
        started(daemon)
        with terminal(top(stage), stage.folder / "tmux", 40) as window:
            lines = window.wait_for("web")
            assert all(len(line) <= 40 for line in lines)
            until(lambda: "OPEN" in shown(window), lambda: f"the table: {shown(window)}")
            assert "QUEUE" not in shown(window)
            window.press("m")
            window.wait_for("Give web/a no clients at all?")
            window.press("y")
            window.wait_for("maintenan")
            window.resize(120, 24)
            window.wait_for("QUEUE")


LONG = """
[pools.application-servers]
backends = ["{0}", "{1}"]
[pools.application-servers.health]
check = "tcp"
interval = "100ms"
fall = 1
[frontends.more]
listen = "127.0.0.1:0"
pool = "application-servers"
"""


@pytest.mark.parametrize("width", [40, 50, 80])
def test_the_chosen_backend_is_shown_in_full(stage: Stage, width: int) -> None:
    with refusing() as first, refusing() as second, stage.daemon(UNIX, LONG.format(first, second)) as daemon:
        started(daemon)
        with terminal(top(stage), stage.folder / "tmux", width) as window:
            window.wait_for("2 of 4 up")
            wait_for_whole(window, "web/a: up, weight 1, 0 open")
            window.press("Down", "Down")
            wait_for_whole(window, f"application-servers/{first}: down: refused, weight 1, 0 open")
            window.press("Down")
            wait_for_whole(window, f"application-servers/{second}: down: refused, weight 1, 0 open")


def wait_for_whole(window: Terminal, text: str) -> None:
    """Wait for a text that may go on in the next line."""
    until(
        lambda: text in " ".join(line.strip() for line in window.screen()),
        lambda: f"{text} in {shown(window)}",
    )


@contextmanager
def shown_by_top(stage: Stage) -> Iterator[tuple[Daemon, Terminal]]:
    """A balancer, and its table in a terminal."""
    with stage.daemon(UNIX) as daemon:
        started(daemon)
        with terminal(top(stage), stage.folder / "tmux", 120) as window:
            window.wait_for("2 of 2 up")
            yield daemon, window


def test_a_balancer_that_ends_is_lost_and_comes_back(stage: Stage) -> None:
    with shown_by_top(stage) as (daemon, window):
        daemon.stop()
        window.wait_for("LOST: cannot ask the admin side")
        daemon.start()
        window.wait_for("2 of 2 up")


def test_a_balancer_that_hangs_stops_neither_the_screen_nor_its_end(stage: Stage) -> None:
    with shown_by_top(stage) as (daemon, window):
        daemon.send(signal.SIGSTOP)
        try:
            window.wait_for("LOST: no answer for ")
            window.press("s")
            window.wait_for("POOL▲")
            begun = time.monotonic()
            window.press("q")
            window.wait_for("ended with 0")
            assert time.monotonic() - begun < 5
        finally:
            daemon.send(signal.SIGCONT)


def test_a_token_that_may_only_look(stage: Stage) -> None:
    for name in ("full", "read"):
        file = stage.folder / name
        file.write_text(f"0123456789abcdef-{name}")
        file.chmod(0o600)
    keys = f'{UNIX}\ntoken_file = "full"\nread_only_token_file = "read"'
    with stage.daemon(keys) as daemon:
        started(daemon)
        command = top(stage, f"--token-file={stage.folder}/read")
        with terminal(command, stage.folder / "tmux", 80) as window:
            window.wait_for("2 of 2 up")
            window.press("d")
            window.wait_for("this token may look and change nothing")
