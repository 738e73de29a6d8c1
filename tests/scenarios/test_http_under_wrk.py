"""``mode = "http"`` under load, while backends are killed and configurations change: no request fails."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.wrk import Wrk

CONFIG = """
workers = {workers}

[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "{pool}"

[[frontends.web.routes]]
paths = ["/number-{number}"]
answer = {{ status = 404 }}
"""

POOL = """
[pools.{name}]
backends = [
    {{ name = "a", address = "{a.address}" }},
    {{ name = "b", address = "{b.address}", weight = {weight} }},
    {{ name = "c", address = "{c.address}" }},
]
health = {{ check = "http", path = "/health", interval = "100ms", timeout = "1s", fall = 2, rise = 2 }}
"""

CONNECTIONS, SECONDS = 48, 5

CHANGES = 3
"""Of each kind, at least."""

pytestmark = [pytest.mark.requires("nginx", "wrk"), pytest.mark.timeout(120)]


def config(servers: list[Nginx], workers: int, number: int = 0) -> str:
    """Give a configuration in which the number makes a difference to routes, weights, and the pool."""
    a, b, c = servers
    pools = [POOL.format(name=name, a=a, b=b, c=c, weight=1 + number % 3) for name in ("even", "odd")]
    chosen = "odd" if number % 2 else "even"
    return CONFIG.format(workers=workers, pool=chosen, number=number) + "".join(pools)


def test_a_backend_that_is_killed_costs_no_request(tmp_path: Path, workers: int) -> None:
    with nginx("a", "b", "c") as servers, Daemon(config(servers, workers), tmp_path) as daemon:
        victim = servers[1]
        wrk = Wrk(daemon.port, tmp_path, connections=CONNECTIONS, seconds=SECONDS)
        kills = 0
        while wrk.runs:
            kills, before = kills + 1, len(daemon.log)
            victim.kill()
            wait_for(daemon, before, "is down")
            victim.start()
            wait_for(daemon, before, "is down", "is up")
        wrk.finish()
        assert (kills >= CHANGES, wrk.errors.total()) == (True, 0), wrk.process.output
        assert wrk.requests > 100
        assert daemon.stop() == 0


def wait_for(daemon: Daemon, before: int, *changes: str) -> None:
    """Wait until something has been logged of the killed backend since the log had so many characters."""
    daemon.wait_for_log(rf"\A(.|\n){{{before}}}" + "".join(rf"(.|\n)*backend b .*{it}" for it in changes))


def test_reloads_cost_no_request(tmp_path: Path, workers: int) -> None:
    with nginx("a", "b", "c") as servers, Daemon(config(servers, workers), tmp_path) as daemon:
        wrk = Wrk(daemon.port, tmp_path, connections=CONNECTIONS, seconds=SECONDS)
        number = 0
        while wrk.runs:
            number += 1
            daemon.config_file.write_text(config(servers, workers, number))
            daemon.send(signal.SIGHUP)
            daemon.wait_for_log(rf"(reloaded (.|\n)*){{{number}}}")
        wrk.finish()
        assert (number >= CHANGES, wrk.errors.total()) == (True, 0), wrk.process.output
        assert wrk.requests > 100
        assert daemon.stop() == 0
