"""Several workers as an operator has them, when they are replaced or processes are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import clients
from support.daemon import Daemon
from support.peers import echo, peer
from support.process import has_ended
from support.waiting import until
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")

WORKERS = 2
LIMIT = 10

CONFIG = """
workers = {workers}
shutdown_grace = "60s"
access_log = {{ path = "access.log", format = "json" }}

[frontends.web]
listen = ["127.0.0.1:0", "unix:{folder}/socket"]
pool = "web"
limits = {{ connections_per_client = {limit} }}

[pools.web]
backends = ["{backend}"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[str]:
    with peer(echo) as backend:
        yield CONFIG.format(workers=WORKERS, folder=tmp_path, limit=LIMIT, backend=backend.address)


def source_of(worker: int) -> str:
    """An address of this machine whose clients a worker owns."""
    sources = (f"127.0.0.{last}" for last in range(1, 255))
    return next(it for it in sources if owner(socket.inet_aton(it), WORKERS) == worker)


def is_served(client: socket.socket) -> bool:
    """Whether a client is admitted; one that is not is reset."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except (ConnectionResetError, BrokenPipeError):
        return False


def admitted(port: int, source: str, times: int) -> list[socket.socket]:
    """Come so often; give the connections that were admitted."""
    let_in, come = [], []
    for _ in range(times):
        # One that is refused may be reset before it knows that it was connected.
        with contextlib.suppress(ConnectionResetError):
            come.append(clients.connect(port, source))
    for client in come:
        if is_served(client):
            let_in.append(client)
        else:
            client.close()
    return let_in


def not_in_order(daemon: Daemon) -> list[dict[str, Any]]:
    """Give the records of sessions that ended otherwise than by their clients."""
    return [record for record in daemon.access_records if record["reason"] != "client_closed"]


def restart(daemon: Daemon, times: int = 1) -> None:
    """Have the workers replaced once more.

    :param times: how often they were then.
    """
    daemon.send(signal.SIGUSR2)
    done = "the workers have been replaced"
    until(lambda: daemon.log.count(done) == times, lambda: f"{times} times {done!r} in {daemon.log}")


class Coming:
    """Clients that come and go until it is over, and what became of them."""

    def __init__(self, port: int) -> None:
        self.served = 0
        self.failures: list[str] = []
        self._over = False
        self._port = port

    def run(self, source: str) -> None:
        while not self._over:
            try:
                with clients.connect(self._port, source) as client:
                    client.sendall(b"x" * 5000)
                    size = len(clients.read(client, 5000))
                self.served += size == 5000
                if size != 5000:
                    self.failures.append(f"{size} bytes")
            except OSError as error:
                self.failures.append(str(error))

    def has_served(self, number: int) -> bool:
        return self.served >= number

    def stop(self) -> None:
        self._over = True


@contextmanager
def coming(port: int, sources: list[str]) -> Iterator[Coming]:
    """Have one client after the other come from each address."""
    them = Coming(port)
    threads = [threading.Thread(target=them.run, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    try:
        yield them
    finally:
        them.stop()
        for thread in threads:
            thread.join()


def test_no_client_is_refused_and_no_session_ends_as_workers_are_replaced(
    config: str, tmp_path: Path
) -> None:
    with Daemon(config, tmp_path) as daemon:
        children = daemon.children
        sources = [source_of(worker) for worker in range(WORKERS)]
        open_ones = [clients.connect(daemon.port, source) for source in sources]
        with coming(daemon.port, sources) as them:
            for times in range(1, 4):
                enough = them.served + 20
                restart(daemon, times)
                until(partial(them.has_served, enough), lambda: "more clients")
                assert all(is_served(client) for client in open_ones)
        for client in open_ones:
            client.close()
        assert them.failures == [], not_in_order(daemon)
        until(lambda: all(map(has_ended, children)), lambda: f"the end of {children}")
        assert daemon.stop() == 0


def test_a_limit_holds_exactly_as_workers_are_replaced(config: str, tmp_path: Path) -> None:
    with Daemon(config, tmp_path) as daemon:
        source = source_of(1)
        before = admitted(daemon.port, source, 7)
        restart(daemon)
        after = admitted(daemon.port, source, LIMIT)
        assert (len(before), len(after)) == (7, LIMIT - 7)
        restart(daemon, 2)
        assert admitted(daemon.port, source, 3) == []
        for client in before:
            client.close()

        def one_more() -> bool:
            after.extend(admitted(daemon.port, source, 1))
            return len(after) == LIMIT

        until(one_more, lambda: f"{LIMIT} connections, and not {len(after)}")
        assert admitted(daemon.port, source, 3) == []
        assert all(is_served(client) for client in after)
        for client in after:
            client.close()


def test_a_limit_holds_for_clients_whose_header_comes_to_a_worker_that_was_replaced(
    config: str, tmp_path: Path
) -> None:
    text = config.replace('pool = "web"', 'pool = "web"\naccept_proxy_protocol = ["127.0.0.0/8"]', 1)
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 80\r\n"
    with Daemon(text, tmp_path) as daemon:
        # From both addresses, since the connection comes to any worker, and the client belongs to one.
        early = [clients.connect(daemon.port, source_of(number % WORKERS)) for number in range(LIMIT)]
        for client in early[:4]:
            client.sendall(header)
            assert is_served(client)
        for client in early[4:]:
            client.sendall(header[:10])
        restart(daemon)
        late = [clients.connect(daemon.port, source_of(number % WORKERS)) for number in range(LIMIT)]
        for client in early[4:]:
            client.sendall(header[10:])
        for client in late:
            client.sendall(header)
        served = [client for client in (*early, *late) if is_served(client)]
        assert len(served) == LIMIT
        assert {*early[:4]} <= {*served}
        for client in (*early, *late):
            client.close()


def test_unix_sockets_stay_as_workers_are_replaced(config: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Daemon(config, tmp_path) as daemon:
        inode = os.stat(path).st_ino
        for times in (1, 2):
            restart(daemon, times)
            assert os.stat(path).st_ino == inode
            assert clients.ask_unix(path, b"question") == b"question"
        assert daemon.stop() == 0
        assert not Path(path).exists()


def test_the_supervisor_keeps_no_descriptors_of_workers_that_were_replaced(
    config: str, tmp_path: Path
) -> None:
    with Daemon(config, tmp_path) as daemon:
        restart(daemon)
        until(lambda: len(daemon.children) == WORKERS + 1, lambda: f"{daemon.children}")
        before = len(daemon.descriptors)
        for times in range(2, 5):
            restart(daemon, times)
            until(lambda: len(daemon.children) == WORKERS + 1, lambda: f"{daemon.children}")
        until(lambda: len(daemon.descriptors) <= before, lambda: f"{before}: {daemon.descriptors}")


def test_without_the_supervisor_open_sessions_go_on_and_all_processes_end(
    config: str, tmp_path: Path
) -> None:
    daemon = Daemon(config, tmp_path, may_fail=True)
    with daemon:
        children, port = daemon.children, daemon.port
        assert len(children) == WORKERS + 1
        open_ones = [clients.connect(port, source_of(worker)) for worker in range(WORKERS)]
        assert all(is_served(client) for client in open_ones)
        daemon.send(signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
        until(lambda: refuses(port), lambda: "a port that nothing listens on")
        assert all(is_served(client) for client in open_ones)
        for client in open_ones:
            client.close()
        until(lambda: all(map(has_ended, children)), lambda: f"the end of {children}")
    # Its socket file is left; the next one takes it for what it is.
    with Daemon(config, tmp_path):
        assert clients.ask_unix(str(tmp_path / "socket"), b"question") == b"question"


def test_without_the_supervisor_clients_of_replaced_workers_are_served_whose_header_comes_then(
    config: str, tmp_path: Path
) -> None:
    behind = 'accept_proxy_protocol = ["127.0.0.0/8"]\npreread_timeout = "50s"\npool = "web"\n'
    with Daemon(config.replace('pool = "web"\n', behind), tmp_path, may_fail=True) as daemon:
        port = daemon.port
        open_ones = [clients.connect(port, f"127.0.1.{last}") for last in range(1, 7)]
        headers = [f"PROXY TCP4 192.0.2.{last} 127.0.0.1 1 2\r\nx".encode() for last in range(6)]
        for client, header in zip(open_ones, headers, strict=True):
            client.sendall(header[:7])
        first = clients.connect(port, "127.0.1.9")
        first.sendall(b"PROXY UNKNOWN\r\n")
        assert is_served(first)
        restart(daemon)
        children = daemon.children
        daemon.send(signal.SIGKILL)
        assert daemon.wait() == -signal.SIGKILL
        until(lambda: refuses(port), lambda: "a port that nothing listens on")
        # Those that drain say so, too.
        said = "the supervisor has ended: no new connections; open sessions may finish"
        until(lambda: daemon.log.count(said) > WORKERS, lambda: daemon.log)
        for client, header in zip(open_ones, headers, strict=True):
            client.sendall(header[7:])
            assert client.recv(1) == b"x"
        for client in (first, *open_ones):
            client.close()
        until(lambda: all(map(has_ended, children)), lambda: f"the end of {children}")


def test_sigterm_to_all_processes_ends_all_of_them(config: str, tmp_path: Path) -> None:
    """As service managers do it, in whatever order."""
    with Daemon(config, tmp_path) as daemon:
        children = daemon.children
        open_ones = [clients.connect(daemon.port, source_of(worker)) for worker in range(WORKERS)]
        assert all(is_served(client) for client in open_ones)
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("SIGTERM: no new connections; open sessions may finish")
        assert all(is_served(client) for client in open_ones)
        for client in open_ones:
            client.close()
        assert daemon.wait() == 0
        assert all(map(has_ended, children))


def test_a_second_instance_says_what_it_lacks(config: str, tmp_path: Path) -> None:
    with Daemon(config, tmp_path) as daemon:
        folder = tmp_path / "second"
        folder.mkdir()
        text = config.replace("127.0.0.1:0", f"127.0.0.1:{daemon.port}").replace(
            f"unix:{tmp_path}", f"unix:{folder}"
        )
        second = Daemon(text, folder, may_fail=True)
        assert second.launch().wait(20) == 1
        assert f"cannot listen on 127.0.0.1:{daemon.port}: address already in use" in second.log
        assert not (folder / "socket").exists()
        with clients.connect(daemon.port) as client:
            assert is_served(client)


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0
