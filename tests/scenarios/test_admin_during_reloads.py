"""What the admin side says while the configuration is reloaded is of one configuration, and whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

from support.admin import LOOPBACK, Admin, Stage
from support.coming_again import ComingAgain
from support.daemon import Daemon
from support.visitors import Visitors
from support.waiting import until

RELOADS = 6
POOLS, BACKENDS = 8, 40
"""So many that no answer is made in one turn of the reactor."""


def generation(number: int) -> str:
    """Give tables of which each name or weight says which generation they are of."""
    return "".join(
        f"""
[frontends.f-{number}-{pool}]
listen = "unix:f-{number}-{pool}.sock"
pool = "p{pool}"
[pools.p{pool}]
backends = [{_backends(pool, f"b-{number}-", number)}]
[frontends.w{pool}]
listen = "unix:w{pool}.sock"
pool = "w{pool}"
[pools.w{pool}]
backends = [{_backends(pool, "w", number)}]
"""
        for pool in range(POOLS)
    )


def _backends(pool: int, name: str, weight: int) -> str:
    return ", ".join(
        f'{{ name = "{name}{backend}", address = "127.1.{pool}.{backend + 1}:9", weight = {weight} }}'
        for backend in range(BACKENDS)
    )


def of_view(admin: Admin) -> Iterator[tuple[str, str]]:
    """Give the generation of everything in a view."""
    view = admin.get("/api/v1/view")
    assert len(view["frontends"]) == len(view["pools"]) == 2 * POOLS + 1
    for frontend in view["frontends"]:
        assert "connections_total" in frontend["counters"], frontend
        if frontend["name"].startswith("f-"):
            yield frontend["name"].split("-")[1], frontend["name"]
    yield from of_pools(view["pools"])


def of_pools(pools: list[Any]) -> Iterator[tuple[str, str]]:
    for pool in pools:
        assert "queue_total" in pool["counters"], pool["name"]
        for backend in pool["backends"]:
            assert "connections_total" in backend["counters"], (pool["name"], backend)
            if pool["name"] != "web":
                yield str(backend["weight"]), f"{pool['name']}/{backend['name']}"
            if backend["name"].startswith("b-"):
                yield backend["name"].split("-")[1], f"{pool['name']}/{backend['name']}"


def of_metrics(admin: Admin) -> Iterator[tuple[str, str]]:
    connection = admin.connection()
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 200
    for line in response.read().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("tcpbalance_backend_weight{") and 'pool="web"' not in name:
            yield value, name
        if 'frontend="f-' in name:
            yield name.partition('frontend="f-')[2][0], name
        if 'backend="b-' in name:
            yield name.partition('backend="b-')[2][0], name


def of_config(admin: Admin) -> Iterator[tuple[str, str]]:
    config = admin.get("/api/v1/config")
    for name in config["frontends"]:
        if name.startswith("f-"):
            yield name.split("-")[1], name
    for name, pool in config["pools"].items():
        if name != "web":
            for backend in pool["backends"]:
                yield str(backend["weight"]), f"{name}/{backend['name']}"


class Readers(ComingAgain):
    """Threads that read again and again, from `with` to its end.

    :ivar generations: of each answer, those that it had something of, with one thing of each.
    """

    def __init__(self, admin: Admin) -> None:
        super().__init__([partial(self._read, read, admin) for read in (of_view, of_metrics, of_config)])
        self.generations: list[dict[str, str]] = []
        self.failures: list[BaseException] = []

    def _read(self, read: Any, admin: Admin) -> None:
        while not self._ends.is_set():
            try:
                found = dict(read(admin))
            except (OSError, AssertionError, ValueError) as error:
                self.failures.append(error)
                return
            self.generations.append(found)


def reload(daemon: Daemon, stage: Stage, number: int) -> None:
    before = daemon.log.count("] reloaded ")
    new = stage.folder / "new.toml"
    new.write_text(stage.config(LOOPBACK, generation(number)))
    new.rename(daemon.config_file)
    daemon.send(signal.SIGHUP)
    until(lambda: daemon.log.count("] reloaded ") > before, lambda: f"reload\n{daemon.log}")


def test_each_answer_is_of_one_configuration(echo_stage: Stage) -> None:
    with echo_stage.daemon(more=generation(1)) as daemon:
        admin = Admin(daemon)
        with Visitors(daemon.ports["web"], 1) as visitors, Readers(admin) as readers:
            for number in range(RELOADS):
                reload(daemon, echo_stage, 2 - number % 2)
            visitors.see(10)
        assert readers.failures == []
        assert [found for found in readers.generations if len(found) != 1] == []
        assert {next(iter(found)) for found in readers.generations} == {"1", "2"}
        assert visitors.failures == []
        assert admin.get("/api/v1/status")["config"]["revision"] > RELOADS
