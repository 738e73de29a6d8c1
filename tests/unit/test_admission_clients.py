"""What a gate remembers: those with connections always, of the others a bounded number."""

from __future__ import annotations

import tracemalloc
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.admissions import Guarded, lists
from tcpbalance.admission.access import Access
from tcpbalance.admission.clients import MAX_CLIENTS, group
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.pool.client import masked

SLOW: dict[str, Any] = {"connect_rate_per_client": 0.001, "burst_per_client": 1}
"""A rate from which nobody recovers within a test."""


def host(number: int) -> str:
    return str(IPv4Address(0x0A000000 + number))


@given(st.ip_addresses())
def test_clients_are_told_apart_as_affinity_does(address: IPv4Address | IPv6Address) -> None:
    whole = address.packed
    assert group(whole).ljust(len(whole), b"\0") == masked(whole, 32, 64)


def test_the_least_recently_seen_leaves_first() -> None:
    guarded = Guarded(max_clients=2, **SLOW)
    for number in (1, 2, 1, 3):  # the second time it is refused, which is a way to be seen
        guarded.visit(host(number))
    assert guarded.admission.clients.idle == 2
    assert guarded.visit(host(1)) == "too_fast"
    assert guarded.visit(host(2)) == "in"


def test_leaving_is_being_seen() -> None:
    guarded = Guarded(max_clients=2, **SLOW)
    guarded.come(host(1))
    guarded.visit(host(2))
    guarded.go(host(1))
    guarded.visit(host(3))
    assert guarded.visit(host(1)) == "too_fast"


def test_who_has_a_connection_is_never_forgotten() -> None:
    guarded = Guarded(max_clients=1, connections_per_client=1, **SLOW)
    for number in range(10):
        assert guarded.come(host(number)) == ["in"]
    for number in range(10, 20):
        guarded.visit(host(number))
    for number in range(10):
        assert guarded.come(host(number)) == ["too_many_connections"]
    assert (len(guarded.admission.clients), guarded.admission.clients.idle) == (11, 1)


def test_the_banned_count_among_the_idle() -> None:
    guarded = Guarded(access=lists(["10.0.0.0/24"]), max_clients=2, ban_after=1, ban_for=60.0, **SLOW)
    guarded.visit(host(1))
    guarded.wait(1)
    guarded.visit(host(256))
    guarded.wait(1)
    assert guarded.visit(host(1)) == "banned"
    guarded.wait(1)
    guarded.visit(host(2))
    assert guarded.admission.clients.idle == 2
    assert [guarded.visit(host(number)) for number in (1, 2, 256)] == ["banned", "banned", "in"]


def test_a_ban_is_forgotten_when_it_was_not_seen_for_longest() -> None:
    guarded = Guarded(access=lists([host(0)]), max_clients=2, ban_after=1, ban_for=60.0, **SLOW)
    for number in (0, 1, 2):
        guarded.visit(host(number))
        guarded.wait(1)
    assert [guarded.visit(host(number)) for number in (1, 0)] == ["too_fast", "denied"]


def test_who_has_recovered_costs_nothing() -> None:
    guarded = Guarded(connect_rate_per_client=1, burst_per_client=5, connections_per_client=5)
    guarded.come(host(1), 3)
    guarded.wait(2.5)
    guarded.go(host(1), 3)
    assert len(guarded.admission.clients) == 1
    guarded.wait(0.5)
    guarded.visit(host(2))
    assert len(guarded.admission.clients) == 1  # the second
    guarded.wait(10)
    guarded.come(host(3))
    guarded.wait(10)
    guarded.go(host(3))
    assert len(guarded.admission.clients) == 0


def test_a_refusal_is_remembered_for_its_window() -> None:
    guarded = Guarded(access=lists(["10.0.0.0/24"]), ban_after=2, ban_window=10.0)
    guarded.visit(host(1))
    guarded.visit(host(256))  # of which nothing is to be remembered
    assert guarded.admission.clients.idle == 1
    guarded.wait(10)
    guarded.visit(host(256))
    assert guarded.admission.clients.idle == 0


def test_a_refusal_that_leads_to_no_ban_is_not() -> None:
    guarded = Guarded(access=lists(["10.0.0.0/24"]), connections_per_client=5)
    assert guarded.visit(host(1)) == "denied"
    assert guarded.admission.clients.idle == 0


def test_a_ban_keeps_nobody_else_in_memory() -> None:
    guarded = Guarded(access=lists([host(0)]), connect_rate_per_client=1, ban_after=1, ban_for=600.0)
    guarded.visit(host(0))
    for number in range(1, 50):
        guarded.visit(host(number))
    guarded.wait(1)
    for number in range(50, 100):
        guarded.visit(host(number))
    assert guarded.admission.clients.idle == 1 + 50
    assert guarded.visit(host(0)) == "banned"


@given(visits=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=100), most=st.integers(1, 6))
def test_it_forgets_as_a_list_in_the_order_of_visits_does(visits: list[tuple[int, bool]], most: int) -> None:
    guarded = Guarded(max_clients=most, **SLOW)
    recent: list[int] = []
    for number, refused_as_well in visits:
        expected = "too_fast" if number in recent else "in"
        assert guarded.visit(host(number)) == expected
        if refused_as_well:
            assert guarded.visit(host(number)) == "too_fast"
        recent = [*(other for other in recent if other != number), number][-most:]
        assert guarded.admission.clients.idle == len(recent)


def test_memory_is_bounded() -> None:
    """A client takes less than the 64 MiB that there are for a hundred thousand of them, 671 bytes, whatever
    is known of it. That many more come makes no difference."""
    most = 2_000
    limits = LimitsConfig(
        connections_per_client=5, connect_rate_per_client=0.001, burst_per_client=2, ban_after=2, ban_for=1e6
    )
    for many in (most, 10 * most):
        clock = Clock()
        tracemalloc.start()
        try:
            admission = AdmissionControl(Access(), limits, clock.seconds, max_clients=most)
            for number in range(many):
                clock.advance(0.001)
                client = IPv6Address(number << 64).packed
                for _ in range(2 + number % 3):  # let in alone, refused once, or banned
                    if admission.admit(client) is None:
                        admission.release(client)
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert len(admission.clients) == most
        assert taken / most * MAX_CLIENTS < 64 * 2**20
