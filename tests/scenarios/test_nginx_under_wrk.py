"""Three nginx under load; one is killed and started again, and only what it had in hand is lost."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.waiting import until
from support.wrk import Wrk

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
connect_timeout = "1s"
backends = [
    {{ name = "a", address = "{a.address}" }},
    {{ name = "b", address = "{b.address}" }},
    {{ name = "c", address = "{c.address}" }},
]

[pools.web.health]
check = "http"
path = "/health"
contains = "ok"
interval = "100ms"
timeout = "1s"
rise = 2
fall = 2
"""

CONNECTIONS = 24


def kill_and_start_again(daemon: Daemon, victim: Nginx) -> float:
    """Kill an nginx, wait until the balancer knows, start it, and wait until the balancer knows that too.

    :returns: when it was dead, in seconds since the epoch.
    """
    victim.kill()
    dead = time.time()
    daemon.wait_for_log(f"backend {victim.name} .*is down")
    victim.start()
    daemon.wait_for_log(f"backend {victim.name} .*is down(.|\n)*backend {victim.name} .*is up")
    return dead


def cut_off(daemon: Daemon, server: Nginx) -> list[dict[str, Any]]:
    """Give the sessions that `server` ended before its whole answer was there."""
    return [
        record
        for record in daemon.access_records
        if record["backend"] == server.name and record["closed_by"] == "backend" and _incomplete(record)
    ]


def _incomplete(record: dict[str, Any]) -> bool:
    return bool(record["backend_bytes"] == 0 or record["reason"] == "backend_reset")


def first_of(daemon: Daemon, backend: Nginx, since: int) -> int | None:
    """Give the number of the first record of a session that the backend served, looking from *since* on."""
    records = daemon.access_records
    return next((n for n in range(since, len(records)) if records[n]["backend"] == backend.name), None)


def started(record: dict[str, Any]) -> float:
    """Give the start of a session in seconds since the epoch."""
    return datetime.fromisoformat(record["start"]).timestamp()


@pytest.mark.requires("nginx", "wrk")
@pytest.mark.timeout(120)
def test_with_a_connection_for_each_request_only_those_in_flight_fail(tmp_path: Path) -> None:
    with nginx("a", "b", "c") as (a, b, c), Daemon(CONFIG.format(a=a, b=b, c=c), tmp_path) as daemon:
        load = Wrk(daemon.port, tmp_path, "-H", "Connection: close", connections=CONNECTIONS)
        daemon.wait_for_records(500)
        dead = kill_and_start_again(daemon, b)
        # The log lags behind: what ended before b was back may be written after it. From b's first session on
        # it is there.
        seen = len(daemon.access_records)
        back = until(lambda: first_of(daemon, b, seen), "b to serve again")
        assert back is not None
        daemon.wait_for_records(back + 600)
        since = Counter(record["backend"] for record in daemon.access_records[back : back + 600])
        load.finish()
        assert daemon.stop() == 0
        records, failed = daemon.access_records, cut_off(daemon, b)
    # A request in flight is a session that b had accepted; there are no more of those than connections.
    assert len(failed) <= CONNECTIONS
    assert all(started(record) <= dead for record in failed)
    # What failed for wrk are exactly these: a session that found b dead was served by another.
    assert load.errors == Counter(read=len(failed)), load.process.output
    # Every answer that left a backend reached wrk, but for those under way when it stopped.
    answered = sum(record["backend_bytes"] > 0 for record in records)
    assert 0 <= answered - load.requests <= CONNECTIONS
    # And b has its third again: 200 of 600, give or take what was under way at both ends.
    assert abs(since["b"] - 200) <= 2 * CONNECTIONS


@pytest.mark.requires("nginx", "wrk")
@pytest.mark.timeout(120)
def test_with_connections_kept_open_only_those_to_the_killed_one_fail(tmp_path: Path) -> None:
    with nginx("a", "b", "c") as (a, b, c), Daemon(CONFIG.format(a=a, b=b, c=c), tmp_path) as daemon:
        load = Wrk(daemon.port, tmp_path, connections=CONNECTIONS)
        # Turns give each backend 8 of the 24. After so many requests each of the 8 has had an answer; before
        # that, the balancer could still have turned to another backend without anyone noticing.
        until(lambda: b.requests > 1000, "requests")
        dead = kill_and_start_again(daemon, b)
        load.finish()
        assert daemon.stop() == 0
    # wrk makes one connection without a request, to see whether there is anyone.
    records = [record for record in daemon.access_records if record["client_bytes"] > 0]
    lost = [record for record in records if record["backend"] == "b" and record["closed_by"] == "backend"]
    assert len(lost) == CONNECTIONS // 3
    assert all(started(record) <= dead for record in lost)
    # A connection has one request in flight, so no more can fail; the 8 came back and were served elsewhere.
    assert load.errors.total() == load.errors["read"] <= len(lost), load.process.output
    assert len(records) == CONNECTIONS + len(lost)
    assert {record["closed_by"] for record in records if record not in lost} == {"client"}
