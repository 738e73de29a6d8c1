"""Several workers as an operator has them: started by either command, reloaded, stopped, killed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import clients
from support.daemon import Daemon
from support.notify import service_manager
from support.peers import echo, peer
from support.process import folder_of
from support.waiting import until
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")

WORKERS = 2

CONFIG = """
workers = {workers}
shutdown_grace = "10s"
{more}

[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""


@pytest.fixture
def backend() -> Iterator[str]:
    with peer(echo) as there:
        yield there.address


def config(backend: str, more: str = "", workers: int = WORKERS) -> str:
    return CONFIG.format(workers=workers, backend=backend, more=more)


def source_of(worker: int) -> str:
    """An address of this machine whose clients a worker owns."""
    return next(
        source
        for source in (f"127.0.0.{last}" for last in range(1, 255))
        if owner(socket.inet_aton(source), WORKERS) == worker
    )


def connect(daemon: Daemon, worker: int) -> socket.socket:
    return clients.connect(daemon.port, source_of(worker))


def is_served(client: socket.socket) -> bool:
    client.sendall(b"x")
    return client.recv(1) == b"x"


def visit(daemon: Daemon, worker: int) -> None:
    with connect(daemon, worker) as client:
        assert is_served(client)


def test_each_client_has_its_worker_which_the_access_log_names(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon:
        for worker in (0, 1, 1):
            visit(daemon, worker)
        records = daemon.wait_for_records(3)
        assert sorted(record["worker"] for record in records) == [0, 1, 1]
        assert daemon.stop() == 0


def test_a_reload_comes_to_all_workers(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon, socket.create_server(("127.0.0.1", 0)) as other:
        # It says more than it was sent, which the other backend does not.
        host, port = other.getsockname()
        daemon.config_file.write_text(config(f"{host}:{port}"))
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r"reloaded .*: begins: 1 backend")
        for worker in range(WORKERS):
            with connect(daemon, worker) as client:
                accepted, _ = other.accept()
                with accepted:
                    client.sendall(b"y")
                    assert accepted.recv(1) == b"y"


def test_a_configuration_with_a_mistake_changes_nothing(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path, may_fail=True) as daemon:
        daemon.config_file.write_text(config(backend).replace("pool = ", "pol = "))
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("everything stays as it was")
        for worker in range(WORKERS):
            visit(daemon, worker)


def test_an_address_that_cannot_be_had_changes_nothing_in_any_worker(backend: str, tmp_path: Path) -> None:
    with (
        Daemon(config(backend), tmp_path, may_fail=True) as daemon,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        host, port = taken.getsockname()
        more = f'[frontends.more]\nlisten = "{host}:{port}"\npool = "web"\n'
        daemon.config_file.write_text(config(backend) + more)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("frontend more: cannot listen on .*: address already in use")
        for worker in range(WORKERS):
            visit(daemon, worker)


def test_addresses_come_and_go_with_reloads(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon:
        path = tmp_path / "socket"
        more = f'[frontends.more]\nlisten = ["127.0.0.1:0", "unix:{path}"]\npool = "web"\n'
        daemon.config_file.write_text(config(backend) + more)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded .*: begins: 1 frontend")
        port = daemon.ports["more"]
        for worker in range(WORKERS):
            with clients.connect(port, source_of(worker)) as client:
                assert is_served(client)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{path}")
            assert is_served(client)
        daemon.config_file.write_text(config(backend))
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded .*: ends: 1 frontend")
        assert not path.exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=20)


def test_the_end_waits_for_sessions_of_all_workers_and_leaves_nothing(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    text = config(backend).replace('"127.0.0.1:0"', f'["127.0.0.1:0", "unix:{path}"]')
    with Daemon(text, tmp_path) as daemon:
        children = daemon.children
        open_ones = [connect(daemon, worker) for worker in range(WORKERS)]
        assert all(is_served(client) for client in open_ones)
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("SIGTERM: no new connections; open sessions may finish")
        until(lambda: not path.exists(), lambda: "the socket file is removed")
        for client in open_ones:
            assert is_served(client)
            client.close()
        assert daemon.wait() == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_second_signal_ends_at_once(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon:
        client = connect(daemon, 0)
        assert is_served(client)
        daemon.send(signal.SIGINT)
        daemon.wait_for_log("SIGINT: no new connections")
        daemon.send(signal.SIGINT)
        assert daemon.wait() == 0
        client.close()


def test_the_access_log_is_opened_anew_in_all_workers(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon:
        visit(daemon, 0)
        daemon.wait_for_records(1)
        (tmp_path / "access.log").rename(tmp_path / "old.log")
        daemon.send(signal.SIGUSR1)
        until((tmp_path / "access.log").exists, "a new file")
        for worker in range(WORKERS):
            visit(daemon, worker)
        assert {record["worker"] for record in daemon.wait_for_records(2)} == {0, 1}


def test_lines_of_several_workers_come_whole_through_a_pipe(backend: str, tmp_path: Path) -> None:
    each, at_once = 60, 4
    os.mkfifo(tmp_path / "access.log")
    reader = os.open(tmp_path / "access.log", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)

    def come(worker: int) -> None:
        for _ in range(each):
            visit(daemon, worker)

    with os.fdopen(reader, "rb") as log, Daemon(config(backend), tmp_path) as daemon:
        with ThreadPoolExecutor(WORKERS * at_once) as threads:
            for done in [threads.submit(come, number % WORKERS) for number in range(WORKERS * at_once)]:
                done.result()
        assert daemon.stop() == 0
        records = [json.loads(line) for line in log.read().splitlines()]
    assert Counter(record["worker"] for record in records) == dict.fromkeys(range(WORKERS), each * at_once)


def test_a_start_that_cannot_serve_ends_with_its_reason(backend: str, tmp_path: Path) -> None:
    text = config(backend).replace('"access.log"', '"missing/access.log"')
    daemon = Daemon(text, tmp_path, may_fail=True)
    assert daemon.launch().wait(20) == 1
    assert "access log" in daemon.log
    assert "create its folder" in daemon.log


def may_run_python(user: str) -> bool:
    """Whether another user may run this Python, which may be in a folder of root's alone."""
    try:
        return subprocess.run([sys.executable, "-c", ""], user=user, check=False).returncode == 0
    except PermissionError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not may_run_python("nobody"), reason="needs a Python that other users may run")
def test_another_user_serves(backend: str) -> None:
    with folder_of("nobody") as folder, Daemon(config(backend, 'user = "nobody"'), folder) as daemon:

        def all_serve() -> None:
            for worker in range(WORKERS):
                visit(daemon, worker)
            for pid in [daemon.process.pid, *daemon.children]:
                status = Path(f"/proc/{pid}/status").read_text()
                assert "\nUid:\t65534\t65534\t65534\t65534\n" in status
                assert "\nCapEff:\t0000000000000000\n" in status

        all_serve()
        # Others come to the sockets that root has opened.
        daemon.send(signal.SIGUSR2)
        daemon.wait_for_log("the workers have been replaced")
        all_serve()


def test_workers_run_on_cpus_by_turns(backend: str, tmp_path: Path) -> None:
    with Daemon(config(backend), tmp_path) as daemon:
        usable = os.sched_getaffinity(0)
        places = [os.sched_getaffinity(pid) for pid in daemon.children]
        pinned = [cpus for cpus in places if len(cpus) == 1]
        assert len(pinned) == WORKERS
        assert len(usable) == 1 or pinned[0] != pinned[1]


def test_the_service_manager_learns_of_the_sessions_of_all_workers(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with service_manager(path) as manager:
        text = config(backend, 'worker_timeout = "2s"')
        with Daemon(text, tmp_path, environment={"NOTIFY_SOCKET": f"{path}"}) as daemon:
            open_ones = [connect(daemon, worker) for worker in (0, 1, 1)]
            assert all(is_served(client) for client in open_ones)
            status = "1 frontend, 1 of 1 backends up, 3 open sessions"
            until(lambda: manager.messages and status in manager.statuses, lambda: f"{manager.statuses}")
            for client in open_ones:
                client.close()
            assert daemon.stop() == 0
