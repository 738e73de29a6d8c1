"""Affinity that is written down: what is restored from it is what was there."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.task import Clock

from support.byte_codes import HAS_BYTE_CODES, cost
from support.pools import names, some_backends
from tcpbalance.config.paths import FilePath
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.affinity import Affinity, StickyEntry
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.recorded_affinity import RecordedAffinity, make_affinity

TTL = 60.0
ANNE, BOB, CARL = (bytes((192, 0, 2, host)) for host in (1, 2, 3))


class Recording:
    """Recorded affinity over backends a, b and c, at a clock that the test moves."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.a, self.b, self.c = some_backends(1, 1, 1)
        self.affinity = RecordedAffinity(AffinityConfig(ttl=TTL, **config), self.clock.seconds, "x")

    def visit(self, client: bytes, backend: Backend) -> None:
        self.affinity.closed(self.affinity.opened(client, backend))

    def where(self, client: bytes) -> str:
        return names(self.affinity.lookup(client))


@pytest.fixture
def recording() -> Recording:
    return Recording()


def test_affinity_is_recorded_where_there_is_a_file_for_it() -> None:
    clock = Clock().seconds
    assert type(make_affinity(AffinityConfig(), clock)) is Affinity
    recorded = make_affinity(AffinityConfig(state_file=FilePath("web.affinity")), clock)
    assert isinstance(recorded, RecordedAffinity)
    assert recorded.state_file == "web.affinity"


def test_a_change_is_noted_once_in_the_order_of_use(recording: Recording) -> None:
    recording.visit(ANNE, recording.a)
    recording.visit(BOB, recording.a)
    recording.visit(ANNE, recording.a)
    assert recording.affinity.take_changes() == [BOB, ANNE]
    assert recording.affinity.take_changes() == []


def test_the_end_of_a_connection_is_a_change(recording: Recording) -> None:
    entry = recording.affinity.opened(ANNE, recording.a)
    recording.affinity.take_changes()
    recording.affinity.closed(entry)
    assert recording.affinity.take_changes() == [ANNE]


def test_changes_are_noted_by_network(recording: Recording) -> None:
    recording = Recording(ipv4_prefix=24)
    recording.visit(ANNE, recording.a)
    assert recording.affinity.take_changes() == [bytes((192, 0, 2, 0))]


def test_changes_that_are_not_taken_have_a_bound() -> None:
    recording = Recording(max_entries=10)
    for number in range(25):
        recording.visit(number.to_bytes(4), recording.a)
    assert recording.affinity.take_changes() is None
    assert recording.affinity.take_changes() == []


def test_all_clients_are_given_from_the_least_recently_used_on(recording: Recording) -> None:
    for client in (ANNE, BOB, CARL, ANNE):
        recording.visit(client, recording.a)
    assert recording.affinity.clients() == [BOB, CARL, ANNE]
    assert recording.affinity.take_changes() == []


def test_entries_are_given_as_they_are_now(recording: Recording) -> None:
    recording.visit(ANNE, recording.a)
    recording.clock.advance(5)
    recording.visit(ANNE, recording.b)
    recording.affinity.opened(BOB, recording.c)
    numbers = {recording.a: 5, recording.b: 6, recording.c: 7}
    rows = [(BOB, 7, inf), (ANNE, 5, TTL), (ANNE, 6, TTL + 5)]
    assert recording.affinity.rows_of([BOB, CARL, ANNE], numbers) == rows
    del numbers[recording.a]
    assert recording.affinity.rows_of([BOB, CARL, ANNE], numbers) == [rows[0], rows[2]]


def test_what_is_restored_lasts_for_as_long_as_it_had_left(recording: Recording) -> None:
    recording.clock.advance(1000)
    assert recording.affinity.restore([(ANNE, recording.b, 5.0)]) == 1
    recording.clock.advance(4)
    assert recording.where(ANNE) == "b"
    recording.clock.advance(1)
    assert recording.where(ANNE) == ""


def test_the_ttl_begins_anew_for_a_client_that_was_connected(recording: Recording) -> None:
    recording.affinity.restore([(ANNE, recording.b, inf)])
    recording.clock.advance(TTL - 1)
    assert recording.where(ANNE) == "b"
    recording.clock.advance(1)
    assert recording.where(ANNE) == ""


@pytest.mark.parametrize("seconds", [0.0, -1.0, -inf, nan])
def test_what_lasts_no_longer_is_not_restored(recording: Recording, seconds: float) -> None:
    assert recording.affinity.restore([(ANNE, recording.b, seconds)]) == 0
    assert len(recording.affinity) == 0


def test_nothing_lasts_longer_than_the_ttl_that_is_configured_now(recording: Recording) -> None:
    recording.affinity.restore([(ANNE, recording.b, 100 * TTL)])
    recording.clock.advance(TTL)
    assert recording.where(ANNE) == ""


def test_a_sticky_backend_and_its_fallback_are_restored_as_such(recording: Recording) -> None:
    recording.affinity.restore([(ANNE, recording.b, 5.0), (ANNE, recording.a, 6.0)])
    assert recording.where(ANNE) == "ab"


def test_of_a_client_with_more_backends_than_it_can_have_some_are_left_out(recording: Recording) -> None:
    recording.affinity.restore([(ANNE, backend, 5.0) for backend in (recording.c, recording.b, recording.a)])
    assert recording.where(ANNE) == "bc"


def test_a_backend_that_was_removed_meanwhile_is_not_restored(recording: Recording) -> None:
    recording.b.removed = True
    assert recording.affinity.restore([(ANNE, recording.b, 5.0), (ANNE, recording.a, 5.0)]) == 1
    assert recording.where(ANNE) == "a"


def test_a_client_that_has_come_already_stays_where_it_is(recording: Recording) -> None:
    recording.visit(ANNE, recording.a)
    assert recording.affinity.restore([(ANNE, recording.b, 5.0), (BOB, recording.b, 5.0)]) == 1
    assert recording.where(ANNE) == "a"


def test_restored_clients_are_less_recent_than_all_others() -> None:
    recording = Recording(max_entries=3)
    recording.visit(CARL, recording.a)
    recording.affinity.restore([(BOB, recording.b, 5.0), (ANNE, recording.b, 5.0)])
    assert recording.affinity.clients() == [ANNE, BOB, CARL]
    recording.visit(bytes(4), recording.a)
    assert recording.affinity.clients() == [BOB, CARL, bytes(4)]


def test_no_more_clients_are_restored_than_there_may_be() -> None:
    recording = Recording(max_entries=2)
    assert recording.affinity.restore([(client, recording.a, 5.0) for client in (ANNE, BOB, CARL)]) == 2
    assert recording.affinity.clients() == [BOB, ANNE]


def test_clients_are_restored_as_networks_by_the_prefixes_of_now() -> None:
    recording = Recording(ipv4_prefix=24)
    recording.affinity.restore([(ANNE, recording.a, 5.0), (BOB, recording.b, 5.0)])
    assert recording.where(CARL) == "a"
    assert len(recording.affinity) == 1


def test_an_end_is_a_use(recording: Recording) -> None:
    entry = recording.affinity.opened(ANNE, recording.a)
    recording.affinity.opened(BOB, recording.a)
    assert recording.affinity.take_changes() == [ANNE, BOB]
    recording.affinity.opened(ANNE, recording.a)
    recording.affinity.opened(CARL, recording.a)
    recording.affinity.closed(entry)
    assert recording.affinity.take_changes() == [CARL, ANNE] == recording.affinity.clients()[1:]


@pytest.mark.skipif(not HAS_BYTE_CODES, reason="the byte codes of CPython 3.11 alone can be counted")
def test_what_recording_costs_a_connection() -> None:
    (backend,) = some_backends(1)
    clock = Clock().seconds

    def byte_codes(affinity: Affinity) -> int:
        return cost(lambda: affinity.closed(affinity.opened(ANNE, backend))).byte_codes

    plain = byte_codes(Affinity(AffinityConfig(), clock))
    assert byte_codes(RecordedAffinity(AffinityConfig(), clock, "x")) - plain < 62


class CrashMachine(RuleBasedStateMachine):
    """Whatever happens, affinity that is restored from what was written answers as that which was lost."""

    clients: Sequence[bytes] = (ANNE, BOB, CARL, bytes((192, 0, 2, 4)))

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.backends = some_backends(1, 1, 1, 1)
        self.backends[3].backup = True
        self.affinity = self.new()
        self.open: list[StickyEntry] = []
        # What a file has: of each client what was written last, the oldest first.
        self.written: dict[bytes, list[tuple[bytes, int, float]]] = {}

    def new(self) -> RecordedAffinity:
        return RecordedAffinity(AffinityConfig(ttl=TTL, max_entries=3), self.clock.seconds, "x")

    @rule(client=st.sampled_from(clients), which=st.integers(0, 3))
    def opens(self, client: bytes, which: int) -> None:
        self.open.append(self.affinity.opened(client, self.backends[which]))

    @rule(which=st.integers(0, 10**6))
    def closes(self, which: int) -> None:
        if self.open:
            self.affinity.closed(self.open.pop(which % len(self.open)))

    @rule(seconds=st.sampled_from([1.0, TTL / 2, TTL - 1, TTL]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def crashes(self) -> None:
        """Write, and go on with what is restored; open connections end with the process."""
        self.write()
        for entry in self.open:
            self.affinity.closed(entry)
        self.open = []
        before = {client: names(self.affinity.lookup(client)) for client in self.clients}
        now = self.clock.seconds()
        self.affinity = self.new()
        self.affinity.restore(
            [
                (client, self.backends[number], expires - now)
                for client, rows in reversed(self.written.items())
                for _, number, expires in reversed(rows)
            ]
        )
        for client, backends in before.items():
            restored = names(self.affinity.lookup(client))
            if backends:
                assert restored == backends
            else:
                # One that had to leave may be back, in the place of one that had expired.
                assert restored in (
                    "",
                    names([self.backends[row[1]] for row in self.written.get(client, ())]),
                )
        self.written = {}

    @rule()
    def write(self) -> None:
        changed = self.affinity.take_changes() if self.written else None
        if changed is None:
            changed, self.written = self.affinity.clients(), {}
        numbers = {backend: number for number, backend in enumerate(self.backends)}
        for client in changed:
            if rows := self.affinity.rows_of([client], numbers):
                self.written.pop(client, None)
                self.written[client] = rows

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.affinity) <= 3


TestCrashMachine = CrashMachine.TestCase
