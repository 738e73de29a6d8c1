"""A gibibyte each way at once arrives as it was sent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from support import bulk
from support.daemon import Daemon
from support.process import Process
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.bulk]
listen = "127.0.0.1:0"
pool = "bulk"

[pools.bulk]
backends = ["127.0.0.1:{port}"]
"""

GIB = 1 << 30
WITHIN = 100.0
"""Seconds; a few are enough on an idle machine, most of which goes into the hashes."""


@pytest.mark.timeout(2 * WITHIN)
def test_a_gibibyte_each_way_at_once_arrives_as_it_was_sent(tmp_path: Path) -> None:
    with _end(tmp_path, "serve", GIB) as server:
        until(lambda: server.output.endswith("\n"), "the server's port")
        with Daemon(CONFIG.format(port=int(server.output)), tmp_path) as daemon:
            before = daemon.memory
            with _end(tmp_path, "connect", GIB, daemon.port) as client:
                assert (client.wait(WITHIN), server.wait(WITHIN)) == (0, 0)
                at_client, at_server = _result(client), _result(server)
            (record,) = daemon.wait_for_records(1)
            grown = daemon.memory - before
    assert at_client["bytes"] == at_server["bytes"] == GIB
    assert at_client["received"] == at_server["sent"]
    assert at_server["received"] == at_client["sent"]
    assert (record["client_bytes"], record["backend_bytes"]) == (GIB, GIB)
    assert record["reason"] in {"client_closed", "backend_closed"}
    assert grown < 16 << 20


def _end(folder: Path, role: str, *numbers: int) -> Process:
    command = [sys.executable, bulk.__file__, role, *map(str, numbers)]
    return Process(command, folder, folder / f"{role}.out")


def _result(end: Process) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(end.output.splitlines()[-1])
    return result
