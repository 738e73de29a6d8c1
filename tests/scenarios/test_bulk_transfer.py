"""A quarter of a gibibyte each way at once arrives as it was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import transfers
from support.daemon import Daemon
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

SIZE = 1 << 28
WITHIN = 100.0
"""Seconds; a few are enough on an idle machine, most of which goes into the hashes."""


@pytest.mark.timeout(2 * WITHIN)
def test_a_quarter_of_a_gibibyte_each_way_at_once_arrives_as_it_was_sent(tmp_path: Path) -> None:
    with transfers.end(tmp_path, "serve", SIZE) as server:
        until(lambda: server.output.endswith("\n"), "the server's port")
        with Daemon(CONFIG.format(port=int(server.output)), tmp_path) as daemon:
            before = daemon.memory
            with transfers.end(tmp_path, "connect", SIZE, daemon.port) as client:
                assert (client.wait(WITHIN), server.wait(WITHIN)) == (0, 0)
            (record,) = daemon.wait_for_records(1)
            grown = daemon.memory - before
    transfers.assert_whole(client, server, SIZE)
    assert (record["client_bytes"], record["backend_bytes"]) == (SIZE, SIZE)
    assert record["reason"] in {"client_closed", "backend_closed"}
    assert grown < 16 << 20
