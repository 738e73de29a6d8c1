"""What the counters cost is measured on statements that count what a connection does."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.counting import count_connection, count_nothing, measure
from bench.measures import MEASURES
from bench.reach import OURS
from support.byte_codes import ANSWER, REQUEST, Stage
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import BackendStats, FrontendStats


@pytest.mark.parametrize("queue", [0, 10])
def test_they_count_what_a_connection_does(queue: int) -> None:
    stage = Stage(queue=queue)
    stage.connection()
    stats, upstream = FrontendStats(), BackendStats()
    count_connection(stats, upstream, EndReason.BACKEND_CLOSED, len(REQUEST), 0.0)
    # The answer is longer than the request.
    stats.bytes_out += len(ANSWER) - len(REQUEST)
    upstream.bytes_out += len(ANSWER) - len(REQUEST)
    assert stats.snapshot() == stage.stats.snapshot()
    assert upstream.snapshot() == stage.backend.stats.snapshot()


def test_the_loop_that_is_taken_off_counts_nothing() -> None:
    stats, upstream = FrontendStats(), BackendStats()
    count_nothing(stats, upstream, EndReason.BACKEND_CLOSED, 1, 0.0)
    assert (stats.snapshot(), upstream.snapshot()) == (FrontendStats().snapshot(), BackendStats().snapshot())


def test_the_figure_is_in_microseconds() -> None:
    assert 0.01 < measure(500, 5) < 100


def test_nobody_else_is_measured() -> None:
    assert MEASURES["counting"].contestants == (OURS,)
