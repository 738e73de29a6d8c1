"""Another list of backends under traffic: what stays, what goes, and who is told."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from support.pools import a_pool, choices, described, names
from tcpbalance import Pool
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig, HealthConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.tcp_info import NOTICEABLE
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.outlier import ENOUGH
from tcpbalance.pool.policies.base import PolicyTools
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Slot

ANNE = b"\xc0\0\2\1"


def b(name: str, **settings: Any) -> Backend:
    """The backend of that letter, at an address of its own."""
    return Backend(f"10.1.0.{ord(name) - ord('a') + 1}:80", name, **settings)


def listed(letters: str) -> list[Backend]:
    return [b(letter) for letter in letters]


def connect(pool: Pool, backend: Backend, client: bytes | None = None) -> Slot:
    slot = pool.take(backend, client)
    slot.connected(0.001)
    return slot


class Waiting:
    """One that waits in the queue, and takes what it is offered."""

    def __init__(self, pool: Pool, client: bytes | None = None) -> None:
        self.pool = pool
        self.client = client
        self.backend: Backend | None = None
        self.looks = 0

    def its_turn(self) -> None:
        self.backend = next(self.pool.selection.choices(self.client))
        self.pool.take(self.backend, self.client)

    def displaced(self) -> None:
        pytest.fail("displaced")

    def look_soon(self) -> None:
        self.looks += 1


# Addresses


def test_addresses_are_backends() -> None:
    pool = Pool("web", ["10.0.0.1:80", "10.0.0.2:80"])
    assert [(backend.name, backend.weight) for backend in pool.backends] == [
        ("10.0.0.1:80", 1),
        ("10.0.0.2:80", 1),
    ]
    assert {next(pool.selection.choices(None)).name for _ in range(2)} == {"10.0.0.1:80", "10.0.0.2:80"}
    pool.replace(["10.0.0.2:80", Backend("10.0.0.3:80", weight=2)])
    assert [backend.name for backend in pool.backends] == ["10.0.0.2:80", "10.0.0.3:80"]


def test_one_address_is_no_list() -> None:
    with pytest.raises(SettingError, match=r"^pool web: backends must be a list, got '10\.0\.0\.1:80'$"):
        Pool("web", "10.0.0.1:80")


# What comes, stays and goes


def test_one_that_is_added_serves_at_once() -> None:
    pool = a_pool(listed("ab"))
    pool.replace(listed("abc"))
    assert sorted(choices(pool)) == ["a", "b", "c"]


def test_one_that_stays_is_the_same_object_with_all_that_is_known_of_it() -> None:
    pool = a_pool(listed("ab"), health="external")
    kept = pool.backends[0]
    slot = connect(pool, kept)
    pool.mark_down(kept, "refused")
    pool.set_admin_state(kept, AdminState.DRAIN)
    kept.cooldown_until = 5.0
    pool.replace(listed("ac"))
    assert pool.backends[0] is kept
    assert (kept.active, kept.cause, kept.admin_state, kept.cooldown_until) == (
        1,
        "refused",
        AdminState.DRAIN,
        5.0,
    )
    assert not kept.available
    slot.release()
    assert kept.active == 0


def test_one_of_another_address_is_another_backend_although_it_has_the_name() -> None:
    pool = a_pool(listed("ab"))
    first = pool.backends[0]
    slot = connect(pool, first)
    pool.replace([Backend("10.9.9.9:80", "a"), b("b")])
    assert pool.backends[0] is not first
    assert (first.state, pool.backends[0].state) == ("removed", "up")
    assert (first.active, pool.backends[0].active) == (1, 0)
    slot.release()
    assert first.active == 0


def test_its_weight_and_limit_are_changed_at_once() -> None:
    pool = a_pool(listed("ab"))
    pool.replace([b("a", weight=3), b("b", max_connections=1)])
    assert "".join(next(pool.selection.choices(None)).name for _ in range(8)).count("a") == 6
    connect(pool, pool.backends[1])
    assert choices(pool) == "a"


def test_the_source_hash_follows_the_weight() -> None:
    pool = a_pool(listed("ab"), balance="source_hash")
    clients = [bytes((192, 0, 2, number)) for number in range(200)]
    pool.replace([b("a", weight=9), b("b")])
    assert 160 < sum(next(pool.selection.choices(client)).name == "a" for client in clients) < 195


def test_a_primary_can_become_a_backup() -> None:
    pool = a_pool(listed("ab"))
    pool.replace([b("a", backup=True), b("b")])
    assert choices(pool) == "ba"


def test_one_that_is_removed_gets_no_new_connections_and_keeps_its_own() -> None:
    pool = a_pool(listed("ab"))
    gone = pool.backends[0]
    slot = connect(pool, gone)
    pool.replace(listed("b"))
    assert choices(pool) == "b"
    assert (gone.state, gone.active) == ("removed", 1)
    slot.release()
    slot.release()
    assert gone.active == 0


def test_a_dial_that_is_under_way_is_not_offered_it() -> None:
    pool = a_pool(listed("abc"), balance=RoundRobin)
    dial = pool.selection.choices(None)
    assert next(dial).name == "a"
    pool.replace(listed("ac"))
    assert names(list(dial)) == "c"


def test_nothing_that_is_found_out_later_lets_it_serve_again() -> None:
    pool = a_pool(listed("ab"), affinity=AffinityConfig(ttl=60.0))
    gone = pool.backends[0]
    dial = pool.selection.choices(None)
    pool.replace(listed("b"))
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    pool.mark_down(gone, "refused")
    pool.mark_up(gone)
    pool.set_admin_state(gone, AdminState.DRAIN)
    assert changes == []
    assert not gone.available
    assert not gone.available_to_sticky
    assert names(list(dial)) == "b"


def test_a_dial_that_fails_there_says_nothing_any_more() -> None:
    pool = a_pool(listed("ab"))
    slot = pool.take(pool.backends[0], None)
    pool.replace(listed("b"))
    with capturedLogs() as events:
        slot.failed(0.1, "refused")
        slot.release()
    assert events == []


def test_a_dial_that_is_slow_there_ejects_nothing() -> None:
    pool = a_pool(listed("abc"), outlier=OutlierConfig(consecutive_failures=1, slow_factor=2.0))
    for backend in pool.backends * ENOUGH:
        pool.take(backend, None).took(0.01, NOTICEABLE)
    gone = pool.backends[0]
    slot = pool.take(gone, None)
    pool.replace(listed("bc"))
    with capturedLogs() as events:
        slot.took(1.0, NOTICEABLE)
    assert (events, gone.ejected) == ([], False)


def test_it_may_come_back_as_another() -> None:
    pool = a_pool(listed("ab"), health="external")
    gone = pool.backends[0]
    pool.mark_down(gone, "refused")
    pool.replace(listed("b"))
    pool.replace(listed("ab"))
    assert pool.backends[0] is not gone
    assert pool.backends[0].up
    pool.replace([gone, *listed("b")])
    assert pool.backends[0] is not gone, "by name and address it is the one that the pool has"


def test_one_that_comes_back_while_it_has_connections_is_the_one_it_was() -> None:
    pool = a_pool([b("a", max_connections=1), *listed("b")])
    gone = pool.backends[0]
    slot = connect(pool, gone)
    pool.replace(listed("b"))
    pool.replace([b("a", max_connections=1), *listed("b")])
    assert pool.backends[0] is gone
    assert not gone.removed
    assert [next(pool.selection.choices(None)).name for _ in range(3)] == ["b", "b", "b"], (
        "it has all it may have"
    )
    assert pool.snapshot()["connections_active"] == 1
    slot.release()
    assert "a" in {next(pool.selection.choices(None)).name for _ in range(3)}


def test_one_that_comes_back_is_not_kept_down_by_checks_that_there_are_no_more() -> None:
    pool = a_pool(listed("ab"), health="external")
    gone = pool.backends[0]
    connect(pool, gone)
    pool.mark_down(gone, "refused")
    gone.ejected = True
    pool.prepare_as(described(listed("b")))()
    pool.prepare_as(described(listed("ab")))()
    assert (pool.backends[0] is gone, gone.state) == (True, "up")


def test_nothing_is_kept_of_one_that_is_removed_when_its_last_connection_has_ended() -> None:
    clock = Clock()
    pool = a_pool(
        listed("abc"), clock, timer=clock, slow_start=600.0, affinity=AffinityConfig(ttl=60.0), queue=5
    )
    slots = [connect(pool, next(pool.selection.choices(ANNE)), ANNE) for _ in range(20)]
    pool.take(pool.backends[0], ANNE).failed(0.1, "refused")
    gone = weakref.ref(pool.backends[0])
    pool.replace(listed("bc"))
    while slots:
        slots.pop().release()
    gc.collect()
    assert gone() is None


def test_a_pool_may_be_left_without_any() -> None:
    pool = a_pool(listed("ab"), queue=1)
    with capturedLogs() as events:
        pool.replace([])
    assert [formatEvent(event) for event in events] == ["pool web: no backend left: it has none"]
    assert (choices(pool), pool.selection.has_available(), pool.selection.is_full()) == ("", False, False)
    with capturedLogs() as events:
        pool.replace(listed("c"))
    assert [formatEvent(event) for event in events] == ["pool web: 1 of 1 backends available again"]


# Affinity


def test_the_sticky_entries_of_one_that_is_removed_go() -> None:
    pool = a_pool(listed("abc"), affinity=AffinityConfig(ttl=60.0))
    home, other, _ = pool.backends
    slot = connect(pool, home, ANNE)
    connect(pool, other, b"\xc0\0\2\2")
    assert pool.affinity is not None
    pool.replace(listed("bc"))
    assert len(pool.affinity) == 1
    assert pool.affinity.lookup(ANNE) == ()
    slot.release()
    assert len(pool.affinity) == 1


def test_its_fallback_becomes_the_clients_own() -> None:
    pool = a_pool(listed("abc"), affinity=AffinityConfig(ttl=60.0))
    for backend in pool.backends[:2]:
        connect(pool, backend, ANNE)
    pool.replace(listed("bc"))
    assert choices(pool, ANNE)[0] == "b"


def test_a_dial_that_ends_after_the_removal_makes_no_sticky_entry() -> None:
    pool = a_pool(listed("ab"), affinity=AffinityConfig(ttl=60.0))
    slot = pool.take(pool.backends[0], ANNE)
    pool.replace(listed("b"))
    slot.connected(0.001)
    assert pool.affinity is not None
    assert len(pool.affinity) == 0


# Health, ejection, panic


def test_where_there_are_checks_a_newcomer_waits_for_its_first() -> None:
    pool = a_pool(listed("a"), health=HealthConfig(probe=object()))
    (first,) = pool.backends
    assert (first.up, first.cause, first.awaits_check) == (False, "not checked yet", True)
    pool.mark_up(first)
    pool.replace(listed("ab"))
    assert [backend.up for backend in pool.backends] == [True, False]
    assert choices(pool) == "a"


def test_a_newcomer_serves_at_once_where_checks_say_so() -> None:
    pool = a_pool(listed("a"), health=HealthConfig(probe=object(), initial="up"))
    pool.replace(listed("ab"))
    assert sorted(choices(pool)) == ["a", "b"]


def test_an_ejection_goes_on() -> None:
    clock = Clock()
    pool = a_pool(listed("abc"), clock, outlier=OutlierConfig(consecutive_failures=1, eject_for=30.0))
    ejected = pool.backends[0]
    pool.take(ejected, None).failed(0.1, "refused")
    pool.replace(listed("abd"))
    assert (ejected.state, sorted(choices(pool))) == ("ejected", ["b", "d"])
    clock.advance(30)
    assert sorted(choices(pool)) == ["a", "b", "d"]


def test_how_many_may_be_ejected_follows_the_list() -> None:
    pool = a_pool(listed("ab"), outlier=OutlierConfig(consecutive_failures=1, max_ejected=0.5))
    pool.replace(listed("abcd"))
    for backend in pool.backends[:3]:
        pool.take(backend, None).failed(0.1, "refused")
    assert [backend.state for backend in pool.backends] == ["ejected", "ejected", "up", "up"]


def test_one_may_be_ejected_in_any_case() -> None:
    pool = a_pool(listed("abc"), outlier=OutlierConfig(consecutive_failures=1, max_ejected=0.1))
    for backend in pool.backends:
        pool.take(backend, None).failed(0.1, "refused")
    assert [backend.state for backend in pool.backends] == ["ejected", "up", "up"]


def test_one_that_is_ejected_alone_is_left_is_better_than_none() -> None:
    pool = a_pool(listed("ab"), outlier=OutlierConfig(consecutive_failures=1))
    pool.take(pool.backends[0], None).failed(0.1, "refused")
    pool.replace(listed("a"))
    assert choices(pool) == "a"


def test_the_panic_threshold_follows_the_list() -> None:
    pool = a_pool(listed("ab"), panic_threshold=0.5, health="external")
    pool.mark_down(pool.backends[0], "refused")
    assert choices(pool) == "b"
    pool.replace(listed("abcde"))
    for backend in pool.backends[1:4]:
        pool.mark_down(backend, "refused")
    assert sorted(choices(pool)) == ["a", "b", "c", "d", "e"]


# The queue, slow start, the retry budget


def test_the_queue_is_served_by_newcomers_and_by_higher_limits() -> None:
    pool = a_pool([b("a", max_connections=1)], queue=10)
    assert pool.queue is not None
    pool.take(pool.backends[0], None)
    one, other = Waiting(pool), Waiting(pool)
    pool.queue.join(one)
    pool.queue.join(other)
    pool.replace([b("a", max_connections=2)])
    assert (one.backend, other.backend) == (pool.backends[0], None)
    pool.replace([b("a", max_connections=2), b("b", max_connections=1)])
    assert other.backend is pool.backends[1]


def test_a_slot_of_one_that_is_removed_serves_nobody() -> None:
    pool = a_pool([b("a", max_connections=1), b("b", max_connections=1)], queue=10)
    assert pool.queue is not None
    gone, stays = (pool.take(backend, None) for backend in pool.backends)
    waiting = Waiting(pool)
    pool.queue.join(waiting)
    pool.replace([b("b", max_connections=1)])
    gone.release()
    assert waiting.backend is None
    stays.release()
    assert waiting.backend is pool.backends[0]


def test_those_that_wait_find_out_that_none_is_left() -> None:
    pool = a_pool([b("a", max_connections=1)], queue=10)
    assert pool.queue is not None
    pool.take(pool.backends[0], None)
    waiting = Waiting(pool)
    pool.queue.join(waiting)
    pool.replace([])
    assert waiting.looks == 1
    assert pool.queue.has_no_backend_for(waiting)


def test_a_newcomer_starts_slowly_and_the_others_do_not_begin_anew() -> None:
    clock = Clock()
    pool = a_pool(listed("abc"), clock, slow_start=30.0)
    clock.advance(31)
    pool.replace(listed("abcd"))
    clock.advance(1)
    taken = "".join(next(pool.selection.choices(None)).name for _ in range(1))
    for _ in range(199):
        backend = next(pool.selection.choices(None))
        pool.take(backend, None)
        taken += backend.name
    assert 0 < taken.count("d") < 15
    assert taken.count("a") > 50


def test_the_retry_budget_counts_the_connections_of_present_backends() -> None:
    pool = a_pool(listed("ab"))
    for _ in range(20):
        pool.take(pool.backends[0], None)
    assert sum(pool.retry_budget.take() for _ in range(10)) == 4
    pool.replace(listed("b"))
    pool.retry_budget.give_back(failed=False)
    assert not pool.retry_budget.take()


# Prepare and commit


def test_what_cannot_be_used_changes_nothing() -> None:
    class Picky:
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            if any(backend.weight > 5 for backend in backends):
                raise ValueError("too heavy")
            self._backends = backends

        def candidates(self, client: bytes | None) -> Iterator[Backend]:
            return iter(self._backends)

    pool = a_pool(listed("ab"), balance=Picky)
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    before = pool.backends
    for wrong, message in (
        ([b("a", weight=9), b("c")], "policy .*Picky cannot be made: ValueError"),
        ([b("a", weight=3), b("a")], "backends must have different names, got a 2 times"),
        (["10.0.0.1:0"], "address must have a port from 1 to 65535"),
    ):
        with pytest.raises(SettingError, match=message):
            pool.replace(wrong)
    assert pool.backends == before
    assert [backend.weight for backend in before] == [1, 1]
    assert (choices(pool), changes) == ("ab", [])


def test_what_is_prepared_changes_nothing_before_it_is_committed() -> None:
    pool = a_pool(listed("ab"))
    commit = pool.prepare([b("b", weight=3), b("c")])
    assert names(pool.backends) == "ab"
    assert pool.backends[1].weight == 1
    assert "".join(next(pool.selection.choices(None)).name for _ in range(4)) == "abab"
    commit()
    assert names(pool.backends) == "bc"
    assert "".join(next(pool.selection.choices(None)).name for _ in range(8)).count("b") == 6


def test_a_change_in_between_does_not_spoil_what_is_prepared() -> None:
    pool = a_pool(listed("ab"))
    a, second = pool.backends
    commit = pool.prepare([b("a", weight=2), b("c")])
    pool.replace(listed("b"))
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    commit()
    assert changes == [PoolChange(added=(a, c := pool.backends[1]), removed=(second,), available=(a, c))]
    assert names(pool.backends) == "ac"
    assert pool.backends[0] is a
    assert (a.removed, a.available, second.removed) == (False, True, True)
    assert sorted(choices(pool)) == ["a", "c"]


@pytest.mark.parametrize("between", [["b", "a"], ["", "a"], ["b", "ac"]])
def test_a_backend_that_was_replaced_in_between_stays_the_one_it_is_now(between: list[str]) -> None:
    pool = a_pool(listed("a"), affinity=AffinityConfig())
    commit = pool.prepare([b("a", weight=2), b("c")])
    for letters in between:
        pool.replace(listed(letters))
    present = {backend.name: backend for backend in pool.backends}
    slot = connect(pool, present["a"], ANNE)
    commit()
    assert names(pool.backends) == "ac"
    assert all(pool.backends["ac".index(name)] is backend for name, backend in present.items())
    assert (present["a"].removed, present["a"].weight, present["a"].active) == (False, 2, 1)
    assert "".join(next(pool.selection.choices(None)).name for _ in range(6)).count("a") == 4
    assert next(pool.selection.choices(ANNE)) is present["a"]
    slot.release()


def test_what_is_prepared_is_used_though_its_policy_cannot_be_made_again() -> None:
    made: list[Sequence[Backend]] = []

    def once(backends: Sequence[Backend], tools: PolicyTools) -> RoundRobin:
        made.append(backends)
        if len(made) == 5:
            raise RuntimeError("no more")
        return RoundRobin(backends, tools)

    pool = a_pool(listed("a"), balance=once)
    commit = pool.prepare(listed("ac"))
    pool.replace(listed("b"))
    pool.replace(listed("a"))
    commit()
    assert len(made) == 5
    assert sorted(choices(pool)) == ["a", "c"]
    assert not any(backend.removed for backend in pool.backends)


def test_a_new_pool_without_any_is_refused_and_nothing_logged() -> None:
    with (
        capturedLogs() as events,
        pytest.raises(SettingError, match=r"^pool x: must have at least one backend$"),
    ):
        Pool("x", [])
    assert events == []


@pytest.mark.parametrize("given", ["10.1.0.1:80", None, 5])
def test_backends_that_are_no_list(given: Any) -> None:
    with pytest.raises(SettingError, match=r"^pool x: backends must be a list, got "):
        Pool("x", given)


# Subscribers


def test_subscribers_learn_what_has_changed_all_at_once() -> None:
    pool = a_pool(listed("abc"), health="external")
    pool.mark_down(pool.backends[1], "refused")
    changes: list[PoolChange] = []
    end = pool.subscribe(changes.append)
    a, second, c = pool.backends
    pool.replace([b("a", weight=2), b("b"), b("d")])
    d = pool.backends[2]
    assert changes == [PoolChange(added=(d,), removed=(c,), changed=(a,), available=(d,))]
    pool.mark_up(second)
    assert changes[1:] == [PoolChange(changed=(second,), available=(second,))]
    pool.set_admin_state(second, AdminState.DRAIN)
    assert changes[2:] == [PoolChange(changed=(second,))]
    end()
    end()
    pool.mark_down(a, "refused")
    assert len(changes) == 3


def test_a_subscription_may_end_within_its_call() -> None:
    pool = a_pool(listed("a"))
    calls: list[str] = []

    def once(_: PoolChange) -> None:
        calls.append("once")
        end()

    end = pool.subscribe(once)
    pool.subscribe(lambda _: calls.append("always"))
    pool.replace(listed("ab"))
    pool.replace(listed("a"))
    assert calls == ["once", "always", "always"]


def test_one_that_fails_keeps_no_other_from_its_call() -> None:
    def fail(_: PoolChange) -> None:
        raise RuntimeError("broken on purpose")

    pool = a_pool(listed("a"), health="external")
    changes: list[PoolChange] = []
    pool.subscribe(fail)
    pool.subscribe(changes.append)
    with capturedLogs() as events:
        pool.replace(listed("ab"))
    assert len(changes) == 1
    assert [formatEvent(event) for event in events] == ["pool web: a subscriber to its changes failed"]


def test_subscribers_learn_that_a_panic_makes_others_available() -> None:
    pool = a_pool(listed("abc"), health="external", panic_threshold=0.5)
    a, second, c = pool.backends
    pool.mark_down(a, "refused")
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    pool.mark_down(second, "refused")
    assert changes == [PoolChange(changed=(second,), available=(a,))]
    pool.mark_up(a)
    assert changes[1:] == [PoolChange(changed=(a,))]
    assert (a.available, second.available, c.available) == (True, False, True)


def test_subscribers_learn_that_the_loss_of_the_last_makes_ejected_ones_available() -> None:
    pool = a_pool(listed("ab"), health="external", outlier=OutlierConfig(consecutive_failures=1))
    a, second = pool.backends
    pool.take(a, None).failed(0.1, "refused")
    assert (a.ejected, a.available) == (True, False)
    changes: list[PoolChange] = []
    pool.subscribe(changes.append)
    pool.mark_down(second, "refused")
    assert changes == [PoolChange(changed=(second,), available=(a,))]
