"""One of three backends fails under steady traffic: it is soon avoided, and comes back when it is well.

In each episode the errors that clients see are counted.
"""

from __future__ import annotations

import re
import signal
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import peers
from support.certificates import Authority, Issued
from support.clients import ask, connect, reset
from support.coming_again import ComingAgain
from support.daemon import Daemon
from support.peers import Handler
from support.tls_peers import over_tls
from support.waiting import until
from tcpbalance.pool.outlier import ENOUGH

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = [{backends}]
{more}
"""

OUT_WITHIN = 2.0
"""Seconds in which the traffic has to be away from a backend that fails."""

PAUSE = 0.005
"""Seconds that a client rests between two connections: were the processors busy all the time, nobody would be
slow where all are."""

BURST = 300
"""Connections that come all at once."""

NAMES = ("a", "b", "bad")
"""Of the backends."""

GREETING = "I am "
"""What they say before their names."""

EJECTED, NO_LONGER_EJECTED = "backend bad .* is ejected for 1 s: ", "backend bad .* is no longer ejected"
DOWN, UP = "backend bad .* is down: ", "is down: (.|\n)*backend bad .* is up"


def well(name: str) -> Handler:
    """Serve as a backend does that is well."""
    return peers.says(f"{GREETING}{name}".encode())


def well_over_tls(name: str, issued: Issued) -> Handler:
    """Serve as a backend does that is well and speaks TLS.

    It waits for the question: a session over TLS may be over with its answer, and a client that has not asked
    yet would be reset.
    """
    return over_tls(peers.answers(f"{GREETING}{name}".encode()), issued)


class Moody:
    """A handler that is exchanged while it serves.

    :param usual: how it serves at first, and again when it is well.
    """

    def __init__(self, median: Handler) -> None:
        self._usual = median
        self.handler = median

    def __call__(self, sock: Any) -> None:
        self.handler(sock)

    def get_well(self) -> None:
        """Serve as at first."""
        self.handler = self._usual


class Traffic(ComingAgain):
    """Clients that each come again and again, one connection after another, from `with` to its end.

    :param port: where to.
    :param clients: how many.
    :ivar answers: how often each backend has answered.
    :ivar errors: what clients saw instead of an answer.
    """

    def __init__(self, port: int, clients: int) -> None:
        super().__init__(partial(self._run, number) for number in range(clients))
        self._port = port
        self._came = [0] * clients
        self.answers: Counter[str] = Counter()
        self.errors: list[str] = []

    def _run(self, number: int) -> None:
        while not self._ends.wait(PAUSE):
            self._come()
            self._came[number] += 1

    def _come(self) -> None:
        try:
            answer = ask(self._port, b"?").decode()
        except OSError as error:
            answer = repr(error)
        with self._lock:
            if answer.startswith(GREETING):
                self.answers[answer.removeprefix(GREETING)] += 1
            else:
                self.errors.append(answer or "closed")

    def wait_for(self, name: str, more: int = 1) -> None:
        """Wait until a backend has given so many more answers."""
        enough = self.answers[name] + more
        until(lambda: self.answers[name] >= enough, lambda: f"answers of {name}: {self.answers}")

    def wait_for_new_connections(self) -> None:
        """Wait until each client has a connection that it began after this was called."""
        # What a client has at present, it may have begun before.
        enough = [came + 2 for came in self._came]
        until(lambda: all(map(int.__ge__, self._came, enough)), lambda: f"{self._came} to be {enough}")


@contextmanager
def balancer(folder: Path, handlers: Iterable[Handler], more: str) -> Iterator[Daemon]:
    """Run a balancer over the three."""
    with ExitStack() as stack:
        backends = ", ".join(
            f'{{ name = "{name}", address = "{stack.enter_context(peers.peer(handler)).address}" }}'
            for name, handler in zip(NAMES, handlers, strict=True)
        )
        yield stack.enter_context(Daemon(CONFIG.format(backends=backends, more=more), folder))


def go_through(
    daemon: Daemon,
    traffic: Traffic,
    bad: Moody,
    fault: Handler,
    out: str,
    back: str,
    within: float = OUT_WITHIN,
) -> None:
    """Let a backend fail and get well, and see it leave and return.

    :param out: what the log says when it is out of rotation.
    :param back: what it says when it is back.
    :param within: seconds in which it has to be out of rotation.
    """
    for name in NAMES:
        traffic.wait_for(name)
    bad.handler = fault
    began = time.monotonic()
    daemon.wait_for_log(out)
    assert time.monotonic() - began < within
    traffic.wait_for_new_connections()
    bad.get_well()
    before = traffic.answers["bad"]

    def is_back() -> bool:
        now = traffic.answers["bad"]
        if re.search(back, daemon.log):
            return True
        assert now == before, "it serves although it is out of rotation"
        return False

    until(is_back, "its return")
    traffic.wait_for("bad", 10)


def not_served(daemon: Daemon) -> Counter[str]:
    """Why sessions ended without an answer."""
    return Counter(record["reason"] for record in daemon.access_records if not record["backend_bytes"])


def test_one_that_accepts_and_resets_is_ejected_and_no_client_notices(tmp_path: Path) -> None:
    """There are no more clients than retries that a pool always allows."""
    failures = 5
    more = f"""
retry_on = ["connect_failed", "reset_before_answer"]
outlier = {{ consecutive_failures = {failures}, eject_for = "1s" }}
"""
    bad = Moody(well("bad"))
    with (
        balancer(tmp_path, [well("a"), well("b"), bad], more) as daemon,
        Traffic(daemon.port, clients=3) as traffic,
    ):
        go_through(daemon, traffic, bad, peers.reset_at_once, EJECTED, NO_LONGER_EJECTED)
    assert traffic.errors == []
    assert daemon.stop() == 0
    assert not_served(daemon) == {}
    # Those under way when it was ejected may have had the same.
    tried_again = [record for record in daemon.access_records if record["attempts"] > 1]
    assert failures <= len(tried_again) < failures + 3


def test_one_that_accepts_and_hangs_is_down_and_costs_what_it_had_in_hand(tmp_path: Path) -> None:
    """Connecting works as ever, so it takes a check to notice."""
    clients = 8
    more = """
health.check = "expect"
health.contains = "I am"
health.interval = "100ms"
health.timeout = "200ms"
health.fall = 2
health.on_down = "reset"
outlier.eject_for = "1s"
"""
    bad = Moody(well("bad"))
    with (
        balancer(tmp_path, [well("a"), well("b"), bad], more) as daemon,
        Traffic(daemon.port, clients) as traffic,
    ):
        go_through(daemon, traffic, bad, peers.ignore_the_end, DOWN, UP)
    assert daemon.stop() == 0
    # A client that hangs does nothing else: so each has met it once at most.
    assert 1 <= len(traffic.errors) <= clients
    assert not_served(daemon) == {"backend_down": len(traffic.errors)}


@pytest.mark.parametrize("data_path", ["auto", "portable"], indirect=True)
def test_one_that_becomes_20_times_slower_is_ejected_and_no_client_notices(tmp_path: Path) -> None:
    """What is slow is its part of the TLS handshake: the kernel connects as fast as ever.

    More connections in a row than by default have to be slow, since the machine that runs all of them may be
    busy for a moment.
    """
    authority = Authority.root()
    authority.write(tmp_path / "root.pem")
    shown = authority.issue(tmp_path, "web", "web.example")
    failures = 10
    more = f"""
outlier = {{ consecutive_failures = {failures}, eject_for = "1s", slow_factor = 8 }}
tls = {{ ca = "root.pem", server_name = "web.example" }}
"""
    good_a, good_b, quick = (well_over_tls(name, shown) for name in NAMES)
    bad = Moody(quick)
    with (
        balancer(tmp_path, [good_a, good_b, bad], more) as daemon,
        Traffic(daemon.port, clients=3) as traffic,
    ):
        traffic.wait_for("bad", 20)
        calm = statistics.median(record["connect_ms"] for record in daemon.access_records) / 1000.0

        slow = 20 * calm

        def dawdle(sock: Any) -> None:
            time.sleep(slow)
            quick(sock)

        within = OUT_WITHIN + failures * slow
        go_through(daemon, traffic, bad, dawdle, EJECTED + "slow, ", NO_LONGER_EJECTED, within)
    assert traffic.errors == []
    assert daemon.stop() == 0
    assert not_served(daemon) == {}
    assert "backend a" not in daemon.log
    assert "backend b " not in daemon.log


def test_a_burst_of_connections_ejects_nobody(tmp_path: Path) -> None:
    """Our loop is late then, and that is no fault of the backends.

    The kernel accepts for them, so that nothing on their side can be slow. All of the burst is for one of
    them, so that it is not excused by what the others take at the same time. How late the loop is, chance
    decides here; in loopback/test_late_loop it always is.
    """
    more = 'outlier = { consecutive_failures = 3, slow_factor = 3 }\naffinity.ttl = "1h"'
    sources = [f"127.0.1.{number}" for number in range(1, len(NAMES) + 1)]
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * BURST)) for _ in NAMES
        ]
        backends = ", ".join(f'"127.0.0.1:{listener.getsockname()[1]}"' for listener in listeners)
        daemon = stack.enter_context(Daemon(CONFIG.format(backends=backends, more=more), tmp_path))
        for listener in listeners:
            listener.setblocking(False)
        taken: list[socket.socket] = []

        def accepted() -> int:
            taken.extend(map(stack.enter_context, accept_all(listeners)))
            return len(taken)

        clients = []
        for number in range(len(NAMES) * ENOUGH):
            clients.append(stack.enter_context(connect(daemon.port, sources[number % len(NAMES)])))
            until(lambda: accepted() > number, "one after the other")  # noqa: B023 - called at once
        # The others come all at once: the balancer sees none before the last has come.
        daemon.send(signal.SIGSTOP)
        until(lambda: is_stopped(daemon.process.pid), "SIGSTOP")
        clients += [stack.enter_context(connect(daemon.port, sources[0])) for _ in range(BURST)]
        daemon.send(signal.SIGCONT)
        until(lambda: accepted() == len(clients), "all of them dialled")
        for client in clients:
            reset(client)
        until(lambda: len(daemon.access_records) == len(clients), "all ended")
        assert "is ejected" not in daemon.log
        assert daemon.stop() == 0


def is_stopped(pid: int) -> bool:
    """Whether each thread of a process stands still."""
    stats = [file.read_text() for file in Path("/proc").glob(f"{pid}/task/*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def accept_all(listeners: Iterable[socket.socket]) -> list[socket.socket]:
    """Take what the kernel has accepted for these so far."""
    taken = []
    for listener in listeners:
        with suppress(BlockingIOError):
            while True:
                taken.append(listener.accept()[0])
    return taken
