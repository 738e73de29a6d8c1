"""All local ports are in use: that is our own trouble, of which no backend and no open session may suffer."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from pathlib import Path

import pytest

from support import peers
from support.clients import TIMEOUT
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

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:{port}"
pool = "web"

[pools.web]
backends = [{{ name = "a", address = "{backend}" }}]
retries = 0
{more}
"""

CHECKED = """
[pools.web.health]
check = "tcp"
interval = "50ms"
timeout = "5s"
fall = 2
on_down = "reset"
"""

EJECTING = """
[pools.web.outlier]
consecutive_failures = 1
"""

ECHO = b"still here"


class Clients:
    """Clients of one balancer, each from an address of its own, so that they take none of its ports."""

    def __init__(self, port: int, stack: contextlib.ExitStack) -> None:
        self._port = port
        self._stack = stack
        self._number = itertools.count(1)
        self.sessions: list[socket.socket] = []
        self.turned_away = 0

    def come(self) -> bool:
        """Open one more session, if that can be."""
        number = next(self._number)
        source = (f"127.1.{number // 250}.{number % 250 + 1}", OUT_OF_THE_WAY)
        client = socket.create_connection(("127.0.0.1", self._port), TIMEOUT, source)
        self._stack.enter_context(client)
        if not answers(client):
            self.turned_away += 1
            return False
        self.sessions.append(client)
        return True


def answers(session: socket.socket) -> bool:
    """Whether a session goes on."""
    try:
        session.sendall(ECHO)
        return session.recv(len(ECHO)) == ECHO
    except ConnectionError:
        return False


def run_out(folder: Path, more: str) -> None:
    """Open sessions until no local port is left, and see that nothing happens to them and to the backend."""
    set_kernel("net.ipv4.ip_local_port_range", f"{FIRST_PORT} {FIRST_PORT + PORTS - 1}")
    port = FIRST_PORT + PORTS
    with (
        peers.peer(peers.echo, port=port + 1) as backend,
        Daemon(CONFIG.format(port=port, backend=backend.address, more=more), folder) as daemon,
        contextlib.ExitStack() as stack,
    ):
        clients = Clients(port, stack)
        until(lambda: not clients.come() and clients.turned_away >= MANY, lambda: daemon.log)
        assert clients.sessions
        daemon.wait_for_log(TOLD)
        assert all(map(answers, clients.sessions))
        assert len(re.findall("widen net", daemon.log)) == 1
        for harm in ("is down", "is ejected", "not used for", "no backend left"):
            assert harm not in daemon.log
        clients.sessions.pop().close()
        until(clients.come, "a port that is free again")
        stack.close()
        assert daemon.stop() == 0
        failed = {record["cause"] for record in daemon.access_records if record["reason"] == "local_failure"}
        assert failed == {"no local port free"}
        assert not [record for record in daemon.access_records if record["reason"] == "backend_down"]


TOLD = (
    r"pool web: connections or checks fail for a reason of our own, backends stay as they are \(\d+\): no "
    r"local port free; widen net\.ipv4\.ip_local_port_range"
)


@pytest.mark.requires("ip")
def test_checks_that_have_no_port_say_nothing_about_the_backend(tmp_path: Path) -> None:
    in_own_network(lambda: run_out(tmp_path, CHECKED))


@pytest.mark.requires("ip")
def test_a_dial_that_has_no_port_blames_nobody(tmp_path: Path) -> None:
    in_own_network(lambda: run_out(tmp_path, EJECTING))


@pytest.mark.requires("ip")
def test_an_address_that_this_machine_cannot_have_is_told_at_the_start(tmp_path: Path) -> None:
    """The network of the test has no route to anywhere."""

    def body() -> None:
        config = CONFIG.format(port=FIRST_PORT, backend="[2001:db8::1]:80", more=CHECKED)
        with Daemon(config, tmp_path) as daemon:
            log = daemon.wait_for_log("backend a .* is down: network unreachable").string
            assert log.count("cannot be reached") == 1
            assert (
                r"pool web: backend a ([2001:db8::1]:80) cannot be reached: this machine has no route to it; "
            ) in log
            assert daemon.stop() == 0

    in_own_network(body)
