"""A pool at its limit: backends never have more connections than they may, and clients are served or told."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support import peers
from support.clients import ask, connect, read_all
from support.daemon import Daemon
from support.process import Process
from support.programs import require

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
queue = {queue}
queue_timeout = {timeout}
backends = [{backends}]
"""

MOST = 10
"""Connections that a backend may have at once."""

BACKENDS, CLIENTS, SECONDS = 3, 500, 2

SERVICE = 0.02
"""Seconds that a backend takes for an answer: so all together give at most 1500 a second."""

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

MARGIN = 1.0
"""Seconds by which a busy machine may be late."""

Record = dict[str, Any]


class Counting:
    """Serves one request a connection, and counts the connections that there are at once.

    A connection of which the other side has let go is none, whether that was heard of here or not.

    :param service: seconds that an answer takes.
    :ivar most: connections at once so far.
    """

    def __init__(self, service: float) -> None:
        self._service = service
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.most = 0

    def __call__(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)
            self.most = max(self.most, len(self._open) - _left(self._open))
        try:
            if sock.recv(1 << 16):
                time.sleep(self._service)
                sock.sendall(ANSWER)
        finally:
            with self._lock:
                self._open.discard(sock)


def _left(open_: Iterable[socket.socket]) -> int:
    poll = select.poll()
    for sock in open_:
        poll.register(sock, select.POLLRDHUP)
    return len(poll.poll(0))


@contextmanager
def balancer(
    folder: Path, *handlers: Counting, queue: int, timeout: float, most: int = MOST
) -> Iterator[Daemon]:
    """Run a balancer over some backends."""
    with ExitStack() as stack:
        addresses = [stack.enter_context(peers.peer(handler)).address for handler in handlers]
        backends = ", ".join(
            f'{{ address = "{address}", max_connections = {most} }}' for address in addresses
        )
        config = CONFIG.format(backends=backends, queue=queue, timeout=timeout)
        yield stack.enter_context(Daemon(config, folder))


def under_wrk(folder: Path, queue: int, timeout: float) -> tuple[str, list[Record], list[int]]:
    """Let wrk loose on a pool, a connection for each request.

    :returns: what wrk says; the access log; and the most connections of each backend.
    """
    (wrk,) = require("wrk")
    handlers = [Counting(SERVICE) for _ in range(BACKENDS)]
    with balancer(folder, *handlers, queue=queue, timeout=timeout) as daemon:
        how = ["-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "--timeout", "10s", "-H", "Connection: close"]
        load = Process([wrk, *how, f"http://127.0.0.1:{daemon.port}/"], folder, folder / "wrk.log")
        assert load.wait(SECONDS + 20) == 0
        assert daemon.stop() == 0
        return load.output, daemon.access_records, [handler.most for handler in handlers]


def is_served(record: Record) -> bool:
    return bool(record["backend_bytes"] == len(ANSWER))


def reasons_of_others(records: list[Record]) -> Counter[str]:
    """Why sessions ended that were not served."""
    return Counter(record["reason"] for record in records if not is_served(record))


def longest_wait(records: list[Record]) -> float:
    """Give the seconds that the last of those served had to wait."""
    return max(seconds(record) for record in records if is_served(record))


def seconds(record: Record) -> float:
    """Give how long a session waited."""
    return float(record["wait_ms"]) / 1000.0


def answers(report: str) -> int:
    """How many answers wrk has had."""
    found = re.search(r"(\d+) requests in", report)
    assert found is not None, report
    return int(found[1])


@pytest.mark.requires("wrk")
def test_where_the_queue_has_room_for_all_each_is_served(tmp_path: Path) -> None:
    timeout = 10.0
    report, records, most = under_wrk(tmp_path, queue=CLIENTS, timeout=timeout)
    assert most == [MOST] * BACKENDS
    others = reasons_of_others(records)
    # wrk makes one connection without a request, to see whether there is anyone, and leaves when its time is
    # over.
    assert set(others) <= {"client_closed", "client_reset"}
    assert others.total() <= 1 + CLIENTS
    # All but those under way at its end reached wrk.
    assert 0 <= len(records) - others.total() - answers(report) <= CLIENTS
    assert answers(report) > 0
    assert "Socket errors" not in report
    assert longest_wait(records) < timeout


@pytest.mark.requires("wrk")
def test_where_it_has_not_the_others_are_told(tmp_path: Path) -> None:
    """At 1500 answers a second, the last of 200 in the queue would have to wait longer than they may."""
    timeout = 0.1
    report, records, most = under_wrk(tmp_path, queue=200, timeout=timeout)
    assert most == [MOST] * BACKENDS
    others = reasons_of_others(records)
    assert {"queue_full", "queue_timeout"} <= set(others)
    left = others["client_closed"] + others["client_reset"]
    assert left + others["queue_full"] + others["queue_timeout"] == others.total()
    assert left <= 1 + CLIENTS
    assert 0 < answers(report) <= len(records) - others.total()
    assert longest_wait(records) < timeout + MARGIN
    told = [seconds(record) for record in records if record["reason"] == "queue_timeout"]
    assert timeout <= min(told) <= max(told) < timeout + MARGIN


def test_many_who_wait_for_one_address_do_not_delay_the_first_of_another(tmp_path: Path) -> None:
    with (
        balancer(tmp_path, Counting(0.03), queue=100, timeout=10.0, most=1) as daemon,
        ExitStack() as stack,
    ):
        many = [stack.enter_context(connect(daemon.port, "127.0.1.1")) for _ in range(20)]
        for client in many:
            client.sendall(b"?")
            client.shutdown(socket.SHUT_WR)
        assert ask(daemon.port, b"?", "127.0.1.2") == ANSWER
        assert [read_all(client) for client in many] == [ANSWER] * len(many)
        records = daemon.wait_for_records(1 + len(many))
    (one,) = (record for record in records if record["client"].startswith("127.0.1.2:"))
    came, dialled = _came(one), _dialled(one)
    # The one whose turn had come is served, and one more may have been next.
    assert sum(came < _dialled(record) < dialled for record in records) <= 2
    assert sum(_dialled(record) > dialled for record in records) > len(many) // 2


def _came(record: Record) -> float:
    return datetime.fromisoformat(record["start"]).timestamp()


def _dialled(record: Record) -> float:
    """Give when its turn had come."""
    return _came(record) + seconds(record)
