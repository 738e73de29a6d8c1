"""Clients of the admin side that are slow, send too much or read nothing, and one that comes at the end: what
is balanced never waits for them."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
from contextlib import ExitStack
from functools import partial
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.clients import connect
from support.coming_again import ComingAgain
from support.visitors import Visitors
from support.waiting import until

SOURCES = [f"127.0.0.{host}" for host in range(2, 10)]

MIB, GIB = 1 << 20, 1 << 30

MAY_GROW = 48 * MIB
"""Resident memory that a balancer under load may come to have more, whatever clients of the admin side do."""

LONG_NAME = "\N{GRINNING FACE}" * 300
"""Of a backend, and so in each event that is about it, where JSON has twelve bytes for each of these."""


class Slow(ComingAgain):
    """Clients that send the head of a request byte by byte, and come again a second after they are ended.

    :param port: of the admin side.
    :ivar ended: how often one was.
    """

    def __init__(self, port: int, count: int) -> None:
        super().__init__([self._send] * count)
        self._port = port
        self.ended = 0

    def _send(self) -> None:
        while not self._ends.is_set():
            try:
                with connect(self._port) as sock:
                    for byte in b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 1000:
                        if self._ends.wait(0.05):
                            return
                        sock.sendall(bytes([byte]))
            except OSError:
                with self._lock:
                    self.ended += 1
                self._ends.wait(1)


def test_slow_clients_and_a_long_body_keep_nobody_waiting(echo_stage: Stage, tmp_path: Path) -> None:
    body = tmp_path / "body"
    with body.open("wb") as file:
        file.truncate(GIB)
    with echo_stage.daemon() as daemon:
        admin = Admin(daemon)
        with Visitors(daemon.port, 4, SOURCES) as visitors:
            visitors.see(100)
            memory = daemon.memory
            with Slow(admin.port, 100) as slow:
                until(lambda: slow.ended, "more than there may be")
                for headers in (["Expect:"], ["Expect:", "Transfer-Encoding: chunked"], []):
                    assert post(admin.port, body, headers) == "413 body_too_long"
                    visitors.see(50)
                assert admin.ask("PATCH", BACKEND_A, {"state": "ready"})[0] == 200
            visitors.see(100)
            assert daemon.memory < memory + MAY_GROW
        assert visitors.failures == []


def post(port: int, body: Path, headers: list[str]) -> str:
    """Send a file as the body of a request; give the status and the code of the answer."""
    more = [word for header in ("Content-Type: application/json", *headers) for word in ("-H", header)]
    command = ["curl", "-sS", "-X", "POST", "-T", f"{body}", *more, "-w", "%{http_code}", "--max-time", "60"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/api/v1/bans"], capture_output=True, check=False, timeout=80
    )
    answer, status = done.stdout[:-3], done.stdout[-3:].decode()
    return f"{status} {json.loads(answer)['error']['code'] if answer else done.stderr.decode()}"


def test_a_stream_that_nobody_reads_is_dropped(echo_stage: Stage) -> None:
    more = '[frontends.other]\nlisten = "127.0.0.1:0"\npool = "other"\n[pools.other]\n'
    more += f'backends = [{{ name = "{LONG_NAME}", address = "127.0.0.1:9" }}]\n'
    with echo_stage.daemon(more=more) as daemon:
        admin = Admin(daemon)
        with (
            Visitors(daemon.ports["web"], 4, SOURCES) as visitors,
            connect(admin.port, receive_buffer=4096) as unread,
            connect(admin.port) as read,
        ):
            for sock in (unread, read):
                sock.sendall(
                    b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
                )
            visitors.see(50)
            memory, got, states = daemon.memory, 0, cycle(["drain", "ready"])
            while not is_dropped(unread):
                order = {"state": next(states)}
                assert admin.ask("PATCH", f"/api/v1/pools/other/backends/{quote(LONG_NAME)}", order)[0] == 200
                got += len(read_what_is_there(read))
                assert got < 16 * MIB, "it is not dropped"
            # Some of it the system has kept.
            assert got > MIB
            assert not is_dropped(read)
            visitors.see(50)
            assert daemon.memory < memory + MAY_GROW
            assert admin.get("/api/v1/status")["version"]
        assert visitors.failures == []


def is_dropped(sock: socket.socket) -> bool:
    """Whether the other side has broken the connection off; reads nothing."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def read_what_is_there(sock: socket.socket) -> bytes:
    """Read what has come."""
    found = b""
    while select.select([sock], [], [], 0)[0]:
        part = sock.recv(1 << 16)
        assert part, "the stream has ended"
        found += part
    return found


MANY = "".join(
    f"""
[pools.p{pool}]
backends = [{", ".join(f'"127.1.{pool}.{number + 1}:9"' for number in range(50))}]
[frontends.f{pool}]
listen = "unix:{pool}.sock"
pool = "p{pool}"
"""
    for pool in range(6)
)


class Asking(ComingAgain):
    """Clients that ask one thing again and again, until the balancer is gone.

    :ivar answers: that were whole, and had no error.
    :ivar errors: their codes.
    :ivar cut: answers that were visibly cut short.
    :ivar failures: those that said something else.
    """

    def __init__(self, admin: Admin, paths: list[str]) -> None:
        super().__init__(partial(self._ask, admin, path) for path in paths)
        self.answers = 0
        self.errors: list[str] = []
        self.cut: list[str] = []
        self.failures: list[str] = []

    def _ask(self, admin: Admin, path: str) -> None:
        while not self._ends.wait(0.005):
            connection = admin.connection()
            try:
                connection.request("GET", path)
                response = connection.getresponse()
            except (OSError, HTTPException):
                # Nothing of an answer has come; `http.client` says so of an empty one, too.
                continue
            try:
                self._take(response.status, path, response.read())
            except (OSError, HTTPException) as error:
                self.cut.append(f"{path}: {error!r}")
            except (ValueError, KeyError, AssertionError) as error:
                self.failures.append(f"{path}: {error!r}")
            finally:
                connection.close()

    def _take(self, status: int, path: str, body: bytes) -> None:
        if status != 200:
            assert status == 503, body
            self.errors.append(json.loads(body)["error"]["code"])
        elif path == "/metrics":
            assert b'tcpbalance_backend_state{pool="p5",backend="127.1.5.50:9",state="maintenance"}' in body
            assert body.endswith(b"\n")
        elif path == "/api/v1/view":
            assert [len(pool["backends"]) for pool in json.loads(body)["pools"]][-6:] == [50] * 6
        else:
            assert json.loads(body)
        with self._lock:
            self.answers += 1


def test_requests_while_it_ends_are_answered_whole_or_with_the_reason(echo_stage: Stage) -> None:
    paths = ["/api/v1/view", "/metrics", "/api/v1/sessions", "/api/v1/config", "/api/v1/view", "/metrics"]
    with echo_stage.daemon(LOOPBACK, MANY) as daemon, ExitStack() as stack:
        asking = stack.enter_context(Asking(Admin(daemon), paths))
        until(lambda: asking.answers > 20, "answers")
        assert daemon.stop(signal.SIGTERM) == 0
    assert asking.failures == []
    assert set(asking.errors) <= {"shutting_down"}
    # On a busy machine, an answer may not be written within the second that it has then.
    assert len(asking.cut) <= len(paths), asking.cut
