"""What processes import: a worker, of which each has it in memory, and a command, whose user waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.configs import pool
from support.not_in_a_worker import NOT_IN_A_WORKER, are_not_among
from tcpbalance.config_reader import read_config
from tcpbalance.workers.config_memory import write_config

WORKER = """
import sys
import tcpbalance.workers.worker
from tcpbalance.workers.config_memory import read_config
if len(sys.argv) > 1:
    read_config(int(sys.argv[1]))
print(*sorted(sys.modules))
"""

NURSERY = """
import linecache
from tcpbalance.workers import nursery
nursery._import_main("tcpbalance.workers.worker")
print(len(linecache.cache))
"""

COMMAND = """
import sys
import tcpbalance.cli.admin_client, tcpbalance.cli.status, tcpbalance.cli.status_table
print(*sorted(sys.modules))
"""

CHECK = """
import sys
import tcpbalance.config_reader
print(*sorted(sys.modules))
"""

DAEMON = """
import sys
import tcpbalance.daemon
print(*sorted(sys.modules))
"""

RELOAD = """
import sys
from twisted.internet import reactor
from tcpbalance.balancer import Balancer
from tcpbalance.config_reader import read_config
before, after = map(read_config, sys.argv[1:])
balancer = Balancer.from_config(reactor, before)
balancer.startService()
prepared = balancer.prepare_config(after)
modules = {*sys.modules}
balancer.apply(prepared)
balancer.stopService()
print(*sorted({*sys.modules} - modules))
"""
"""Comes to another configuration, and says what that has imported outside of the thread."""


def imported(program: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        pass_fds=descriptors,
    )
    return done.stdout.split()


def test_a_worker_imports_nothing_of_what_the_supervisor_does() -> None:
    modules = imported(WORKER)
    are_not_among(modules, NOT_IN_A_WORKER)
    # No reactor before the fork; what it is made of, however, workers share.
    assert "twisted.internet.reactor" not in modules
    assert "twisted.internet.epollreactor" in modules


def test_a_nursery_keeps_no_source_of_what_it_has_imported() -> None:
    assert imported(NURSERY) == ["0"]


def test_nor_does_its_configuration_make_it(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(pool('health = { check = "http", path = "/up" }'))
    memory = write_config(read_config(file))
    try:
        are_not_among(imported(WORKER, str(memory), descriptors=(memory,)), NOT_IN_A_WORKER)
    finally:
        os.close(memory)


def test_a_command_that_asks_the_admin_side_imports_neither_twisted_nor_models() -> None:
    are_not_among(imported(COMMAND), ["twisted", "attr", "tcpbalance.config.models", "tcpbalance.net"])


def test_a_reload_imports_what_serves_while_it_is_prepared(tmp_path: Path) -> None:
    services = 'health = { check = "http", path = "/up" }\naffinity = { ttl = "1m", state_file = "affinity" }'
    files = [tmp_path / name for name in ("before", "after")]
    for file, text in zip(files, (pool(""), pool(services)), strict=True):
        file.write_text(text.replace("0.0.0.0:5432", "127.0.0.1:0"))
    files[1].write_text(files[1].read_text().replace("[frontends.db]", '[frontends.db]\nmode = "http"'))
    assert imported(RELOAD, *map(str, files)) == []


def test_reading_a_configuration_imports_nothing_that_serves() -> None:
    serves = ["tcpbalance.services", "tcpbalance.proxy", "tcpbalance.workers", "twisted.internet.reactor"]
    are_not_among(imported(CHECK), serves)


def test_a_process_that_serves_itself_has_no_supervisor_and_no_admin_side() -> None:
    rest = ["tcpbalance.workers", "tcpbalance.control.operations", "twisted.web", "pycares"]
    are_not_among(imported(DAEMON), rest)
