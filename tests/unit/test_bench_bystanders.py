"""What others take of the machine is what is busy and not for us."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.bystanders import Reading, core_seconds

START = Reading(busy=100.0, idle=50.0, ours=20.0)


def test_what_is_busy_and_not_ours_is_of_others() -> None:
    assert Reading(busy=106.0, idle=52.0, ours=24.0).others(START) == pytest.approx(2.0 / 8.0)


def test_counters_that_do_not_quite_agree_give_no_share_below_nothing() -> None:
    assert Reading(busy=104.0, idle=54.0, ours=24.1).others(START) == 0.0


def test_no_time_at_all_gives_no_share() -> None:
    assert START.others(START) == 0.0


def test_stolen_time_is_busy_and_waiting_for_a_disk_is_not() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    line = " ".join(str(seconds * ticks) for seconds in (1, 2, 3, 40, 50, 6, 7, 8, 99, 99))
    assert core_seconds(f"cpu  {line}\ncpu0 1 1 1 1\n") == (27.0, 90.0)
