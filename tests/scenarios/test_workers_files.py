"""Files of the configuration and several workers: read once, handed over, and taken up when they change."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import clients
from support.certificates import self_signed
from support.daemon import Daemon
from support.hellos import real_hello
from support.peers import echo, peer
from support.waiting import until
from tcpbalance.workers.owner import owner
from tcpbalance.workers.shared_counts import can_count

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")

WORKERS = 2
NAME = "web.example"

CONFIG = """
workers = 2
shutdown_grace = "5s"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.access]
deny_file = "banned.txt"

[frontends.web.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.web]
backends = ["{backend}"]
"""


class Edge:
    """A balancer with workers, and the folder with its files."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder

    def renew(self) -> bytes:
        """Put another certificate and its key in the place of those that are there; give the certificate."""
        return renew(self.folder)

    def shown(self, worker: int) -> bytes:
        """Have a worker serve a client, and give the certificate that the client was shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            clients.connect(self.daemon.port, source_of(worker)) as sock,
            context.wrap_socket(sock) as client,
        ):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            return client.getpeercert(binary_form=True) or b""

    def all_show(self, certificate: bytes) -> bool:
        return all(self.shown(worker) == certificate for worker in range(WORKERS))


def source_of(worker: int) -> str:
    return next(
        source
        for source in (f"127.0.0.{last}" for last in range(1, 255))
        if owner(socket.inet_aton(source), WORKERS) == worker
    )


def renew(folder: Path) -> bytes:
    new = folder / "new"
    new.mkdir(exist_ok=True)
    cert, key = self_signed(new, NAME)
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    cert.rename(folder / "web.pem")
    key.rename(folder / "web.key")
    return der


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    (tmp_path / "banned.txt").write_text("")
    renew(tmp_path)
    with peer(echo) as backend, Daemon(CONFIG.format(backend=backend.address), tmp_path, may_fail=True) as it:
        yield Edge(it, tmp_path)


def test_a_certificate_that_changes_comes_to_all_workers(edge: Edge) -> None:
    new = edge.renew()
    until(lambda: edge.all_show(new), lambda: f"the new certificate\n{edge.daemon.log}")
    assert "frontend web: read " in edge.daemon.log
    assert "/proc/" not in edge.daemon.log


def test_one_that_cannot_be_used_stays_as_it_was_in_all_workers(edge: Edge) -> None:
    before = edge.shown(0)
    (edge.folder / "web.pem").write_text("no certificate")
    edge.daemon.wait_for_log("files could not be read again, what was read before stays in use")
    edge.daemon.send(signal.SIGHUP)
    edge.daemon.wait_for_log("everything stays as it was")
    assert edge.all_show(before)


def test_a_worker_that_is_replaced_needs_no_file(edge: Edge) -> None:
    before = edge.shown(0)
    for name in ("web.pem", "web.key", "banned.txt"):
        (edge.folder / name).unlink()
    for pid in edge.daemon.children:
        if len(os.sched_getaffinity(pid)) == 1:
            os.kill(pid, signal.SIGKILL)
    edge.daemon.wait_for_log("was ended by SIGKILL")
    assert edge.all_show(before)


def test_a_key_is_on_the_disk_once(tmp_path: Path) -> None:
    renew(tmp_path)
    (tmp_path / "banned.txt").write_text("")
    with (
        peer(echo) as backend,
        # Where temporary files would be.
        Daemon(
            CONFIG.format(backend=backend.address), tmp_path, environment={"TMPDIR": f"{tmp_path}"}
        ) as daemon,
    ):
        edge = Edge(daemon, tmp_path)
        new = edge.renew()
        daemon.send(signal.SIGHUP)
        until(lambda: edge.all_show(new), lambda: f"the new certificate\n{daemon.log}")
        key = (tmp_path / "web.key").read_bytes().splitlines()[1]
        files = [file for file in tmp_path.rglob("*") if file.is_file() and key in file.read_bytes()]
        assert files == [tmp_path / "web.key"]
        handed_over = [name for pid in (daemon.process.pid, *daemon.children) for name in with_text(pid, key)]
        assert handed_over
        assert all(name.startswith("/memfd:") for name in handed_over), handed_over


def with_text(pid: int, text: bytes) -> Iterator[str]:
    """Give the names of the open files of a process that contain a text: proc_pid_fd(5)."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if descriptor.is_file() and text in descriptor.read_bytes():
            yield os.readlink(descriptor)


def test_a_deny_file_that_changes_comes_to_all_workers(edge: Edge) -> None:
    def is_refused(worker: int) -> bool:
        # Not by SSLSocket, which leaves a socket open that was reset before it began.
        try:
            with clients.connect(edge.daemon.port, source_of(worker)) as sock:
                sock.sendall(real_hello())
                return not sock.recv(1)
        except OSError:
            return True

    assert not any(is_refused(worker) for worker in range(WORKERS))
    (edge.folder / "banned.txt").write_text("127.0.0.0/8\n")
    until(lambda: all(is_refused(worker) for worker in range(WORKERS)), lambda: edge.daemon.log)


def test_a_reload_reads_the_files_at_once(edge: Edge) -> None:
    new = edge.renew()
    edge.daemon.send(signal.SIGHUP)
    edge.daemon.wait_for_log(r"reloaded ")
    until(lambda: edge.all_show(new), lambda: f"the new certificate\n{edge.daemon.log}")


def test_a_session_of_tls_is_taken_up_again_by_the_worker_of_the_client(edge: Edge) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def visit(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with (
            clients.connect(edge.daemon.port, source_of(1)) as sock,
            context.wrap_socket(sock, session=session) as client,
        ):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            return bool(client.session_reused), client.session

    reused, session = visit(None)
    assert not reused
    for _ in range(3):
        reused, session = visit(session)
        assert reused


def test_the_files_of_answers_come_to_all_workers_with_each_reload(tmp_path: Path) -> None:
    page = tmp_path / "about.json"
    page.write_text('{"version": 1}')
    route = '{ paths = ["/about"], answer = { status = 200, file = "about.json" } }'
    text = f'workers = 2\n[frontends.web]\nlisten = "127.0.0.1:0"\nmode = "http"\nroutes = [{route}]\n'
    request = b"GET /about HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
    with Daemon(text, tmp_path) as daemon:

        def all_answer(body: bytes) -> bool:
            sources = [source_of(worker) for worker in range(WORKERS)]
            answers = [clients.ask(daemon.port, request, source, finish=False) for source in sources]
            assert all(b"Content-Type: application/json\r\n" in answer for answer in answers)
            return all(answer.endswith(b"\r\n\r\n" + body) for answer in answers)

        assert all_answer(b'{"version": 1}')
        page.write_text('{"version": 2}')
        assert all_answer(b'{"version": 1}')
        daemon.send(signal.SIGHUP)
        until(lambda: all_answer(b'{"version": 2}'), "the other page from all workers")
