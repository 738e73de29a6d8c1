"""A backend that was down gets few requests when it comes back, and its whole share after slow start."""

from __future__ import annotations

import signal
import socket
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

from support.clients import connect
from support.daemon import Daemon
from support.peers import Handler, peer
from support.ports import free_port
from support.waiting import until

CONFIG = """
[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{staying}", "{returning}"]
balance = "round_robin"
{slow_start}

[pools.web.health]
check = "tcp"
interval = "100ms"
rise = 1
fall = 1
"""

REQUESTS = 40


def names_itself(name: bytes) -> Handler:
    """Answer each request with a letter."""

    def handle(sock: socket.socket) -> None:
        while b"\r\n\r\n" in sock.recv(10_000):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    return handle


def test_the_share_of_requests_of_a_backend_that_comes_back_rises(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as stack:
        staying = stack.enter_context(peer(names_itself(b"s")))
        with peer(names_itself(b"r"), port) as returning:
            values = {"staying": staying.address, "returning": returning.address}
            daemon = stack.enter_context(Daemon(CONFIG.format(slow_start="", **values), tmp_path))

            def share() -> float:
                """What part of the requests of one connection it gets."""
                served = Counter[bytes]()
                with connect(daemon.port) as client:
                    for _ in range(REQUESTS):
                        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        response = HTTPResponse(client)
                        response.begin()
                        served[response.read()] += 1
                assert served.total() == served[b"s"] + served[b"r"]
                return served[b"r"] / REQUESTS

            until(lambda: share() == 0.5, "equal shares")
            # From here on, so that the other one has long begun.
            daemon.config_file.write_text(CONFIG.format(slow_start='slow_start = "6s"', **values))
            daemon.send(signal.SIGHUP)
            daemon.wait_for_log("reloaded .*: changes: 1 key")
        daemon.wait_for_log(f":{port} is down")
        until(lambda: share() == 0.0, "no request for the backend that is down")
        stack.enter_context(peer(names_itself(b"r"), port))
        seen = [until(share, "the first request for the backend that has come back")]

        def has_all() -> bool:
            seen.append(share())
            return seen[-1] == 0.5

        until(has_all, lambda: f"its whole share: {seen}")
        assert seen[0] < 0.25, seen
        assert any(0.2 < part < 0.4 for part in seen), seen
