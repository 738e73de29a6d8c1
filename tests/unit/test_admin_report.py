"""What several processes have counted is added up; what one has counted stays when it has ended."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance import Backend, FrontendFactory, Pool
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import (
    NO_REPORT,
    STATE_NOW,
    Report,
    backend_key,
    past_of,
    report_of,
    sum_of,
    without,
)

COUNTERS = st.dictionaries(
    st.sampled_from(["connections_total", "bytes_in", *STATE_NOW]), st.integers(0, 1 << 40)
)
BY_NAME = st.dictionaries(st.sampled_from("ab"), COUNTERS)
REPORTS = st.fixed_dictionaries(
    {
        "processes": st.lists(st.fixed_dictionaries({"pid": st.integers(1, 9)}), max_size=1),
        "frontends": BY_NAME,
        "pools": st.dictionaries(
            st.sampled_from("xy"), st.fixed_dictionaries({"counters": COUNTERS, "backends": BY_NAME})
        ),
    }
)


def report() -> Report:
    reactor: Any = Clock()
    pool = Pool("web", [Backend("127.0.0.1:80", name="a"), Backend("127.0.0.1:81", name="b")])
    factory = FrontendFactory(reactor, pool, name="front")
    factory.stats.connections_total = 3
    pool.backends[1].stats.connect_attempts = 2
    pool.stats.queue_total = 4
    return at_once(report_of({"front": factory}, [pool]))


def test_a_report_has_all_counters_of_a_process() -> None:
    found = report()
    assert found["frontends"]["front"]["connections_total"] == 3
    assert found["pools"]["web"]["counters"]["queue_total"] == 4
    backends = found["pools"]["web"]["backends"]
    assert backends[backend_key("b", "127.0.0.1:81")]["connect_attempts"] == 2
    assert backends[backend_key("a", "127.0.0.1:80")]["connect_attempts"] == 0
    (process,) = found["processes"]
    assert process["pid"] > 0
    assert 0 < process["descriptors"] <= process["max_descriptors"]


def test_the_sum_of_nothing_is_nothing() -> None:
    assert sum_of([]) == NO_REPORT


@given(st.lists(REPORTS, max_size=3), st.lists(REPORTS, max_size=3))
def test_it_does_not_matter_in_which_parts_reports_are_added_up(
    some: list[Report], others: list[Report]
) -> None:
    assert sum_of([sum_of(some), sum_of(others)]) == sum_of([*some, *others])


@given(REPORTS)
def test_what_a_process_has_counted_stays_and_its_state_does_not(found: Report) -> None:
    past = past_of(found)
    assert past["processes"] == []
    for name, counters in found["frontends"].items():
        assert past["frontends"][name] == {k: v for k, v in counters.items() if k not in STATE_NOW}
    assert without(past, STATE_NOW) == past


def test_long_work_lets_the_reactor_go_on() -> None:
    clock = Clock()

    def pieces() -> Any:
        for _ in range(3):
            yield
        return 2

    done = in_pieces(clock, pieces())
    clock.pump([0] * 5)
    assert done.result == 2
