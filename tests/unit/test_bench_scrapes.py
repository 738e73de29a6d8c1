"""The balancer whose metrics the bench asks for is as large as it says, and its backends answer."""

from __future__ import annotations

import socket
import sys

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from pathlib import Path

from bench.echo import addresses
from bench.ports import free_port
from bench.process import TREE, Child
from bench.scrapes import BACKENDS, FRONTENDS, config
from bench.web import HOST, get
from tcpbalance.config_reader import read_config


def test_it_has_as_many_frontends_and_backends_as_it_says(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(config(2, 9000, tuple(range(20_000, 20_000 + FRONTENDS)), 8000))
    found = read_config(file)
    assert (found.workers, len(found.frontends), len(found.pools)) == (2, FRONTENDS, FRONTENDS)
    backends = {backend.address for pool in found.pools.values() for backend in pool.backends}
    assert len(backends) == BACKENDS
    assert {len(pool.backends) for pool in found.pools.values()} == {BACKENDS // FRONTENDS}


def test_one_server_answers_at_all_their_addresses(tmp_path: Path) -> None:
    port = free_port()
    assert addresses(1) == [HOST]
    with Child([sys.executable, "-m", "bench.echo", f"{port}", "300"], tmp_path / "log", TREE) as server:
        server.wait_for("ready", 20)
        for address in (addresses(300)[0], addresses(300)[-1]):
            with socket.create_connection((address, port), 20) as sock:
                assert get(sock, "/") == 3
