"""A lookup by the system that does not end holds up neither the end of the balancer nor other backends."""

from __future__ import annotations

import sys
from pathlib import Path

from support import peers
from support.clients import ask, connect
from support.daemon import Daemon
from support.process import Process

PROGRAM = """
import socket, sys, threading
from twisted.scripts.twistd import run

from tcpbalance.net import resolver

# Nobody has to wait at the start for names that hang anyway.
resolver.LOOKUP_TIMEOUT = 0.2

ask = socket.getaddrinfo

def hang(host, *rest):
    if str(host).startswith("hang"):
        print("asked for", host, flush=True)
        threading.Event().wait()
    return ask(host, *rest)

socket.getaddrinfo = hang
run()
"""
"""twistd, with a resolver that does not answer for names that begin with ``hang``."""

CONFIG = """
shutdown_grace = "0s"
resolver.engine = "system"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = [{backends}]
connect_timeout = "30s"
{more}
"""

CHECKED = """
[pools.web.health]
check = "tcp"
interval = "2s"
timeout = "2s"
"""


class Unanswered(Daemon):
    """A balancer whose resolver hangs."""

    def launch(self) -> Process:
        arguments = ["-n", "--pidfile=", "tcpbalance", "--config", f"{self.config_file}"]
        self._process = Process([sys.executable, "-c", PROGRAM, *arguments], self.folder, self._log_file)
        return self._process


def test_it_ends_while_a_name_is_looked_up_for_a_dial(tmp_path: Path) -> None:
    config = CONFIG.format(backends='"hang.example:80"', more="")
    with Unanswered(config, tmp_path) as daemon, connect(daemon.port):
        daemon.wait_for_log("asked for hang.example")
        assert daemon.stop(seconds=10.0) == 0
    assert "Traceback" not in daemon.log


def test_it_ends_while_a_name_is_looked_up_for_a_check(tmp_path: Path) -> None:
    checked = CHECKED.replace("2s", "200ms")
    with Unanswered(CONFIG.format(backends='"hang.example:80"', more=checked), tmp_path) as daemon:
        daemon.wait_for_log("asked for hang.example")
        daemon.wait_for_log("name server timed out")
        assert daemon.stop(seconds=10.0) == 0
        assert "is down" not in daemon.log
    assert "Traceback" not in daemon.log


def test_backends_beside_those_whose_names_hang_are_up(tmp_path: Path) -> None:
    hanging = ", ".join(f'"hang{number}.example:80"' for number in range(20))
    with peers.peer(peers.says(b"here")) as backend:
        backends = f'{hanging}, "localhost:{backend.port}"'
        with Unanswered(CONFIG.format(backends=backends, more=CHECKED), tmp_path) as daemon:
            assert [ask(daemon.port) for _ in range(3)] == [b"here"] * 3
            assert f"localhost:{backend.port} is down" not in daemon.log
            assert daemon.stop(seconds=10.0) == 0
