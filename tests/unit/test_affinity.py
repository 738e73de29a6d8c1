"""Affinity, by rule and against a model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.task import Clock

from support.pools import names, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.affinity import FORGOTTEN_AT_ONCE, Affinity, StickyEntry
from tcpbalance.pool.backend import Backend
from tcpbalance.stats import PoolStats

TTL = 60.0
ANNE, BOB, CARL = (bytes((192, 0, 2, host)) for host in (1, 2, 3))


class Remembering:
    """An affinity over backends a, b and c, at a clock that the test moves."""

    def __init__(self, max_entries: int = 100, ipv4_prefix: int = 32, ipv6_prefix: int = 64) -> None:
        self.clock = Clock()
        self.stats = PoolStats()
        self.a, self.b, self.c = some_backends(1, 1, 1)
        self.affinity = Affinity(
            AffinityConfig(
                ttl=TTL, max_entries=max_entries, ipv4_prefix=ipv4_prefix, ipv6_prefix=ipv6_prefix
            ),
            self.clock.seconds,
            self.stats,
        )

    def visit(self, client: bytes, backend: Backend) -> None:
        """One connection, opened and closed."""
        self.affinity.closed(self.affinity.opened(client, backend))

    def where(self, client: bytes) -> str:
        return names(self.affinity.lookup(client))


@pytest.fixture
def remembering() -> Remembering:
    return Remembering()


def test_a_client_never_seen_belongs_nowhere(remembering: Remembering) -> None:
    assert remembering.where(ANNE) == ""


def test_a_client_belongs_where_it_was_served(remembering: Remembering) -> None:
    remembering.visit(ANNE, remembering.b)
    assert (remembering.where(ANNE), remembering.where(BOB)) == ("b", "")


def test_the_ttl_begins_when_the_last_connection_ends(remembering: Remembering) -> None:
    first = remembering.affinity.opened(ANNE, remembering.a)
    second = remembering.affinity.opened(ANNE, remembering.a)
    remembering.clock.advance(10 * TTL)
    remembering.affinity.closed(first)
    remembering.clock.advance(10 * TTL)
    assert remembering.where(ANNE) == "a"
    remembering.affinity.closed(second)
    remembering.clock.advance(TTL - 1)
    assert remembering.where(ANNE) == "a"
    remembering.clock.advance(1)
    assert remembering.where(ANNE) == ""


def test_a_stand_in_comes_after_home(remembering: Remembering) -> None:
    remembering.visit(ANNE, remembering.a)
    remembering.visit(ANNE, remembering.b)
    assert remembering.where(ANNE) == "ab"


def test_a_second_stand_in_takes_the_place_of_the_first(remembering: Remembering) -> None:
    for backend in (remembering.a, remembering.b, remembering.c):
        remembering.visit(ANNE, backend)
    assert remembering.where(ANNE) == "ac"


def test_a_backup_is_home_to_nobody_whom_a_primary_has_served(remembering: Remembering) -> None:
    remembering.c.backup = True
    remembering.visit(ANNE, remembering.c)
    remembering.visit(ANNE, remembering.b)
    assert remembering.where(ANNE) == "bc"
    remembering.visit(ANNE, remembering.a)
    assert remembering.where(ANNE) == "ba"


def test_a_home_away_for_longer_than_the_ttl_is_home_no_more(remembering: Remembering) -> None:
    remembering.visit(ANNE, remembering.a)
    for _ in range(4):
        remembering.clock.advance(TTL / 3)
        remembering.visit(ANNE, remembering.b)
    assert remembering.where(ANNE) == "b"
    remembering.visit(ANNE, remembering.a)
    assert remembering.where(ANNE) == "ba"


def test_a_home_back_in_time_is_home_still(remembering: Remembering) -> None:
    remembering.visit(ANNE, remembering.a)
    remembering.clock.advance(TTL - 1)
    remembering.visit(ANNE, remembering.b)
    remembering.visit(ANNE, remembering.a)
    remembering.clock.advance(TTL - 1)
    assert remembering.where(ANNE) == "ab"


def test_the_least_recently_used_leaves_first() -> None:
    remembering = Remembering(max_entries=2)
    remembering.visit(ANNE, remembering.a)
    remembering.visit(BOB, remembering.b)
    remembering.visit(ANNE, remembering.a)
    remembering.visit(CARL, remembering.c)
    assert (remembering.where(ANNE), remembering.where(BOB), remembering.where(CARL)) == ("a", "", "c")
    assert len(remembering.affinity) == 2


def test_the_end_of_a_connection_is_a_use() -> None:
    remembering = Remembering(max_entries=2)
    sticky_entry = remembering.affinity.opened(ANNE, remembering.a)
    remembering.visit(BOB, remembering.b)
    remembering.affinity.closed(sticky_entry)
    remembering.visit(CARL, remembering.c)
    assert (remembering.where(ANNE), remembering.where(BOB)) == ("a", "")


def test_a_connection_of_a_forgotten_client_ends_without_harm() -> None:
    remembering = Remembering(max_entries=1)
    sticky_entry = remembering.affinity.opened(ANNE, remembering.a)
    remembering.visit(BOB, remembering.b)
    remembering.affinity.closed(sticky_entry)
    assert (remembering.where(ANNE), remembering.where(BOB), len(remembering.affinity)) == ("", "b", 1)


def test_a_known_client_that_gets_its_backend_is_a_hit(remembering: Remembering) -> None:
    def hits(client: bytes, backend: Backend) -> int:
        before = remembering.stats.affinity_hits
        remembering.visit(client, backend)
        return remembering.stats.affinity_hits - before

    assert hits(ANNE, remembering.a) == 0  # She was not known.
    assert hits(ANNE, remembering.a) == 1
    assert hits(ANNE, remembering.b) == 0  # She has not got hers.
    assert hits(ANNE, remembering.b) == 1  # Her fallback.
    assert hits(ANNE, remembering.a) == 1
    remembering.clock.advance(TTL + 1)
    assert hits(ANNE, remembering.a) == 0
    assert hits(BOB, remembering.a) == 0
    remembering.clock.advance(TTL + 1)
    assert hits(BOB, remembering.a) == 0
    remembering.affinity.opened(BOB, remembering.a)
    remembering.clock.advance(TTL + 1)
    assert hits(BOB, remembering.a) == 1  # He is still connected.


def test_a_client_that_leaves_a_full_table_too_early_is_an_eviction() -> None:
    remembering = Remembering(max_entries=2)
    remembering.visit(ANNE, remembering.a)
    remembering.visit(BOB, remembering.a)
    assert remembering.stats.affinity_evictions == 0
    remembering.visit(CARL, remembering.a)
    assert (remembering.stats.affinity_evictions, len(remembering.affinity)) == (1, 2)
    remembering.affinity.put(ANNE, [(remembering.a, TTL)])
    assert remembering.stats.affinity_evictions == 2
    remembering.clock.advance(TTL + 1)
    remembering.visit(BOB, remembering.a)  # Nothing is lost by that.
    assert remembering.stats.affinity_evictions == 2
    remembering.visit(CARL, remembering.a)
    assert remembering.affinity.adopt(AffinityConfig(ttl=TTL, max_entries=1, ipv6_prefix=64))
    assert (remembering.stats.affinity_evictions, len(remembering.affinity)) == (3, 1)


def test_what_is_forgotten_by_order_is_no_eviction(remembering: Remembering) -> None:
    remembering.visit(ANNE, remembering.a)
    list(remembering.affinity.forget([remembering.a]))
    assert (len(remembering.affinity), remembering.stats.affinity_evictions) == (0, 0)


def test_clients_of_one_network_are_one_client() -> None:
    remembering = Remembering(ipv4_prefix=24)
    remembering.visit(bytes((192, 0, 2, 1)), remembering.a)
    assert remembering.where(bytes((192, 0, 2, 200))) == "a"
    assert remembering.where(bytes((192, 0, 3, 1))) == ""


def test_an_ipv4_client_and_an_ipv6_client_are_two() -> None:
    remembering = Remembering(ipv4_prefix=1, ipv6_prefix=1)
    remembering.visit(bytes(4), remembering.a)
    assert remembering.where(bytes(16)) == ""


def test_the_clients_of_a_backend_are_forgotten_piece_by_piece() -> None:
    remembering = Remembering(max_entries=3 * FORGOTTEN_AT_ONCE)
    clients = [number.to_bytes(4, "big") for number in range(2 * FORGOTTEN_AT_ONCE + 1)]
    for client in clients:
        remembering.visit(client, remembering.a)
    pieces = remembering.affinity.forget({remembering.a})
    assert len(remembering.affinity) == len(clients)
    assert [len(remembering.affinity) for _ in pieces] == [FORGOTTEN_AT_ONCE + 1, 1]
    assert len(remembering.affinity) == 0


def test_clients_may_come_and_go_while_others_are_forgotten() -> None:
    remembering = Remembering(max_entries=2 * FORGOTTEN_AT_ONCE)
    clients = [number.to_bytes(4, "big") for number in range(2 * FORGOTTEN_AT_ONCE)]
    for client in clients:
        remembering.visit(client, remembering.a)
    pieces = remembering.affinity.forget({remembering.a})
    next(pieces)
    new, last = b"new.", clients[-1]
    remembering.visit(new, remembering.b)
    remembering.visit(clients[0], remembering.b)
    remembering.visit(last, remembering.b)
    remembering.affinity.adopt(AffinityConfig(ttl=TTL, max_entries=2))
    assert list(pieces) == []
    assert (remembering.where(new), remembering.where(clients[0]), remembering.where(last)) == ("", "b", "b")


class Model:
    """The same rules once more, by listing instead of indexing."""

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.recent: list[bytes] = []  # least recently used first
        self.bonds: list[
            tuple[bytes, Backend, list[float]]
        ] = []  # a client's in the order of its preference; ends of their connections

    def holding(self, client: bytes, now: float) -> list[tuple[bytes, Backend, list[float]]]:
        return [
            sticky_entry
            for sticky_entry in self.bonds
            if sticky_entry[0] == client and now < max(sticky_entry[2])
        ]

    def opened(self, client: bytes, backend: Backend, now: float) -> list[float]:
        holding = self.holding(client, now)
        self.bonds = [sticky_entry for sticky_entry in self.bonds if sticky_entry[0] != client]
        ends = next((ends for _, held, ends in holding if held is backend), None)
        if ends is None:
            ends = []
            holding = [*holding[:1], (client, backend, ends)]
            holding.sort(
                key=lambda sticky_entry: sticky_entry[1].backup
            )  # which leaves the order made among equals
        ends.append(float("inf"))
        self.bonds += holding
        self._use(client)
        return ends

    def closed(self, ends: list[float], now: float) -> None:
        ends.remove(float("inf"))
        ends.append(now + TTL)
        for client, _, held in self.bonds:
            if held is ends:
                self._use(client)
                return

    def _use(self, client: bytes) -> None:
        self.recent = [other for other in self.recent if other != client] + [client]
        for gone in self.recent[: -self.max_entries]:
            self.bonds = [sticky_entry for sticky_entry in self.bonds if sticky_entry[0] != gone]
        self.recent = self.recent[-self.max_entries :]


class AffinityMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, affinity answers as the model does."""

    clients: Sequence[bytes] = (ANNE, BOB, CARL, bytes((192, 0, 2, 4)))

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.backends = some_backends(1, 1, 1, 1)
        self.backends[2].backup = self.backends[3].backup = True
        self.affinity = Affinity(AffinityConfig(ttl=TTL, max_entries=3), self.clock.seconds)
        self.model = Model(3)
        self.open: list[tuple[StickyEntry, list[float]]] = []

    @rule(client=st.sampled_from(clients), which=st.integers(0, 3))
    def opens(self, client: bytes, which: int) -> None:
        backend = self.backends[which]
        sticky_entry = self.affinity.opened(client, backend)
        self.open.append((sticky_entry, self.model.opened(client, backend, self.clock.seconds())))

    @rule(which=st.integers(0, 10**6))
    def closes(self, which: int) -> None:
        if self.open:
            sticky_entry, ends = self.open.pop(which % len(self.open))
            self.affinity.closed(sticky_entry)
            self.model.closed(ends, self.clock.seconds())

    @rule(seconds=st.sampled_from([1.0, TTL / 2, TTL - 1, TTL]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def both_agree(self) -> None:
        now = self.clock.seconds()
        for client in self.clients:
            assert list(self.affinity.lookup(client)) == [
                sticky_entry[1] for sticky_entry in self.model.holding(client, now)
            ]
        assert len(self.affinity) <= 3


TestAffinityMachine = AffinityMachine.TestCase
