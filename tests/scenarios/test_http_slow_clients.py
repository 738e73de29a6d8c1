"""slowhttptest keeps requests and responses from coming to an end; the balancer ends them, others go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from attrs import frozen

from support.clients import TIMEOUT
from support.daemon import Daemon
from support.process import Process
from support.programs import require
from support.waiting import until
from support.web_servers import web_server

CONNECTIONS = 200

PER_CONNECTION = 512 * 1024
"""Bytes that one of them may take in the process."""

LATE = 10.0
"""Seconds in which others have their answer on a busy machine."""

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"
half_close_timeout = "1s"
http.send_timeout = "1s"
http.head_timeout = "2s"
http.body_timeout = "2s"

[pools.web]
backends = ["{backend}"]
"""


@frozen
class Attack:
    """A way to be slow.

    :param options: of slowhttptest.
    :param reason: why the balancer ends such a request.
    """

    options: tuple[str, ...]
    reason: str


ATTACKS = {
    "heads": Attack(("-H", "-u{url}/"), "head_timeout"),
    "bodies": Attack(("-B", "-s100000", "-u{url}/hash"), "body_timeout"),
    "readers": Attack(("-X", "-w256", "-y512", "-n20", "-z8", "-u{url}/stream"), "send_timeout"),
}

pytestmark = pytest.mark.requires("node", "slowhttptest")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with (
        web_server("node") as backend,
        Daemon(CONFIG.format(backend=backend), tmp_path_factory.mktemp("slow")) as running,
    ):
        yield running


def ask(daemon: Daemon) -> float:
    """Fetch a page on a connection of its own, and give how long that took, in seconds."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", daemon.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/", headers={"User-Agent": "visitor"})
        response = connection.getresponse()
        assert (response.status, response.read() != b"") == (200, True)
    finally:
        connection.close()
    return time.monotonic() - began


def ends(daemon: Daemon) -> Counter[str]:
    """Give why the requests of all but visitors have ended."""
    return Counter(str(it["reason"]) for it in daemon.access_records if it["user_agent"] != "visitor")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ATTACKS)
def test_slow_clients_are_ended_and_hold_up_nobody(daemon: Daemon, tmp_path: Path, name: str) -> None:
    (program,) = require("slowhttptest")
    attack = ATTACKS[name]
    ask(daemon)
    memory = before = daemon.memory
    descriptors = len(daemon.descriptors)
    url = f"http://127.0.0.1:{daemon.port}"
    how = [f"-c{CONNECTIONS}", f"-r{CONNECTIONS}", "-i30", "-l50", "-p5"]
    command = [program, *how, *(option.format(url=url) for option in attack.options)]
    times = []

    def ended() -> bool:
        """Whether all of its requests have been ended; a visitor is served meanwhile."""
        nonlocal memory
        times.append(ask(daemon))
        memory = max(memory, daemon.memory)
        return ends(daemon)[attack.reason] >= CONNECTIONS

    with Process(command, tmp_path, tmp_path / "slowhttptest.log") as process:
        until(ended, lambda: f"{CONNECTIONS} ends: {ends(daemon)}\n{process.output}", 50)
        # Also those of clients that had to get the rest of what was sent to them, and did not.
        until(lambda: len(daemon.descriptors) < descriptors + 10, "connections closed")
        assert process.exit_code in (None, 0)
    assert max(times) < LATE
    assert memory - before < CONNECTIONS * PER_CONNECTION
