"""Redis through the balancer: redis-cli and redis-benchmark do not notice it."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from support import databases
from support.daemon import Daemon
from support.databases import Database
from support.process import Process, run
from support.programs import require
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.redis]
listen = "127.0.0.1:0"
pool = "redis"

[pools.redis]
balance = "least_connections"
backends = ["{backend}"]

[pools.redis.health]
check = "expect"
send = "PING\\r\\n"
contains = "PONG"
interval = "200ms"
"""

pytestmark = pytest.mark.requires("redis-server", "redis-cli", "redis-benchmark")


@frozen
class Setup:
    """A server with a balancer in front of it."""

    server: Database
    daemon: Daemon

    def cli(self, *command: str, stdin: str = "") -> str:
        """Run redis-cli through the balancer."""
        (client,) = require("redis-cli")
        return run([client, "-p", str(self.daemon.port), *command], input=stdin)

    def calls(self, command: str) -> int:
        """Ask the server itself how often it has carried out a command."""
        (client,) = require("redis-cli")
        statistics = run([client, "-p", str(self.server.port), "INFO", "commandstats"])
        found = re.search(rf"cmdstat_{command}:calls=(\d+)", statistics)
        return int(found[1]) if found else 0


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """Run both."""
    with databases.redis() as server, Daemon(CONFIG.format(backend=server.address), tmp_path) as daemon:
        yield Setup(server, daemon)


def test_redis_benchmark_gets_every_command_through(setup: Setup) -> None:
    (benchmark,) = require("redis-benchmark")
    where = ["-p", str(setup.daemon.port), "--csv"]
    output = run([benchmark, *where, "-n", "5000", "-c", "20", "-t", "set,get,lpush"])
    pipelined = run([benchmark, *where, "-n", "10000", "-c", "20", "-P", "16", "-t", "set"])
    tests = {row["test"]: float(row["rps"]) for row in csv.DictReader(io.StringIO(output))}
    assert set(tests) == {"SET", "GET", "LPUSH"}
    assert min(tests.values()) > 0
    assert "SET" in pipelined
    # The server has carried out each of them; a benchmark may round up to whole pipelines.
    assert 15_000 <= setup.calls("set") <= 16_000
    assert 5_000 <= setup.calls("get") <= 5_100
    assert 5_000 <= setup.calls("lpush") <= 5_100


def test_a_large_value_round_trips(setup: Setup) -> None:
    value = "".join(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(200_000 // 4))
    assert len(value) > 3_000_000
    assert setup.cli("-x", "SET", "large", stdin=value) == "OK\n"
    assert setup.cli("GET", "large") == value + "\n"


def test_a_subscriber_hears_what_others_publish(setup: Setup, tmp_path: Path) -> None:
    (client,) = require("redis-cli")
    command = [client, "-p", str(setup.daemon.port), "SUBSCRIBE", "news"]
    with Process(command, tmp_path, tmp_path / "subscriber") as subscriber:
        until(lambda: "subscribe" in subscriber.output, "the subscription")
        assert [setup.cli("PUBLISH", "news", f"number {n}") for n in range(3)] == ["1\n"] * 3
        until(lambda: "number 2" in subscriber.output, "the last message")
        assert re.findall(r"number \d", subscriber.output) == ["number 0", "number 1", "number 2"]


def test_when_the_server_comes_back_so_do_clients(setup: Setup) -> None:
    assert setup.cli("PING") == "PONG\n"
    setup.server.process.stop()
    setup.daemon.wait_for_log("is down")
    with pytest.raises(AssertionError):
        setup.cli("PING")
    (server,) = require("redis-server")
    again = [server, "--port", str(setup.server.port), "--bind", "127.0.0.1", "--save", ""]
    with Process(again, setup.server.folder, setup.server.folder / "again.log"):
        setup.daemon.wait_for_log(r"is down(.|\n)*is up")
        assert setup.cli("PING") == "PONG\n"
    # Down, the balancer has closed the client at once, and said why.
    (refused,) = [record for record in setup.daemon.wait_for_records(3) if record["reason"] == "no_backend"]
    assert refused["attempts"] == 0
