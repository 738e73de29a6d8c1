"""What a worker imports, which each of them has in memory: nothing that the supervisor does for all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.configs import pool
from tcpbalance.config_reader import read_config
from tcpbalance.workers.config_memory import write_config

IMPORT = """
import os, sys
import tcpbalance.workers.worker
from tcpbalance.workers.config_memory import read_config
if len(sys.argv) > 1:
    read_config(int(sys.argv[1]))
print(*sorted(sys.modules))
"""

NOT_IN_A_WORKER = [
    # Configuration files are read by the supervisor.
    "cattrs",
    "tomllib",
    "tcpbalance.config.loader",
    "tcpbalance.config_reader",
    # It makes the checks and writes affinity down.
    "tcpbalance.health.monitor",
    "tcpbalance.health.probes",
    "tcpbalance.journal",
    "twisted.web",
    # It serves the admin side, and has the workers.
    "tcpbalance.control.admin_http",
    "tcpbalance.control.openapi",
    "tcpbalance.workers.nursery_process",
    "tcpbalance.workers.place",
    "tcpbalance.workers.supervisor",
    # Its process begins with these.
    "tcpbalance.cli",
    "tcpbalance.daemon",
    "argparse",
    # These are for what few have: names of hosts, endpoints, third parties' policies.
    "pycares",
    "twisted.internet.endpoints",
    "importlib.metadata",
    # A few lines of these do not make up for their memory.
    "decimal",
    "difflib",
    "statistics",
]


def imported(*arguments: str, descriptors: tuple[int, ...] = ()) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        pass_fds=descriptors,
    )
    return done.stdout.split()


def are_not_among(modules: list[str]) -> None:
    found = [name for name in modules for one in NOT_IN_A_WORKER if f"{name}.".startswith(f"{one}.")]
    assert found == []


def test_a_worker_imports_nothing_of_what_the_supervisor_does() -> None:
    modules = imported()
    are_not_among(modules)
    # No reactor before the fork; what it is made of, however, workers share.
    assert "twisted.internet.reactor" not in modules
    assert "twisted.internet.epollreactor" in modules


def test_nor_does_its_configuration_make_it(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(pool('health = { check = "http", path = "/up" }'))
    memory = write_config(read_config(file))
    try:
        are_not_among(imported(str(memory), descriptors=(memory,)))
    finally:
        os.close(memory)
