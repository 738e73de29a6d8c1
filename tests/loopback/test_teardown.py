"""A reactor that is torn down with sessions open, as an embedder does who did not stop the service first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import socket, sys, time
from random import Random
from twisted.internet import reactor
from tcpbalance import Backend, FrontendFactory, Pool, SocketConfig
from tcpbalance.config.addresses import Address
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.binding import bind
from tcpbalance.net.listener import Listener
from tcpbalance.net.data_path import choose
from tcpbalance.net.socket_options import SocketOptions

path, data_path = sys.argv[1:]
server = socket.create_server(("127.0.0.1", 0))
backend = Backend("127.0.0.1:%d" % server.getsockname()[1])
pool = Pool("pool", [backend], clock=time.monotonic, rng=Random(1))
options = SocketOptions.of(SocketConfig())
chosen = choose(data_path, reactor)
chosen.open()
records = []
connector = SocketConnector(reactor, options, chosen)
frontend = FrontendFactory(reactor, pool, on_record=records.append, connector=connector)
Listener(reactor, bind(Address.parse("unix:" + path), options), frontend, 16, chosen).startListening()
client = socket.socket(socket.AF_UNIX)
client.connect(path)

def stop_when_served():
    if backend.active and any(session.served_by for session in frontend.registry.sessions):
        reactor.stop()
    else:
        reactor.callLater(0.01, stop_when_served)

reactor.callWhenRunning(stop_when_served)
reactor.run()
print(len(records), len(frontend.registry.sessions), backend.active)
"""


@pytest.mark.parametrize("data_path", ["auto", "portable"])
def test_every_session_is_accounted_for_and_no_socket_file_is_left(tmp_path: Path, data_path: str) -> None:
    path = tmp_path / "socket"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), data_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1 0 0\n"
    assert not path.exists()
