"""Servers that close connections without a request, sooner or later than the balancer: no client notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.http_visitors import HttpVisitors
from support.web_servers import KINDS, web_server

CLOSES_AFTER = 2
"""Seconds after which servers close a connection: sooner than the balancer does."""

NODES_DEFAULT = 5
"""The same of Node where nothing is said."""

LOG = '[access_log]\npath = "access.log"\nformat = "json"\n'

SITE = """
[frontends.{name}]
mode = "http"
listen = "127.0.0.1:0"
pool = "{name}"

[pools.{name}]
backends = ["{address}"]
http.idle = "{idle}"
"""

pytestmark = pytest.mark.requires("apache2", "node")


@contextmanager
def sites(folder: Path, count: int, idle: str, *addresses: str) -> Iterator[list[int]]:
    """Run a balancer with frontends before each server, and give their ports.

    Each has a pool of its own: so the pauses of its client are those of a connection to the server.

    :param idle: how long the balancer keeps connections.
    """
    config = LOG + "".join(
        SITE.format(name=f"site-{number}-{at}", address=address, idle=idle)
        for at, address in enumerate(addresses)
        for number in range(count)
    )
    with Daemon(config, folder) as daemon:
        yield list(daemon.ports.values())


def test_none_fails_around_the_time_at_which_servers_close(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(web_server(kind, CLOSES_AFTER)) for kind in KINDS]
        ports = stack.enter_context(sites(tmp_path, 12, "4s", *servers))
        visitors = stack.enter_context(HttpVisitors(ports, seed=1, around=CLOSES_AFTER))
        visitors.see(300, 40)
    assert visitors.failures == []
    assert set(visitors.served) == {"GET", "POST"}


@pytest.mark.soak
@pytest.mark.timeout(700)
def test_ten_minutes_before_node_as_it_is(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = []
        # The default, and one that leaves it to Node to close.
        for idle in ("4s", "1m"):
            node = stack.enter_context(web_server("node", None))
            folder = tmp_path / idle
            folder.mkdir()
            ports += stack.enter_context(sites(folder, 40, idle, node))
        visitors = stack.enter_context(HttpVisitors(ports, seed=2, around=NODES_DEFAULT))
        visitors.run(600)
    assert visitors.failures == []
    assert min(visitors.served["GET"], visitors.served["POST"]) > 4000, visitors.served
