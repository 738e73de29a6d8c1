"""A name server that does not answer does not hold up the end of the balancer."""

from __future__ import annotations

import sys
from pathlib import Path

from support.clients import connect
from support.daemon import Daemon
from support.process import Process

PROGRAM = """
import socket, sys, threading
from twisted.scripts.twistd import run

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

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = [{backends}]
connect_timeout = "30s"
"""


class Unanswered(Daemon):
    """A balancer whose resolver hangs."""

    def launch(self) -> Process:
        arguments = ["-n", "--pidfile=", "tcpbalance", "--config", f"{self.config_file}"]
        self._process = Process([sys.executable, "-c", PROGRAM, *arguments], self.folder, self._log_file)
        return self._process


def test_it_ends_while_a_name_is_looked_up_for_a_dial(tmp_path: Path) -> None:
    config = CONFIG.format(backends='"hang.example:80"')
    with Unanswered(config, tmp_path) as daemon, connect(daemon.port):
        daemon.wait_for_log("asked for hang.example")
        assert daemon.stop(seconds=10.0) == 0
    assert "Traceback" not in daemon.log
