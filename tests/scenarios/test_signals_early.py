"""A signal that comes before the balancer is up is not lost, and ends nothing in disorder."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from support import peers
from support.clients import ask
from support.configs import WEB
from support.daemon import Daemon
from support.process import Process
from support.waiting import until

CONFIG = (
    WEB
    + """
[pools.web.health]
check = "command"
# No shell, which may clear the mask; and only the first check, which comes the soonest.
argv = ["cp", "/proc/self/status", "blocked"]
interval = "1h"
rise = 1
"""
)

DENIES = """
[frontends.web.access]
deny_file = "denied.txt"
"""

TURNS = 2
"""Starts in one test: where in the start the signal hits is up to the machine."""


def _send_early(daemon: Daemon, process: Process, number: signal.Signals) -> None:
    """Send a signal the moment the socket file is there, without the pause of ``until``."""
    while not (daemon.folder / "web.sock").exists():
        assert process.exit_code is None, daemon.log
    process.send(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_early_end_is_orderly(tmp_path: Path, number: signal.Signals) -> None:
    daemon = Daemon(CONFIG.format(backend="127.0.0.1:1"), tmp_path)
    for _ in range(TURNS):
        with daemon.launch() as process:
            _send_early(daemon, process, number)
            assert daemon.wait() == 0
        assert not (tmp_path / "web.sock").exists()


def test_an_early_sigusr1_harms_nobody(tmp_path: Path) -> None:
    with peers.named("a") as (backend,):
        daemon = Daemon(CONFIG.format(backend=backend.address), tmp_path)
        with daemon.launch() as process:
            _send_early(daemon, process, signal.SIGUSR1)
            daemon.wait_for_log(r"listens on 127\S+ by")
            assert ask(daemon.ports["web"]) == b"a"
            assert daemon.stop() == 0


def _mask(process: Process, name: str, number: signal.Signals) -> bool:
    """Tell whether a signal is in one of the masks of a process: proc_pid_status(5)."""
    found = re.search(rf"^{name}:\s+(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return bool(int(found[1], 16) >> (number - 1) & 1)


def _ignores(process: Process, *numbers: signal.Signals) -> bool:
    return all(_mask(process, "SigIgn", number) for number in numbers)


def _send_until_it_serves(daemon: Daemon, process: Process) -> None:
    """Send SIGHUP and SIGUSR1 again and again."""

    def serves() -> bool:
        process.send(signal.SIGHUP)
        process.send(signal.SIGUSR1)
        assert process.exit_code is None, f"ended with {process.exit_code}\n{daemon.log}"
        return re.search(r"listens on 127\S+ by", daemon.log) is not None

    until(serves, lambda: f"a listener\n{daemon.log}")


def test_signals_are_held_long_before_the_balancer_is_made(tmp_path: Path) -> None:
    with peers.named("a") as (backend,):
        daemon = Daemon(CONFIG.format(backend=backend.address) + DENIES, tmp_path)
        (tmp_path / "denied.txt").touch()
        with daemon.launch() as process:
            until(lambda: _mask(process, "SigBlk", signal.SIGHUP), "SIGHUP held back")
            assert not (tmp_path / "web.sock").exists()
            _send_until_it_serves(daemon, process)
            assert ask(daemon.ports["web"]) == b"a"
            daemon.wait_for_log(r"frontend web: read \S+denied.txt again")
            assert daemon.stop() == 0


def test_what_the_parent_ignores_harms_from_the_first_moment_on(tmp_path: Path) -> None:
    """As the unit for systemd has it: what is ignored stays so until there is a handler."""
    with peers.named("a") as (backend,):
        daemon = Daemon(CONFIG.format(backend=backend.address), tmp_path, ignores=("HUP", "USR1"))
        with daemon.launch() as process:
            # The shell ignores one after the other.
            until(lambda: _ignores(process, signal.SIGHUP, signal.SIGUSR1), "the shell before twistd")
            _send_until_it_serves(daemon, process)
            assert daemon.catches(signal.SIGHUP)
            assert daemon.catches(signal.SIGUSR1)
            assert ask(daemon.ports["web"]) == b"a"
            assert daemon.stop() == 0


def test_no_signal_stays_blocked(tmp_path: Path) -> None:
    """Neither in our threads nor in the programs of health checks, the very first included."""
    with (
        peers.named("a") as (backend,),
        Daemon(CONFIG.format(backend=backend.address), tmp_path) as daemon,
    ):
        assert ask(daemon.ports["web"]) == b"a"
        daemon.wait_for_records(1)
        tasks = [(task / "status").read_text() for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()]
        until((tmp_path / "blocked").exists, "a health check")
        statuses = [*tasks, (tmp_path / "blocked").read_text()]
    assert len(tasks) > 1
    assert "SigBlk" in statuses[-1]
    assert {mask for text in statuses for mask in re.findall(r"SigBlk:\s+(\w+)", text)} == {"0" * 16}
