"""Two versions of nginx share clients by weight: which goes where, in several processes, and on reload."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import pytest

from support.clients import TIMEOUT
from support.command import command
from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.process import run
from support.programs import require
from support.waiting import until

CONFIG = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[frontends.web]
mode = "http"
listen = "127.0.0.1:{port}"

[[frontends.web.routes]]
name = "site"
pools = {{ stable = {stable}, canary = {canary} }}

[pools.stable]
backends = ["{backends[0]}"]

[pools.canary]
backends = ["{backends[1]}"]
"""

CLIENTS = [f"127.0.3.{number}" for number in range(1, 61)]

pytestmark = pytest.mark.requires("nginx", "curl")


@pytest.fixture(scope="module")
def versions() -> Iterator[list[Nginx]]:
    with nginx("stable", "canary") as servers:
        yield servers


class Site:
    """A balancer that shares clients between the two."""

    def __init__(self, folder: Path, versions: list[Nginx], workers: int) -> None:
        self._values = {"workers": workers, "backends": [version.address for version in versions]}
        self.daemon = Daemon(self.config(95, 5, 0), folder)

    def config(self, stable: int, canary: int, port: int) -> str:
        return CONFIG.format(**self._values, stable=stable, canary=canary, port=port)

    def reload(self, stable: int, canary: int) -> None:
        before = self.daemon.log.count("] reloaded ")
        self.daemon.config_file.write_text(self.config(stable, canary, self.daemon.port))
        self.daemon.send(signal.SIGHUP)
        until(lambda: self.daemon.log.count("] reloaded ") > before, lambda: f"reload\n{self.daemon.log}")

    def versions_of(self, clients: list[str]) -> dict[str, str]:
        """Have each client ask twice, and give the version that it has got."""
        found = {}
        for client in clients:
            connection = HTTPConnection("127.0.0.1", self.daemon.port, TIMEOUT, source_address=(client, 0))
            got = set()
            for _ in range(2):
                connection.request("GET", "/")
                got.add(connection.getresponse().read().decode().strip())
            connection.close()
            (found[client],) = got
        return found


def test_each_client_has_one_version_and_as_few_as_can_be_move(
    tmp_path: Path, versions: list[Nginx], workers: int
) -> None:
    site = Site(tmp_path, versions, workers)
    with site.daemon:
        first = site.versions_of(CLIENTS)
        assert 1 <= Counter(first.values())["canary"] <= 9
        # Lines of several workers have no order: all of these are to be there before others come.
        records = site.daemon.wait_for_records(2 * len(CLIENTS))
        assert {record["client"].partition(":")[0]: record["pool"] for record in records} == first
        site.reload(50, 50)
        second = site.versions_of(CLIENTS)
        assert 18 <= Counter(second.values())["canary"] <= 42
        assert {first[client] for client in CLIENTS if second[client] == "stable"} == {"stable"}
        site.reload(100, 0)
        assert set(site.versions_of(CLIENTS).values()) == {"stable"}
        records = site.daemon.wait_for_records(6 * len(CLIENTS))
    assert all(record["status"] == 200 for record in records)


def test_a_second_balancer_decides_likewise(tmp_path: Path, versions: list[Nginx]) -> None:
    found = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(folder, versions, number)
        with site.daemon:
            found.append(site.versions_of(CLIENTS))
    assert found[0] == found[1]


MIRROR = """
[frontends.web]
mode = "http"
listen = "127.0.0.1:0"

[[frontends.web.routes]]
pool = "stable"
mirror = "canary"

[pools.stable]
backends = ["{backends[0]}"]

[pools.canary]
backends = ["{backends[1]}"]
"""


def test_copies_come_to_the_other_version_and_its_end_is_not_noticed(tmp_path: Path) -> None:
    (curl,) = require("curl")
    with nginx("stable", "canary") as (stable, canary):
        text = MIRROR.format(backends=[stable.address, canary.address])
        with Daemon(text, tmp_path) as daemon:
            url = f"http://127.0.0.1:{daemon.port}/a"
            before = canary.requests
            asked = [curl, "-sS", "--max-time", "30", url, url, url, "--data", "b=c", "--next", "-sS", url]
            assert run(asked).split() == 4 * ["stable"]
            # Each look is a request, too.
            looks = count(1)
            until(lambda: canary.requests - before - next(looks) == 4, "four copies")
            canary.kill()
            assert run(asked).split() == 4 * ["stable"]


def test_a_plan_says_what_moves(tmp_path: Path, versions: list[Nginx]) -> None:
    site = Site(tmp_path, versions, 1)
    before, after = tmp_path / "before.toml", tmp_path / "after.toml"
    before.write_text(site.config(95, 5, 1))
    after.write_text(site.config(90, 10, 1))
    assert command("plan", before, after).stdout.splitlines() == [
        "~ frontends.web.routes.site.pools.stable: 95 -> 90 (for new requests)",
        "~ frontends.web.routes.site.pools.canary: 5 -> 10 (for new requests)",
        "changes: 2 keys",
    ]
