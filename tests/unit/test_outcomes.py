"""What is reported of a backend's connections counts as the connections themselves would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from support.pools import a_pool, some_backends
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.ejection import Ejections
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.outcomes import MAX_SENT_CAUSE, Outcomes

FAILURES = 3


def pool_and_backend(before: int) -> tuple[Pool, Backend, Ejections]:
    """A pool that ejects, and a backend of which some connections have failed."""
    pool = a_pool(some_backends(1, 1), Clock(), outlier=OutlierConfig(consecutive_failures=FAILURES))
    backend = pool.backends[0]
    assert isinstance(pool.ejections, Ejections)
    for _ in range(before):
        pool.ejections.failed(backend, "refused")
    return pool, backend, pool.ejections


@given(st.integers(0, FAILURES - 1), st.lists(st.booleans(), max_size=20))
def test_it_ejects_as_the_connections_themselves_would(before: int, succeed: list[bool]) -> None:
    _, at_once, ejections = pool_and_backend(before)
    outcomes = Outcomes()
    for succeeds in succeed:
        if succeeds:
            outcomes.succeeded()
            ejections.answered(at_once)
        else:
            outcomes.failed("refused")
            ejections.failed(at_once, "refused")
    _, reported, others = pool_and_backend(before)
    Outcomes(*outcomes.encode()).report_to(others, reported)
    assert reported.ejected == at_once.ejected
    if not at_once.ejected:
        assert reported.host_stats.failures == at_once.host_stats.failures


def test_many_failures_are_one_short_report() -> None:
    outcomes = Outcomes()
    for _ in range(10_000):
        outcomes.failed("x" * 10_000)
    assert outcomes.encode() == [10_000, 0, 0, False, "x" * MAX_SENT_CAUSE, ""]


def test_a_slow_one_is_ejected_and_one_that_is_ejected_already_is_not_again() -> None:
    _, backend, ejections = pool_and_backend(0)
    for _ in range(2):
        Outcomes(slow="slow, 500.0 ms to connect, the median is 2.0 ms").report_to(ejections, backend)
    assert backend.ejected
    assert backend.stats.ejections == 1
