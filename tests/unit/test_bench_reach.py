"""Targets are judged by medians of one run, and not at all where figures are missing."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.contestants import PEERS, PROXIES, TERMINATORS, TITLES
from bench.measures import HTTP, MEASURES, PLAIN
from bench.metrics import METRICS
from bench.reach import OURS, TARGETS, Target, Verdict, judge
from bench.results import Median, Medians

THREE = {"haproxy": 10.0, "nginx": 20.0, "envoy": 40.0}


def figures(metric: str, **values: float) -> Medians:
    """Give everyone's median of one metric."""
    return {metric: {contestant: Median(value, 5) for contestant, value in values.items()}}


def verdict(target: Target, **values: float) -> Verdict:
    """Judge one target."""
    (found,) = judge(figures(target.metric, **values), [target])
    return found


@pytest.mark.parametrize(("ours", "met"), [(7.4, False), (7.5, True), (80.0, True)])
def test_at_least_so_much_of_another(ours: float, met: bool) -> None:
    found = verdict(Target("connections_rate", 0.75, ("haproxy",)), tcpbalance=ours, haproxy=10.0)
    assert found.value == pytest.approx(ours / 10.0)
    assert found.met is met


@pytest.mark.parametrize(("ours", "met"), [(7.6, False), (7.5, True), (1.0, True)])
def test_at_most_so_much_of_the_cheapest(ours: float, met: bool) -> None:
    found = verdict(Target("download_cpu", 0.75, PEERS), tcpbalance=ours, **THREE)
    assert found.value == pytest.approx(ours / 10.0)
    assert found.met is met


@pytest.mark.parametrize(("ours", "met"), [(47.0, False), (48.0, True)])
def test_at_least_so_much_of_the_fastest(ours: float, met: bool) -> None:
    found = verdict(Target("download_rate", 1.2, PEERS), tcpbalance=ours, **THREE)
    assert found.value == pytest.approx(ours / 40.0)
    assert found.met is met


@pytest.mark.parametrize(("ours", "met"), [(6144.0, True), (6145.0, False)])
def test_at_most_so_much_of_itself(ours: float, met: bool) -> None:
    found = verdict(Target("idle_memory", 6144), tcpbalance=ours, haproxy=1.0)
    assert (found.value, found.met) == (ours, met)


def test_without_one_of_the_peers_the_best_of_them_is_not_known() -> None:
    found = verdict(Target("download_rate", 1.2, PEERS), tcpbalance=100.0, haproxy=1.0, nginx=1.0)
    assert (found.value, found.met, found.missing) == (None, None, ("envoy",))


def test_without_any_figure_nothing_is_known() -> None:
    assert [found.met for found in judge({})] == [None] * len(TARGETS)


def test_a_verdict_is_of_the_fewest_turns_in_it() -> None:
    found = judge({"requests_rate": {"tcpbalance": Median(1.0, 5), "envoy": Median(1.0, 3)}})
    assert [verdict.turns for verdict in found if verdict.met is not None] == [3]


def test_all_that_is_named_exists() -> None:
    assert {target.metric for target in TARGETS} <= set(METRICS)
    assert {other for target in TARGETS for other in target.others} <= set(PROXIES)
    assert set(TITLES) == {*PROXIES, "direct"}
    assert TERMINATORS.keys() <= PROXIES.keys()


def test_what_is_compared_over_tls_is_measured_over_tls() -> None:
    over_tls = {name for name, measure in MEASURES.items() if measure.arena not in {PLAIN, HTTP}}
    targets = [target for target in TARGETS if target.metric.rpartition("_")[0] in over_tls]
    assert len(targets) == 5
    assert {other for target in targets for other in (OURS, *target.others)} <= set(TERMINATORS)
