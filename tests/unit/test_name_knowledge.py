"""What a reply of the name servers changes about what is known of a name."""

from __future__ import annotations

import socket
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.errors import Fault
from tcpbalance.net.faults import fault_of_lookup
from tcpbalance.net.resolver.answer import Answer, Host, Reply, Verdict
from tcpbalance.net.resolver.knowledge import MAX_HOSTS, MAX_JITTER, Knowledge, State

V4 = [Host(socket.AF_INET, f"10.0.0.{number}") for number in range(1, 4)]
V6 = [Host(socket.AF_INET6, f"2001:db8::{number}") for number in range(1, 4)]
EMPTY = Answer(Verdict.NO_ADDRESS)
NOWHERE = Reply.failed(Verdict.NO_SUCH_NAME)
FAILED = Reply.failed(Verdict.SERVER_FAILURE)


class Late(Random):
    """Makes all jitter as long as it can be."""

    def random(self) -> float:
        return 1.0


def known(random: Random | None = None, **settings: Any) -> Knowledge:
    return Knowledge("db.internal", 0.0, ResolverConfig(**settings), random or Random(1))


def found(*hosts: Host, ttl: float = 60.0) -> Reply:
    return Reply.of_hosts(hosts, ttl)


def ask(name: Knowledge, reply: Reply, now: float) -> str | None:
    notice = name.take(reply, now)
    return None if notice is None else str(notice)


def test_an_answer_is_good_for_its_time_to_live() -> None:
    name = known()
    assert name.due == 0.0
    assert ask(name, found(*V4, ttl=60.0), 5.0) is None
    assert name.hosts == tuple(V4)
    assert 65.0 <= name.due <= 65.0 + MAX_JITTER


@pytest.mark.parametrize(("ttl", "kept"), [(0.0, 1.0), (7.0, 7.0), (86400.0, 3600.0)])
def test_the_time_to_live_is_bounded(ttl: float, kept: float) -> None:
    name = known()
    name.take(found(V4[0], ttl=ttl), 0.0)
    assert kept <= name.due <= kept + MAX_JITTER


def test_jitter_is_a_tenth_and_never_more_than_a_second() -> None:
    for ttl, due in ((2.0, 2.2), (600.0, 601.0)):
        name = known(Late())
        name.take(found(V4[0], ttl=ttl), 0.0)
        assert name.due == pytest.approx(due)


def test_the_shorter_of_both_families_counts() -> None:
    name = known()
    name.take(Reply(Answer(Verdict.FOUND, (V4[0],), 100.0), Answer(Verdict.FOUND, (V6[0],), 5.0)), 0.0)
    assert 5.0 <= name.due <= 6.0


def test_the_preferred_family_comes_first() -> None:
    name = known()
    ipv4, ipv6 = Answer(Verdict.FOUND, (V4[0],), 9.0), Answer(Verdict.FOUND, (V6[0],), 9.0)
    name.take(Reply(ipv4, ipv6, ipv6_first=True), 0.0)
    assert list(name.hosts) == [V6[0], V4[0]]
    name.take(Reply(ipv4, ipv6, ipv6_first=False), 9.0)
    assert list(name.hosts) == [V4[0], V6[0]]


def test_the_last_good_answer_serves_while_the_servers_fail() -> None:
    name = known()
    name.take(found(*V4), 0.0)
    assert ask(name, FAILED, 240.0) == "db.internal: server failure (keeping 3 addresses, 4 m old)"
    assert name.hosts == tuple(V4)
    pauses = []
    now = 240.0
    for _ in range(8):
        pauses.append(name.due - now)
        now = name.due
        assert ask(name, Reply.failed(Verdict.TIMED_OUT), now) is None
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert name.hosts == tuple(V4)
    back = ask(name, found(V4[0]), 240.0 + 7200.0)
    assert back == "db.internal: good answer again (1 address, after 2 h)"
    assert name.hosts == (V4[0],)
    # The pauses begin anew.
    name.take(FAILED, 8000.0)
    assert name.due == 8001.0


def test_an_answer_is_held_from_the_end_of_its_time_to_live() -> None:
    name = known(hold=30)
    name.take(found(*V4, ttl=60), 0.0)
    name.take(FAILED, 60.5)
    assert name.hosts == tuple(V4)
    name.take(FAILED, 89.9)
    assert name.hosts == tuple(V4)
    name.take(FAILED, 90.0)
    assert list(name.hosts) == []


@pytest.mark.parametrize("family", ["10.0.{}.{}", "2001:db8::{}:{}"])
def test_addresses_are_used_up_to_a_bound_and_that_is_said_once(family: str) -> None:
    kind = socket.AF_INET6 if ":" in family else socket.AF_INET
    many = [Host(kind, family.format(number // 250, number % 250)) for number in range(MAX_HOSTS + 1)]
    name = known()
    told = ask(name, found(*many), 0.0)
    assert told == f"db.internal: too many addresses (using {MAX_HOSTS} of {MAX_HOSTS + 1})"
    assert name.hosts == tuple(many[:-1])
    assert ask(name, found(*many), 60.0) is None
    assert ask(name, found(*many[:-1]), 120.0) is None
    assert ask(name, found(*many), 180.0) == told


def test_hold_ends_it() -> None:
    name = known(hold=40)
    name.take(found(*V4, ttl=10), 0.0)
    name.take(FAILED, 10.0)
    for now in (11.0, 13.0, 17.0, 25.0):
        assert ask(name, FAILED, now) is None
    assert name.due == 41.0
    assert ask(name, FAILED, 41.0) is None
    assert name.due == 50.0
    assert name.hosts == tuple(V4)
    assert ask(name, FAILED, 50.0) == "db.internal: server failure (its addresses are given up after 40 s)"
    assert list(name.hosts) == []


@pytest.mark.parametrize("nothing", [NOWHERE, Reply(EMPTY, EMPTY)])
def test_no_such_name_is_believed_once_it_has_stood(nothing: Reply) -> None:
    name = known(hold_empty=30)
    name.take(found(V4[0]), 0.0)
    cause = nothing.ipv4.verdict.value
    assert ask(name, nothing, 60.0) == f"db.internal: {cause} (keeping 1 address for 30s)"
    while name.due < 90.0:
        assert name.hosts == (V4[0],)
        now = name.due
        assert ask(name, nothing, now) is None
    assert name.due == 90.0
    assert name.hosts == (V4[0],)
    assert ask(name, nothing, 90.0) == f"db.internal: {cause} (its addresses are given up after 30 s)"
    assert list(name.hosts) == []


def test_a_short_absence_changes_nothing() -> None:
    name = known(hold_empty=30)
    name.take(found(V4[0]), 0.0)
    name.take(NOWHERE, 60.0)
    assert ask(name, found(V4[0]), 65.0) == "db.internal: good answer again (1 address, after 5 s)"
    # The time counts anew.
    name.take(NOWHERE, 125.0)
    name.take(NOWHERE, 154.0)
    assert name.hosts == (V4[0],)


def test_a_failure_between_starts_the_time_anew() -> None:
    name = known(hold_empty=30)
    name.take(found(V4[0]), 0.0)
    name.take(NOWHERE, 60.0)
    name.take(FAILED, 80.0)
    name.take(NOWHERE, 95.0)
    assert name.hosts == (V4[0],)
    name.take(NOWHERE, 125.0)
    assert list(name.hosts) == []


def test_where_nothing_was_known_it_is_believed_at_once() -> None:
    name = known()
    assert ask(name, NOWHERE, 0.0) == "db.internal: no such name (no address of it is known)"
    assert (name.hosts, name.verdict, name.due) == ((), Verdict.NO_SUCH_NAME, 1.0)


def test_a_family_that_fails_keeps_its_addresses() -> None:
    name = known()
    name.take(found(V6[0], V4[0]), 0.0)
    partly = Reply(Answer(Verdict.FOUND, (V4[1],), 60.0), Answer(Verdict.SERVER_FAILURE))
    assert ask(name, partly, 60.0) == "db.internal: server failure (keeping 2 addresses, 1 m old)"
    assert name.hosts == (V6[0], V4[1])
    assert name.state is State.FAILING
    gone = Reply(Answer(Verdict.FOUND, (V4[1],), 60.0), EMPTY)
    ask(name, gone, 61.0)
    assert list(name.hosts) == [V4[1]]


def test_a_family_that_always_fails_spoils_nothing() -> None:
    name = known()
    partly = Reply(Answer(Verdict.FOUND, (V4[0],), 60.0), Answer(Verdict.SERVER_FAILURE))
    assert ask(name, partly, 0.0) is None
    assert name.state is State.FOUND
    assert name.due >= 60.0


def test_one_family_alone_does_not_say_that_there_is_no_name() -> None:
    name = known()
    assert name.take(Reply(Answer(Verdict.TIMED_OUT), EMPTY), 0.0) is not None
    assert name.verdict is Verdict.TIMED_OUT


def test_whose_fault_it_is() -> None:
    backend = {Verdict.NO_SUCH_NAME, Verdict.NO_ADDRESS, Verdict.BAD_NAME}
    for verdict in Verdict:
        assert fault_of_lookup(verdict) is (Fault.BACKEND if verdict in backend else Fault.BALANCER)
    assert fault_of_lookup(None) is Fault.BALANCER


answers = st.one_of(
    st.builds(
        lambda hosts, ttl: (hosts, ttl),
        st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
        st.floats(0, 10_000),
    ),
    st.sampled_from([verdict for verdict in Verdict if verdict is not Verdict.FOUND]),
)


def _answer(drawn: Any, family: list[Host]) -> Answer:
    if isinstance(drawn, Verdict):
        return Answer(drawn)
    hosts, ttl = drawn
    return Answer(Verdict.FOUND, tuple(family[number - 1] for number in hosts), ttl)


@given(
    st.lists(st.tuples(answers, answers, st.booleans(), st.floats(0.0, 100.0)), max_size=30),
    st.sampled_from(["forever", 40]),
    st.sampled_from([0, 30]),
)
def test_whatever_the_servers_say(
    replies: list[tuple[Any, Any, bool, float]], hold: Any, hold_empty: float
) -> None:
    name = known(hold=hold, hold_empty=hold_empty)
    empty_since: float | None = None
    for drawn4, drawn6, ipv6_first, wait in replies:
        now = name.due + wait
        before, state = name.hosts, name.state
        reply = Reply(_answer(drawn4, V4), _answer(drawn6, V6), ipv6_first)
        notice = name.take(reply, now)
        # It is asked again, later, and not too late.
        assert now < name.due <= now + 3600.0 + MAX_JITTER
        # What a server has found is in use.
        new = {*reply.ipv4.hosts, *reply.ipv6.hosts}
        assert new <= set(name.hosts)
        if name.state is State.EMPTY:
            # Given up when it has stood for long enough, and not before.
            empty_since = now if empty_since is None else empty_since
            assert name.hosts == (() if now >= empty_since + hold_empty else before)
        else:
            empty_since = None
        if name.state is State.FAILING and hold == "forever" and not new:
            assert name.hosts == before
        # A line is written for a change, not for each question.
        if notice is not None:
            assert name.state is not state or (before and not name.hosts)
