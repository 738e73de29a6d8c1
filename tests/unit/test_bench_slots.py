"""What a slot costs is measured on the count of workers, which has to grant each."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.measures import MEASURES
from bench.reach import OURS
from bench.slots import duration, measure
from tcpbalance.workers.shared_counts import can_count, count_alone


def test_each_turn_takes_a_slot_and_gives_it_back() -> None:
    count = count_alone()
    assert duration(count, 10) > 0
    assert count.own == 0


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
def test_the_figure_is_in_microseconds() -> None:
    assert 0.01 < measure(500, 5) < 100


def test_nobody_else_is_measured() -> None:
    assert MEASURES["slots"].contestants == (OURS,)
