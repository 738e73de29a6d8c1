"""Figures of two workers that served under load agree with the access log to the last connection and byte at
rest, also after workers were replaced and the configuration was reloaded."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest

from support.admin import LOOPBACK, Admin, Stage
from support.clients import ask, connect, reset
from support.coming_again import ComingAgain
from support.daemon import Daemon
from support.http_echo import http_echoes
from support.ports import free_port
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

pytestmark = [
    pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"),
    pytest.mark.parametrize("workers", [2], indirect=True),
]

SOURCES = [f"127.0.0.{host}" for host in range(2, 10)]
"""Clients of both workers."""

SITE = """
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
pool = "site"
[pools.site]
backends = [{{ name = "a", address = "{a}" }}, {{ name = "b", address = "{b}" }}]
"""

Figures = dict[str, dict[str, int]]
"""Counters by the name of the frontend, or the names of pool and backend."""


class Load(ComingAgain):
    """Clients of TCP and HTTP, from `with` to its end; some break off.

    :ivar count: of those that have come.
    """

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(
            [
                partial(self._run, visit, ports[name], source)
                for name, visit in KINDS
                for source in SOURCES[::2]
            ]
        )
        self.count = 0

    def _run(self, come: Any, port: int, source: str) -> None:
        number = 0
        while not self._ends.wait(0.01):
            number += 1
            try:
                come(port, source, number)
            except (OSError, HTTPException):
                continue  # Its worker was killed.
            with self._lock:
                self.count += 1

    def see(self, further: int) -> None:
        """Wait until so many more have come."""
        wanted = self.count + further
        until(lambda: self.count >= wanted, lambda: f"{wanted} clients: {self.count}")


def transfer(port: int, source: str, number: int) -> None:
    """Send some bytes over TCP, and break off every third time."""
    if number % 3:
        ask(port, bytes(number * 97 % 20_000), source)
        return
    with connect(port, source) as client:
        client.sendall(bytes(number))
        client.recv(1)
        reset(client)


def visit(port: int, source: str, number: int) -> None:
    """Send some requests on one connection, and every fourth time something that is none."""
    if number % 4 == 0:
        with connect(port, source) as client:
            client.sendall(b"no request\r\n\r\n")
            client.recv(1)
        return
    with closing(HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))) as connection:
        for count in range(number % 5 + 1):
            connection.request("POST", "/", bytes(count * 1000))
            connection.getresponse().read()


KINDS = [("web", transfer), ("site", visit)]


def shown(admin: Admin) -> Figures:
    """Give the counters that lines of the access log are held against."""
    view = admin.get("/api/v1/view")
    figures = {it["name"]: it["counters"] for it in view["frontends"]}
    for pool in view["pools"]:
        figures |= {f"{pool['name']}/{it['name']}": it["counters"] for it in pool["backends"]}
    return figures


def is_at_rest(figures: Figures) -> bool:
    active = ("connections_active", "requests_active")
    return not any(figures[name].get(key, 0) for name in ("web", "site") for key in active)


def counted(counters: dict[str, int], ended: str) -> dict[str, int]:
    """Give the bytes, and how many have ended by each reason."""
    ends = {key: count for key, count in counters.items() if key.partition(".")[0] == ended and count}
    return {"bytes_in": counters["bytes_in"], "bytes_out": counters["bytes_out"], **ends}


def logged(records: Collection[dict[str, Any]], ended: str) -> dict[str, int]:
    """Give the same of lines of the access log."""
    return {
        "bytes_in": sum(it["client_bytes"] for it in records),
        "bytes_out": sum(it["backend_bytes"] for it in records),
        **Counter(f"{ended}.{it['reason']}" for it in records),
    }


def compare(daemon: Daemon, admin: Admin) -> tuple[Any, Any]:
    """Give the figures at rest, and the same of the access log."""
    until(lambda: is_at_rest(shown(admin)), lambda: f"rest: {shown(admin)}")
    figures, records = shown(admin), daemon.access_records
    found, wanted = {}, {}
    for name, counters in figures.items():
        frontend, _, backend = name.partition("/")
        its = [
            it for it in records if it["frontend"] == frontend and (not backend or it["backend"] == backend)
        ]
        ended = "requests_ended" if name == "site" else "ended"
        found[name], wanted[name] = counted(counters, ended), logged(its, ended)
    return found, wanted


def agree(daemon: Daemon, admin: Admin) -> None:
    """See that the figures come to be those of the access log, which is written later."""

    def do_agree() -> bool:
        found, wanted = compare(daemon, admin)
        return bool(found == wanted)

    until(do_agree, lambda: "figures like those of the log: {}\n{}".format(*compare(daemon, admin)))


def reload(daemon: Daemon, retries: int) -> None:
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(text.replace("[pools.site]\n", f"[pools.site]\nretries = {retries}\n"))
    daemon.send(signal.SIGHUP)
    daemon.wait_for_log("] reloaded ")


def replace_workers(daemon: Daemon, admin: Admin) -> None:
    """Restart all workers, one after the other."""
    before = set(pids(admin))
    daemon.send(signal.SIGUSR2)
    until(lambda: before.isdisjoint(pids(admin)), lambda: f"other workers\n{daemon.log}")


def kill(admin: Admin, place: int) -> None:
    """Kill a worker, and wait for the next one."""
    (pid,) = [it["pid"] for it in admin.get("/api/v1/status")["processes"] if it.get("worker") == place]
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(pids(admin)) == 2 and pid not in pids(admin), "the next worker")


def pids(admin: Admin) -> list[int]:
    """Give the processes of the workers."""
    status, answer = admin.ask("GET", "/api/v1/status")
    assert status in (200, 503), answer
    return [it["pid"] for it in answer.get("processes", ()) if "worker" in it]


def test_they_agree_after_a_load_a_reload_and_a_rolling_restart(echo_stage: Stage) -> None:
    where = f"127.0.0.1:{free_port()}"
    with (
        http_echoes("a", "b") as (a, b),
        echo_stage.daemon(f'listen = "{where}"', SITE.format(a=a, b=b)) as daemon,
    ):
        admin = Admin(daemon)
        with Load(daemon.ports) as load:
            load.see(300)
            reload(daemon, 2)
            load.see(300)
            replace_workers(daemon, admin)
            load.see(300)
        agree(daemon, admin)
        assert len(daemon.access_records) > 900


def test_of_a_worker_that_is_killed_at_rest_nothing_is_lost_that_was_asked_for(echo_stage: Stage) -> None:
    with http_echoes("a", "b") as (a, b), echo_stage.daemon(LOOPBACK, SITE.format(a=a, b=b)) as daemon:
        admin = Admin(daemon)
        for place in (0, 1):
            with Load(daemon.ports) as load:
                load.see(200)
            agree(daemon, admin)
            kill(admin, place)
            agree(daemon, admin)
        assert len(daemon.access_records) > 400


def test_those_that_were_killed_under_load_count_what_was_last_asked_for(echo_stage: Stage) -> None:
    with http_echoes("a", "b") as (a, b), echo_stage.daemon(LOOPBACK, SITE.format(a=a, b=b)) as daemon:
        admin = Admin(daemon)
        with Load(daemon.ports) as load:
            load.see(200)
            before = shown(admin)
            kill(admin, 1)
            load.see(200)
            after = shown(admin)
        # What is lost is what the worker has counted since then: no counter goes down.
        gone = {"connections_active", "requests_active"}
        less = [
            (name, key)
            for name, counters in before.items()
            for key, count in counters.items()
            if key not in gone and after[name].get(key, 0) < count
        ]
        assert less == []
