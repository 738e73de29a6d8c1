"""All local ports are in use: that is our own trouble, of which no backend and no open session may suffer."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import peers
from support.clients import TIMEOUT, reset
from support.daemon import Daemon
from support.own_network import in_own_network, set_kernel
from support.waiting import until

FIRST_PORT = 40000
PORTS = 10
"""Local ports that there are: few, so that they can be used up."""

OUT_OF_THE_WAY = 20000
"""The clients' port."""

MANY = 25
"""Clients turned away: while they come and go, several checks are due."""

POOLS = ("checked", "ejecting")
"""Each has a frontend of its own, at FIRST_PORT + PORTS and the next, and the same backend."""

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.checked]
listen = "127.0.0.1:{checked}"
pool = "checked"

[frontends.ejecting]
listen = "127.0.0.1:{ejecting}"
pool = "ejecting"

[pools.checked]
backends = [
  {{ name = "a", address = "{backend}" }},
  {{ name = "far", address = "[2001:db8::1]:80", backup = true }},
]
retries = 0

[pools.checked.health]
check = "tcp"
interval = "50ms"
timeout = "5s"
fall = 2
on_down = "reset"

[pools.ejecting]
backends = [{{ name = "b", address = "{backend}" }}]
retries = 0
outlier.consecutive_failures = 1
"""

TOLD = (
    r"pool {pool}: connections or checks fail because of the balancer itself, backends keep their "
    r"state \(\d+\): no local port free; widen net\.ipv4\.ip_local_port_range"
)

NO_ROUTE = "pool checked: backend far ([2001:db8::1]:80) cannot be reached: this machine has no route to it; "

ECHO = b"still here"


class Clients:
    """Clients of one balancer, each from an address of its own, so that they take none of its ports.

    :param ports: those of its frontends, to which they come in turn.
    """

    def __init__(self, ports: Sequence[int], stack: contextlib.ExitStack) -> None:
        self._ports = itertools.cycle(ports)
        self._stack = stack
        self._number = itertools.count(1)
        self.sessions: list[socket.socket] = []
        self.turned_away = 0

    def come(self) -> bool:
        """Open one more session, if that can be."""
        number = next(self._number)
        source = (f"127.1.{number // 250}.{number % 250 + 1}", OUT_OF_THE_WAY)
        client = socket.create_connection(("127.0.0.1", next(self._ports)), TIMEOUT, source)
        self._stack.enter_context(client)
        if not answers(client):
            self.turned_away += 1
            return False
        self.sessions.append(client)
        return True

    def come_until_none_can(self) -> bool:
        """Whether each frontend has sessions, and many have been turned away."""
        came = self.come()
        frontends = {session.getpeername()[1] for session in self.sessions}
        return not came and self.turned_away >= MANY and len(frontends) == len(POOLS)


def answers(session: socket.socket) -> bool:
    """Whether a session goes on."""
    try:
        session.sendall(ECHO)
        return session.recv(len(ECHO)) == ECHO
    except ConnectionError:
        return False


def run_out(folder: Path) -> None:
    """Open sessions until no local port is left, and see that nothing happens to them and to the backend."""
    set_kernel("net.ipv4.ip_local_port_range", f"{FIRST_PORT} {FIRST_PORT + PORTS - 1}")
    ports = {pool: FIRST_PORT + PORTS + number for number, pool in enumerate(POOLS)}
    with (
        peers.peer(peers.echo, port=FIRST_PORT + PORTS + len(POOLS)) as backend,
        Daemon(CONFIG.format(backend=backend.address, **ports), folder) as daemon,
        contextlib.ExitStack() as stack,
    ):
        clients = Clients(list(ports.values()), stack)
        until(clients.come_until_none_can, lambda: daemon.log)
        for pool in POOLS:
            daemon.wait_for_log(TOLD.format(pool=pool))
        assert all(map(answers, clients.sessions))
        # The next line of each pool would come a minute later.
        assert len(re.findall("widen net", daemon.log)) == len(POOLS)
        for harm in ("backend a .* is down", "is ejected", "not used for", "pool checked: no backend left"):
            assert not re.search(harm, daemon.log)
        # After an orderly close, the port would rest in TIME_WAIT.
        reset(clients.sessions.pop())
        until(clients.come, "a port that is free again")
        daemon.wait_for_log("backend far .* is down: network unreachable")
        assert daemon.log.count("cannot be reached") == 1
        assert NO_ROUTE in daemon.log
        stack.close()
        assert daemon.stop() == 0
        failed = {record["cause"] for record in daemon.access_records if record["reason"] == "local_failure"}
        assert failed == {"no local port free"}
        assert not [record for record in daemon.access_records if record["reason"] == "backend_down"]


@pytest.mark.requires("ip")
def test_checks_and_dials_that_have_no_port_blame_nobody(tmp_path: Path) -> None:
    """And an address that this machine cannot have is told at the start: the test's network has no route."""
    in_own_network(lambda: run_out(tmp_path))
