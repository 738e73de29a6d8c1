"""Out of descriptors, connections are shed with a word now and then, and the balancer recovers by itself."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from support import peers
from support.clients import ask, connect, read_all
from support.daemon import Daemon
from support.waiting import until, until_steady

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

SESSIONS = 20
BEYOND = 15
AT_ONCE = 3.0
"""Seconds within which who cannot be served has to know."""


@contextlib.contextmanager
def full(folder: Path, spare: int) -> Iterator[Daemon]:
    """Run a balancer with descriptors for `SESSIONS` sessions, which are open, and `spare` more.

    At the end the sessions have ended, all descriptors are back, and the next client has been served.
    """
    with (
        peers.peer(peers.holds(b"hello")) as backend,
        Daemon(CONFIG.format(backend=backend.address), folder) as daemon,
    ):
        # It says that it listens before its reactor has opened all of its own, so one client first.
        assert ask(daemon.port) == b"hello"
        before = _settled(daemon)
        limit = before.total() + 2 * SESSIONS + spare
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.ExitStack() as stack:
            for _ in range(SESSIONS):
                assert stack.enter_context(connect(daemon.port)).recv(100) == b"hello"
            yield daemon
        # The one in reserve is back as well, for the next time.
        until(lambda: _kinds(daemon) == before, lambda: f"{before}, now {_kinds(daemon)}")
        assert ask(daemon.port) == b"hello"
        assert daemon.stop() == 0


def _settled(daemon: Daemon) -> Counter[str]:
    until_steady(lambda: _kinds(daemon))
    return _kinds(daemon)


def _kinds(daemon: Daemon) -> Counter[str]:
    """Count what descriptors are open on, whatever their numbers and inodes."""
    return Counter(re.sub(r"\d+", "", target) for target in daemon.descriptors.values())


def test_with_none_left_to_accept_clients_are_turned_away_at_once(tmp_path: Path) -> None:
    with full(tmp_path, spare=0) as daemon:
        # One after another they take some seconds, since accepting rests for a moment after each.
        answers = [_answer(daemon.port) for _ in range(BEYOND)]
        assert answers == ["reset"] * BEYOND
    _assert_once_a_second(daemon, r"too many open files: (\d+) .* reset")


def test_with_none_left_to_dial_clients_are_closed_at_once(tmp_path: Path) -> None:
    with full(tmp_path, spare=1) as daemon:
        answers = [_answer(daemon.port) for _ in range(BEYOND)]
        # The sessions are still there, and those turned away have their reason in the log.
        records = daemon.wait_for_records(1 + BEYOND)
    assert answers == ["end"] * BEYOND
    assert [record["reason"] for record in records[1:]] == ["out_of_descriptors"] * BEYOND
    _assert_once_a_second(daemon, r"clients not served: (\d+) .*out_of_descriptors")


def test_with_none_left_for_a_pipe_bulk_goes_on(tmp_path: Path) -> None:
    size = 64 << 20

    def when_asked(sock: socket.socket) -> None:
        sock.recv(1)
        peers.floods(size)(sock)

    with (
        peers.peer(when_asked) as backend,
        Daemon(CONFIG.format(backend=backend.address), tmp_path) as daemon,
        connect(daemon.port) as client,
    ):
        until(lambda: backend.open_connections == 1, "the backend's connection")
        before = _settled(daemon)
        limit = before.total()
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        client.sendall(b"?")
        assert len(read_all(client)) == size
        assert _kinds(daemon)["pipe:[]"] == before["pipe:[]"]
        client.close()
        daemon.wait_for_records(1)
        assert daemon.stop() == 0


def _answer(port: int) -> str:
    """Connect, and say how the balancer declines."""
    try:
        with connect(port) as client:
            client.settimeout(AT_ONCE)
            assert client.recv(100) == b""
            return "end"
    except ConnectionResetError:
        return "reset"


def _assert_once_a_second(daemon: Daemon, pattern: str) -> None:
    """All that were declined are in the log, in lines a second apart; but for the one of the end."""
    # Each line begins with its time to the second.
    found = re.findall(rf"^(\S+) .*{pattern}", daemon.log, re.MULTILINE)
    seconds = [second for second, _ in found[:-1]]
    assert len(set(seconds)) == len(seconds), found
    assert sum(int(count) for _, count in found) == BEYOND
