"""The balancer as the first process of a container, to which the orphans of its checks are given."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support import peers
from support.daemon import Daemon
from support.process import Process
from support.programs import require
from support.waiting import until

CHECKS = 4
"""Checks whose command leaves processes behind."""

COMMAND = f"""
echo >> checks
test "$(wc -l < checks)" -le {CHECKS} || exit 0
(sleep 60 &)
(setsid sleep 0.1 &)
"""
"""One stays in the session of the check and is killed with it; one has left it, and ends by itself."""

CONFIG = """
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]

[pools.web.health]
check = "command"
argv = ["./check"]
interval = "50ms"
timeout = "10s"
"""


class Contained(Daemon):
    """A balancer that is process 1 of a PID namespace."""

    def launch(self) -> Process:
        contained = [*require("unshare"), "--pid", "--fork", "--mount-proc", "--kill-child=SIGTERM"]
        self._process = Process([*contained, *self.command], self.folder, self._log_file)
        return self._process

    @property
    def first_process(self) -> int:
        """Its process id, as it is known outside."""
        (pid,) = children(self.process.pid)
        return pid


def children(parent: int) -> list[int]:
    return [pid for pid, (_, its_parent) in processes().items() if its_parent == parent]


def zombies(parent: int) -> int:
    return sum(state == "Z" and its_parent == parent for state, its_parent in processes().values())


def processes() -> dict[int, tuple[str, int]]:
    """The state and the parent of each process."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = file.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found[int(file.parent.name)] = state, int(parent)
    return found


@pytest.mark.requires("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a PID namespace")
def test_what_checks_leave_behind_does_not_stay_as_zombies(tmp_path: Path) -> None:
    (tmp_path / "check").write_text(f"#!/bin/sh\n{COMMAND}")
    (tmp_path / "check").chmod(0o755)
    checks = tmp_path / "checks"
    with (
        peers.peer(peers.hang) as backend,
        Contained(CONFIG.format(backend=backend.address), tmp_path) as daemon,
    ):
        pid = daemon.first_process
        until(lambda: len(checks.read_text()) > CHECKS, "checks")
        until(lambda: not zombies(pid), lambda: f"{zombies(pid)} zombies", seconds=10.0)
        assert len(children(pid)) <= 1
        assert "is down" not in daemon.log
        # unshare does not pass signals on.
        os.kill(pid, signal.SIGTERM)
        assert daemon.wait() == 0
