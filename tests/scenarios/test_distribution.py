"""Each policy spreads real connections as its definition says, counted at the backends."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import peers
from support.clients import ask, connect, read_all
from support.daemon import Daemon
from support.peers import Peer

CONFIG = """
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
balance = "{balance}"
backends = [{backends}]
{more}
"""


def config(balance: str, running: Sequence[Peer], weights: Sequence[int] = (), more: str = "") -> str:
    """Give a configuration over backends named a, b, c and so on."""
    tables = [
        f'{{ name = "{name}", address = "{peer.address}", weight = {weight} }}'
        for name, peer, weight in zip("abcdefgh", running, weights or [1] * len(running), strict=False)
    ]
    return CONFIG.format(balance=balance, backends=", ".join(tables), more=more)


def who_serves(daemon: Daemon, count: int) -> str:
    """Make connections one after another.

    :returns: the names of those who served them, in order.
    """
    return "".join(ask(daemon.port).decode() for _ in range(count))


class Held:
    """Connections that stay open until they are let go."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._open: dict[str, list[socket.socket]] = {}

    def take(self) -> str:
        """Open a connection.

        :returns: the name of who serves it.
        """
        sock = connect(self._daemon.port)
        name = sock.recv(1).decode()
        self._open.setdefault(name, []).append(sock)
        return name

    def finish(self, name: str) -> None:
        """End every connection that `name` serves, and wait for its end from the other side."""
        for sock in self._open.pop(name, []):
            with sock:
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock) == b""

    @property
    def counts(self) -> Counter[str]:
        """How many connections each serves."""
        return Counter({name: len(socks) for name, socks in self._open.items()})

    def close(self) -> None:
        """End them all."""
        for socks in self._open.values():
            for sock in socks:
                sock.close()


@contextmanager
def holding(*names: str) -> Iterator[list[Peer]]:
    """Run a peer for each name that says its name and keeps the connection."""
    with ExitStack() as stack:
        yield [stack.enter_context(peers.peer(peers.holds(name.encode()))) for name in names]


@contextmanager
def held(daemon: Daemon) -> Iterator[Held]:
    """Hold connections until the end."""
    connections = Held(daemon)
    try:
        yield connections
    finally:
        connections.close()


def test_round_robin_takes_turns(tmp_path: Path) -> None:
    with peers.named(*"abc") as running, Daemon(config("round_robin", running), tmp_path) as daemon:
        assert who_serves(daemon, 30) == "abc" * 10


def test_weighted_round_robin_is_exact_and_smooth_over_each_cycle(tmp_path: Path) -> None:
    # The example of the algorithm's author: 5, 1 and 1 are served as a, a, b, a, c, a, a, and never as five
    # in a row (nginx, "Upstream: smooth weighted round-robin balancing", 2012).
    with peers.named(*"abc") as running:
        text = config("round_robin", running, weights=[5, 1, 1])
        with Daemon(text, tmp_path) as daemon:
            assert who_serves(daemon, 28) == "aabacaa" * 4


def test_least_connections_fills_up_whoever_has_fewest_for_its_weight(tmp_path: Path) -> None:
    with holding(*"abc") as running:
        text = config("least_connections", running, weights=[1, 1, 2])
        with Daemon(text, tmp_path) as daemon, held(daemon) as connections:
            for _ in range(16):
                connections.take()
            assert connections.counts == {"a": 4, "b": 4, "c": 8}
            connections.finish("b")
            assert [connections.take() for _ in range(4)] == ["b"] * 4


def test_random_follows_the_weights(tmp_path: Path) -> None:
    with (
        peers.named(*"ab") as running,
        Daemon(config("random", running, weights=[3, 1]), tmp_path) as daemon,
    ):
        served = who_serves(daemon, 800)
    # 600 expected with a standard deviation of 12.2: five of those are missed once in two million runs.
    assert abs(served.count("a") - 600) < 62
    # And by chance, not in turns: that no "bb" comes among 800 draws has a probability of less than 1e-18.
    assert "bb" in served


def test_power_of_two_choices_spares_slow_backends_where_random_does_not(tmp_path: Path) -> None:
    """Two backends answer at once and two never come to an end, so that connections pile up on those."""
    piled_up = {balance: _pile_up(balance, tmp_path) for balance in ("random", "power_of_two_choices")}
    # At random half of 300 go there, 150 with a standard deviation of 8.7. Of two choices only the draws that
    # have both, one in six: 50, with a deviation of 6.5. Between them is room for 6 of those.
    assert piled_up["power_of_two_choices"] < 0.6 * piled_up["random"]


def _pile_up(balance: str, folder: Path) -> int:
    with (
        holding(*"ab") as slow,
        peers.named(*"cd") as quick,
        Daemon(config(balance, [*slow, *quick]), folder) as daemon,
        held(daemon) as connections,
    ):
        for _ in range(300):
            name = connections.take()
            if name in "cd":
                connections.finish(name)
        return connections.counts.total()


def test_peak_ewma_remembers_a_slow_connect(tmp_path: Path) -> None:
    with peers.named("b") as (quick,), peers.late(peers.says(b"a")) as slow:
        text = config("peak_ewma", [slow, quick])
        with Daemon(text, tmp_path) as daemon:
            served = _until_the_slow_one(daemon, slow)
            served += who_serves(daemon, 30)
    # Measured once, at about a second; its average halves every seven seconds, while the quick one's is
    # thousands of times smaller. Turns would have given it every other connection.
    assert served.count("a") == 1


def _until_the_slow_one(daemon: Daemon, slow: Peer) -> str:
    """Make connections until one has had to wait for the slow backend's listener, which then takes it."""
    served = ""
    while "a" not in served:
        with connect(daemon.port) as client:
            client.settimeout(0.3)
            try:
                served += client.recv(1).decode()
            except TimeoutError:
                slow.accept_from_now_on()
                client.settimeout(10)
                served += client.recv(1).decode()
    return served


SOURCES = [f"127.{number % 200 + 1}.{number % 13}.{number % 251 + 1}" for number in range(1200)]


@pytest.mark.timeout(120)
def test_source_hash_is_even_and_stable_over_a_restart(tmp_path: Path) -> None:
    assert len(set(SOURCES)) == 1200
    with peers.named(*"abcd") as running, Daemon(config("source_hash", running), tmp_path) as daemon:
        before = {source: ask(daemon.port, source=source) for source in SOURCES}
        assert daemon.stop() == 0
        daemon.start()
        after = {source: ask(daemon.port, source=source) for source in SOURCES[::5]}
    counts = Counter(before.values())
    assert set(counts) == {b"a", b"b", b"c", b"d"}
    # 300 each, give or take 20 %, which is four standard deviations of a fair throw.
    assert all(240 <= count <= 360 for count in counts.values()), counts
    assert after == {source: before[source] for source in SOURCES[::5]}


def test_source_hash_moves_the_clients_of_a_backend_that_is_gone_and_no_others(tmp_path: Path) -> None:
    sources = SOURCES[:200]
    with peers.named(*"abc") as running, Daemon(config("source_hash", running), tmp_path) as daemon:
        before = {source: ask(daemon.port, source=source) for source in sources}
        running[1].end()
        after = {source: ask(daemon.port, source=source) for source in sources}
    assert b"b" in before.values()
    assert b"b" not in after.values()
    assert {s: name for s, name in after.items() if before[s] != b"b"} == {
        s: name for s, name in before.items() if name != b"b"
    }


@pytest.mark.parametrize("balance", ["round_robin", "random", "least_connections"])
def test_affinity_keeps_a_client_at_its_backend(tmp_path: Path, balance: str) -> None:
    sources = [f"127.0.0.{number}" for number in range(2, 14)]
    with (
        peers.named(*"abc") as running,
        Daemon(config(balance, running, more="[pools.web.affinity]"), tmp_path) as daemon,
    ):
        first = {source: ask(daemon.port, source=source) for source in sources}
        for _ in range(5):
            assert {source: ask(daemon.port, source=source) for source in sources} == first
    assert len(set(first.values())) > 1
