"""Turns go round, and everyone has as many."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.turns import players, schedule


def test_at_each_measure_everyone_has_a_turn_before_anyone_has_the_next() -> None:
    order = list(schedule(2, {"requests": ["a", "b"], "idle": ["a", "b"]}))
    assert order == [
        (1, "requests", "a"),
        (1, "requests", "b"),
        (1, "idle", "a"),
        (1, "idle", "b"),
        (2, "requests", "a"),
        (2, "requests", "b"),
        (2, "idle", "a"),
        (2, "idle", "b"),
    ]


def test_where_there_is_no_proxy_there_is_nothing_idle_in_it() -> None:
    assert players(["requests", "idle"], {"plain": ["a", "direct"]}) == {
        "requests": ["a", "direct"],
        "idle": ["a"],
    }


def test_what_only_one_has_is_measured_of_that_one() -> None:
    assert players(["admission"], {"plain": ["haproxy", "tcpbalance", "portable", "direct"]}) == {
        "admission": ["tcpbalance"]
    }


def test_at_a_measure_play_those_who_run_where_it_is_taken() -> None:
    running = {"plain": ["a", "b", "direct"], "ecdsa": ["a", "b"], "rsa": ["b"]}
    assert players(["handshakes_rsa", "tls_idle", "download"], running) == {
        "handshakes_rsa": ["b"],
        "tls_idle": ["a", "b"],
        "download": ["a", "b", "direct"],
    }
