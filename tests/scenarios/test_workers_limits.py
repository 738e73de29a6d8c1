"""A limit on the connections of each client with four workers: as many come as may, whatever way they come,
and while the workers are replaced."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.haproxy import haproxy
from support.own_network import in_own_network
from support.peers import echo, peer
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

pytestmark = [
    pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"),
    pytest.mark.requires("haproxy", "ip"),
]

WORKERS = 4
LIMIT = 10
TRIES = 3 * LIMIT

IPV4 = ["192.0.2.7"]
IPV6 = [f"2001:db8:0:7::{last:x}" for last in range(1, 6)]
"""Of one network of 64 bits, which is one client."""

PORT = 18001
"""Of a second address; in a network of our own each is free."""

CONFIG = """
workers = {workers}
shutdown_grace = "60s"

[frontends.direct]
listen = ["127.0.0.1:0", "[::1]:{port}"]
pool = "echo"
limits = {{ connections_per_client = {limit} }}

[frontends.behind]
listen = "127.0.0.1:0"
pool = "echo"
accept_proxy_protocol = ["127.0.0.1"]
limits = {{ connections_per_client = {limit} }}

[pools.echo]
backends = ["{backend}"]
"""

HAPROXY = """
frontend web
    mode tcp
    bind 127.0.0.1:{{port}}
    bind ::1:{{port}}
    default_backend web
backend web
    mode tcp
    server tcpbalance 127.0.0.1:{port} send-proxy-v2
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[Daemon, int]]:
    """Run the workers, and HAProxy before one of their frontends; give its port, too."""
    with peer(echo) as backend:
        config = CONFIG.format(workers=WORKERS, port=PORT, limit=LIMIT, backend=backend.address)
        with (
            Daemon(config, folder) as daemon,
            haproxy(HAPROXY.format(port=daemon.ports["behind"])) as through,
        ):
            yield daemon, through


def admitted(stack: ExitStack, host: str, port: int, sources: list[str], times: int) -> list[socket.socket]:
    """Come so often, from each address by turns; give the connections that were admitted."""
    let_in = []
    for number in range(times):
        # One that is refused may be reset before it knows that it was connected.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            source = (sources[number % len(sources)], 0)
            client = stack.enter_context(socket.create_connection((host, port), 20, source))
            client.sendall(b"x")
            if client.recv(1) == b"x":
                let_in.append(client)
    return let_in


def is_served(client: socket.socket) -> bool:
    client.sendall(b"x")
    return client.recv(1) == b"x"


def restart(daemon: Daemon, times: int) -> None:
    daemon.send(signal.SIGUSR2)
    done = "the workers have been replaced"
    until(lambda: daemon.log.count(done) == times, lambda: f"{times} times {done!r} in {daemon.log}")


@pytest.mark.parametrize("way", ["direct", "behind"])
@pytest.mark.parametrize(("host", "sources"), [("127.0.0.1", IPV4), ("::1", IPV6)], ids=["IPv4", "IPv6"])
def test_it_admits_exactly_as_many_also_while_workers_are_replaced(
    tmp_path: Path, host: str, sources: list[str], way: str
) -> None:
    def body() -> None:
        for source in sources:
            subprocess.run(["ip", "address", "add", source, "dev", "lo"], check=True)
        with running(tmp_path) as (daemon, through), ExitStack() as stack:
            direct = daemon.ports["direct"] if host == "127.0.0.1" else PORT
            port = through if way == "behind" else direct

            def come(times: int = TRIES) -> list[socket.socket]:
                return admitted(stack, host, port, sources, times)

            before = come(7)
            restart(daemon, 1)
            after = come()
            assert (len(before), len(after)) == (7, LIMIT - 7)
            restart(daemon, 2)
            assert come() == []
            assert all(is_served(client) for client in (*before, *after))
            for client in before[:4]:
                client.close()
            later: list[socket.socket] = []

            def again() -> bool:
                later.extend(come(1))
                return len(later) == 4

            until(again, lambda: f"4 more, and not {len(later)}")
            assert come() == []
            assert all(is_served(client) for client in (*before[4:], *after, *later))

    in_own_network(body)
