"""Which address of a name a dial tries first."""

from __future__ import annotations

import socket
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.net.resolver.answer import Host
from tcpbalance.net.resolver.targets import FIRST_PAUSE, MAX_PAUSE, SocketAddress, Targets, numeric_target

V4 = tuple(Host(socket.AF_INET, f"10.0.0.{number}") for number in range(1, 5))
V6 = (Host(socket.AF_INET6, "2001:db8::1"), Host(socket.AF_INET6, "fe80::1", 2))


def targets(*hosts: Host, clock: Clock | None = None) -> Targets:
    return Targets(hosts, 5432, (clock or Clock()).seconds, Random(1))


def at(host: Host) -> SocketAddress:
    return (targets(host).order())[0]


def firsts(known: Targets, dials: int) -> Counter[SocketAddress]:
    return Counter(known.order()[0] for _ in range(dials))


def test_targets_are_what_connect_takes() -> None:
    assert at(V4[0]) == (socket.AF_INET, ("10.0.0.1", 5432))
    assert at(V6[1]) == (socket.AF_INET6, ("fe80::1", 5432, 0, 2))
    assert numeric_target("10.0.0.1", 5432) == at(V4[0])
    assert numeric_target("2001:db8::1", 5432) == at(V6[0])


def test_the_addresses_of_one_family_share_the_dials() -> None:
    counts = firsts(targets(*V4[:2]), 1000)
    assert 400 < counts[at(V4[0])] < 600
    assert counts.total() == counts[at(V4[0])] + counts[at(V4[1])]


def test_the_other_family_is_for_when_the_first_fails() -> None:
    known = targets(*V4[:2], V6[0])
    for _ in range(20):
        order = known.order()
        assert order[2] == at(V6[0])
        assert set(order[:2]) == {at(V4[0]), at(V4[1])}


def test_one_that_failed_comes_last_for_a_while() -> None:
    clock = Clock()
    known = targets(*V4[:3], V6[0], clock=clock)
    known.failed(at(V4[1]))
    for _ in range(20):
        assert known.order()[-1] == at(V4[1])
    clock.advance(FIRST_PAUSE - 0.1)
    assert known.order()[-1] == at(V4[1])


def test_after_the_pause_one_dial_tries_it_again() -> None:
    clock = Clock()
    known = targets(*V4[:2], clock=clock)
    known.failed(at(V4[0]))
    pause = FIRST_PAUSE
    for _ in range(8):
        clock.advance(pause)
        assert firsts(known, 100)[at(V4[0])] == 1
        known.failed(at(V4[0]))
        pause = min(2 * pause, MAX_PAUSE)
        clock.advance(pause / 2)
        assert firsts(known, 100)[at(V4[0])] == 0
        clock.advance(-pause / 2)
    assert pause == MAX_PAUSE


def test_many_failures_at_once_are_one() -> None:
    clock = Clock()
    known = targets(*V4[:2], clock=clock)
    for _ in range(50):
        known.failed(at(V4[0]))
    clock.advance(FIRST_PAUSE)
    assert firsts(known, 100)[at(V4[0])] == 1


def test_one_that_has_accepted_is_as_good_as_any() -> None:
    known = targets(*V4[:2])
    known.failed(at(V4[0]))
    known.accepted(at(V4[0]))
    assert firsts(known, 100)[at(V4[0])] > 30


def test_a_single_address_is_tried_whatever_it_did() -> None:
    known = targets(V4[0])
    known.failed(at(V4[0]))
    assert known.order() == [at(V4[0])]


def test_what_failed_is_remembered_over_a_change_of_addresses() -> None:
    known = targets(*V4[:3])
    known.failed(at(V4[0]))
    known.failed(at(V4[1]))
    known.change(V4[1:])
    assert set(known.order()) == {at(host) for host in V4[1:]}
    assert known.order()[-1] == at(V4[1])
    # A dial may tell of an address that the name has no longer.
    known.failed(at(V4[0]))
    assert len(known._failing) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["failed", "accepted", "wait"]))))
def test_every_address_is_in_every_order_once(events: list[tuple[int, str]]) -> None:
    clock = Clock()
    known = targets(*V4[:3], V6[0], clock=clock)
    places = [at(host) for host in (*V4[:3], V6[0])]
    for number, event in events:
        if event == "wait":
            clock.advance(7.0)
        else:
            getattr(known, event)(places[number])
        assert sorted(known.order()) == sorted(places)
