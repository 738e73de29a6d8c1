"""No faster than may be, no slower than must be: the arithmetic of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.admission.gcra import MINUTE, TOLERANCE, Gcra, MinRate

LATEST = 0.2
"""Seconds that the wheel which ends waits may be late."""

STARTS = st.sampled_from([0.0, 1.7e9])
"""What a clock may show at first."""


class TestPace:
    @given(
        rate=st.sampled_from([1, 1000, 12_345, 10**7, 10**12]),
        start=STARTS,
        reads=st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 2)), min_size=1, max_size=60),
    )
    def test_in_any_time_no_more_than_the_rate_a_burst_and_one_read(
        self, rate: int, start: float, reads: list[tuple[int, float]]
    ) -> None:
        pace, now = Gcra(rate), start
        done: list[tuple[float, int]] = []
        for size, later in reads:
            done.append((now, size))
            now += pace.spent(size, now) + later
        for first in range(len(done)):
            begin, total = done[first][0], 0
            for when, size in done[first:]:
                total += size
                allowed = rate * (when - begin + TOLERANCE) + size
                assert total <= allowed * (1 + 1e-6) + rate * 1e-6

    @given(
        rate=st.sampled_from([1000, 12_345, 10**7]),
        start=STARTS,
        sizes=st.lists(st.floats(0.001, 0.1), min_size=1, max_size=10),
        delays=st.lists(st.floats(0, LATEST), min_size=1, max_size=10),
    )
    def test_a_source_that_always_has_bytes_gets_the_rate_though_each_wait_ends_late(
        self, rate: int, start: float, sizes: list[float], delays: list[float]
    ) -> None:
        pace, now, total, turn = Gcra(rate), start, 0, 0
        while now < start + 10:
            size = max(1, int(rate * sizes[turn % len(sizes)]))
            total += size
            wait = pace.spent(size, now)
            if wait:
                now += wait + delays[turn % len(delays)]
            turn += 1
        assert total >= 0.95 * rate * (now - start)

    def test_what_was_not_used_is_no_credit(self) -> None:
        pace = Gcra(1000)
        pace.spent(1000, 0.0)
        assert pace.spent(1000, 100.0) == pytest.approx(1.0 - TOLERANCE)

    def test_a_read_that_was_too_large_is_paid_back(self) -> None:
        pace = Gcra(1000)
        assert pace.spent(16_000, 5.0) == pytest.approx(16.0 - TOLERANCE)
        assert pace.spent(100, 21.0 - TOLERANCE) == pytest.approx(0.1)

    def test_little_may_come_at_once(self) -> None:
        pace = Gcra(1000)
        assert pace.spent(int(1000 * TOLERANCE), 5.0) == 0
        assert pace.spent(1, 5.0) > 0


class TestMinRate:
    """10 bytes a second: 600 in a minute."""

    def verdicts(self, *looks: tuple[float, int, bool]) -> list[bool]:
        """What is said at each look: when, bytes moved until then, whether some wait."""
        min_rate = MinRate(10, 100.0)
        return [min_rate.is_missed(moved, waiting, 100.0 + after) for after, moved, waiting in looks]

    @pytest.mark.parametrize(("moved", "missed"), [(1, True), (599, True), (600, False), (10**9, False)])
    def test_when_the_minute_is_over(self, moved: int, missed: bool) -> None:
        assert self.verdicts((59.9, moved, False), (MINUTE, moved, False)) == [False, missed]

    def test_a_look_that_comes_late_asks_for_more(self) -> None:
        assert self.verdicts((62, 619, False)) == [True]
        assert self.verdicts((62, 620, False)) == [False]

    def test_each_minute_stands_alone(self) -> None:
        assert self.verdicts((60, 10**6, False), (120, 10**6 + 599, False)) == [False, True]

    def test_silence_is_not_slow(self) -> None:
        assert self.verdicts((60, 0, False), (120, 0, False), (1000, 0, False)) == [False] * 3

    def test_a_silent_start_does_not_count(self) -> None:
        assert self.verdicts((45, 0, False), (60, 100, False), (104.9, 599, False)) == [False] * 3
        assert self.verdicts((45, 0, False), (60, 100, False), (105, 599, False)) == [False, False, True]
        assert self.verdicts((45, 0, False), (60, 100, False), (105, 600, False)) == [False] * 3

    def test_what_nobody_takes_is_slow(self) -> None:
        assert self.verdicts((30, 0, True), (60, 0, True)) == [False, True]

    def test_it_says_when_the_minute_is_over(self) -> None:
        min_rate = MinRate(10, 100.0)
        assert min_rate.due == 160
        min_rate.is_missed(5, True, 130.0)
        assert min_rate.due == 160
        min_rate.is_missed(600, True, 161.0)
        assert min_rate.due == 221
        min_rate.is_missed(600, False, 170.0)
        assert min_rate.due == 230
