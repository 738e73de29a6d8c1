"""The cost of admission is measured at a gate that has what is said to be in it."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from random import Random

from twisted.internet.task import Clock

from bench.admission import LIMITS, Population, durations, measure
from bench.measures import MEASURES
from bench.reach import OURS


def population() -> Population:
    return Population(50, 200, Random(3))


def test_everything_there_is_differs() -> None:
    made = population()
    assert (len(set(made.listed)), len({*made.known, *made.new})) == (50, 400)


def test_the_gate_knows_whom_it_is_to_know_and_refuses_whom_it_is_to() -> None:
    made = population()
    admission = made.admission(Clock().seconds)
    assert (len(admission.clients), admission.clients.idle) == (200, 200)
    refused = [admission.admit(network[7].packed) for network in made.listed]
    assert {None if each is None else each.word for each in refused} == {"denied"}
    assert all((LIMITS, LIMITS.connect_rate_per_client, LIMITS.connections_per_client, LIMITS.ban_after))


def test_each_comes_in_once_and_leaves_and_the_table_stays_full() -> None:
    made = population()
    admission = made.admission(Clock().seconds)
    took = durations(admission, made.known + made.new)
    assert len(took) == 400
    assert min(took) > 0
    assert (len(admission.clients), admission.clients.idle) == (200, 200)


def test_the_figures_are_in_microseconds() -> None:
    assert all(0.05 < figure < 5000 for figure in measure(50, 200))


def test_nobody_else_is_measured() -> None:
    assert MEASURES["admission"].contestants == (OURS,)
