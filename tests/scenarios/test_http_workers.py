"""What is counted for each client and for all requests, and passwords of tunnels, with two workers."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from select import select

import pytest

from support import clients
from support.clients import read, read_all, reset
from support.daemon import Daemon
from support.peers import echo, peer
from support.users import PASSWORD, hashed, proxy_authorization, users_file
from support.waiting import until
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")

WORKERS = 2
BURST = 5
MAX_REQUESTS = 3

CONFIG = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[frontends.rated]
mode = "http"
listen = "127.0.0.1:0"
limits = {{ requests_per_client = "1/m", request_burst_per_client = {burst} }}
routes = [{{ answer = {{ status = 200 }} }}]

[frontends.trusting]
mode = "http"
listen = "127.0.0.1:0"
forwarded.trust = ["127.0.0.0/8"]
limits = {{ requests_per_client = "1/m", request_burst_per_client = {burst} }}
routes = [{{ answer = {{ status = 200 }} }}]

[frontends.bounded]
mode = "http"
listen = "127.0.0.1:0"
pool = "silent"
limits.max_requests = {max_requests}

[pools.silent]
backends = ["{silent}"]
"""

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n%b\r\n"


def sources_of(worker: int, count: int) -> list[str]:
    """Addresses of this machine whose clients a worker owns."""
    sources = (f"127.0.{third}.9" for third in range(1, 255))
    found = [source for source in sources if owner(socket.inet_aton(source), WORKERS) == worker]
    return found[:count]


@pytest.fixture
def begun() -> set[int]:
    """The numbers of the requests that have come to the backend, which never answers."""
    return set()


@pytest.fixture
def daemon(begun: set[int], tmp_path: Path) -> Iterator[Daemon]:
    def note(sock: socket.socket) -> None:
        begun.add(int(sock.recv(10_000).split()[1][1:]))
        read_all(sock)

    with peer(note) as silent:
        config = CONFIG.format(workers=WORKERS, burst=BURST, max_requests=MAX_REQUESTS, silent=silent.address)
        with Daemon(config, tmp_path) as running:
            yield running


def statuses(client: socket.socket, number: int, more: bytes = b"") -> list[int]:
    """Send so many requests at once, and give the statuses of their answers, which have no body."""
    client.sendall(GET % (0, more) * number)
    received = b""
    while received.count(b"\r\n\r\n") < number:
        part = client.recv(1 << 16)
        assert part, received
        received += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)]


@pytest.mark.parametrize("connections", [1, 3])
def test_each_client_has_its_rate_exactly_over_all_of_its_connections(
    daemon: Daemon, connections: int
) -> None:
    port = daemon.ports["rated"]
    for source in (*sources_of(0, 2), *sources_of(1, 2)):
        with ExitStack() as stack:
            opened = [stack.enter_context(clients.connect(port, source)) for _ in range(connections)]
            # Alternately, each of them more than it is to have.
            got = [status for _ in range(BURST + 1) for it in opened for status in statuses(it, 1)]
        assert got == [200] * BURST + [429] * (len(got) - BURST)
    served_by = {record["worker"] for record in daemon.wait_for_records(4 * (BURST + 1) * connections)}
    assert served_by == {0, 1}


def test_a_client_that_a_proxy_names_has_the_rate_once_in_each_worker(daemon: Daemon) -> None:
    port = daemon.ports["trusting"]
    proxies = [*sources_of(0, 2), *sources_of(1, 2)]
    got = {}
    for source in proxies:
        with clients.connect(port, source) as client:
            got[source] = statuses(client, BURST + 2, b"X-Forwarded-For: 192.0.2.7\r\n")
    # The second proxy of a worker finds nothing left there.
    assert [got[source].count(200) for source in proxies] == [BURST, 0, BURST, 0]


def test_the_requests_under_way_are_limited_exactly_over_both_workers(
    daemon: Daemon, begun: set[int]
) -> None:
    numbers = count(1)
    with ExitStack() as stack:

        def ask(worker: int) -> socket.socket | None:
            """Send a request; returns its client where it is under way, and None where it is refused."""
            number = next(numbers)
            client = stack.enter_context(clients.connect(daemon.ports["bounded"], sources_of(worker, 1)[0]))
            client.sendall(GET % (number, b""))
            until(lambda: number in begun or select([client], [], [], 0)[0], "an answer, or none to come")
            if number in begun:
                return client
            head = client.recv(10_000)
            assert head.startswith(b"HTTP/1.1 503 "), head
            assert b"\r\nRetry-After: 1\r\n" in head
            return None

        def one_more(worker: int) -> bool:
            client = ask(worker)
            if client is not None:
                under_way.append(client)
            return client is not None

        asked = [ask(number % WORKERS) for number in range(2 * MAX_REQUESTS)]
        under_way = [client for client in asked if client is not None]
        assert asked == [*under_way, *[None] * MAX_REQUESTS]
        # What has ended in one worker makes room for one request, of whichever worker.
        for worker in (1, 0):
            reset(under_way.pop(0))
            until(partial(one_more, worker), "a request in its place")
            assert [ask(0), ask(1)] == [None, None]
    assert len(begun) == MAX_REQUESTS + 2


TUNNELS = """
workers = {workers}

[access_log]
path = "access.log"
format = "json"

[frontends.proxy]
mode = "http"
listen = "127.0.0.1:0"

[frontends.proxy.connect]
allow = ["127.0.0.1:{port}"]
users_file = "users"
connect_timeout = "20s"
"""

COST = 11
"""Of the hashes of passwords: a check takes about a tenth of a second of processor time."""


def answer_to_connect(daemon: Daemon, port: int, source: str, password: bytes) -> bytes:
    """Ask for a tunnel, and give the status of the answer, once bytes have passed through where it is 200."""
    with clients.connect(daemon.port, source) as client:
        head = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n" % port
        client.sendall(head + proxy_authorization(b"alice", password) + b"\r\n")
        received = read(client, 12)
        if received.endswith(b" 200"):
            while b"\r\n\r\n" not in received:
                received += read(client, 1)
            client.sendall(b"hello")
            assert read(client, 5) == b"hello"
        return received[9:12]


def processor_time(pids: Iterable[int]) -> float:
    """Seconds that processes have used so far."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(it[11]) + int(it[12]) for it in fields) / os.sysconf("SC_CLK_TCK")


def test_passwords_of_tunnels_are_checked_and_remembered_in_each_worker(tmp_path: Path) -> None:
    file = users_file(tmp_path, f"alice:{hashed(PASSWORD, COST).decode()}\n")
    with (
        peer(echo) as inside,
        Daemon(TUNNELS.format(workers=WORKERS, port=inside.port), tmp_path) as daemon,
    ):
        started = time.thread_time()
        hashed(PASSWORD, COST)
        one_check = time.thread_time() - started

        def ask(worker: int, password: bytes = PASSWORD) -> bytes:
            return answer_to_connect(daemon, inside.port, sources_of(worker, 1)[0], password)

        def refuses(worker: int) -> bool:
            return ask(worker) == b"407"

        workers = daemon.children
        for worker in range(WORKERS):
            assert ask(worker, b"a guess") == b"407"
            before = processor_time(workers)
            assert ask(worker) == b"200"
            # What the other worker remembers is not known here.
            assert processor_time(workers) - before > one_check / 2
        before = processor_time(workers)
        assert [ask(number % WORKERS) for number in range(20)] == [b"200"] * 20
        assert processor_time(workers) - before < 10 * one_check
        # Whatever is remembered, another password holds at once where the file has come.
        file.write_text(f"alice:{hashed(b'another', 4).decode()}\n")
        for worker in range(WORKERS):
            until(partial(refuses, worker), "the old password is no longer taken")
            assert ask(worker, b"another") == b"200"
        served_by = {record["worker"] for record in daemon.access_records}
        assert served_by == {0, 1}
