"""Turns go round, and everyone has as many."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.arena import Arena, Running
from bench.errors import Failed
from bench.measures import MEASURES, Figures, Measure, Turn
from bench.process import Child
from bench.turns import play, players, schedule
from bench.waiting import until


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


def test_a_turn_that_failed_says_how_a_proxy_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(turn: Turn) -> Figures:
        process = turn.running.process
        assert process is not None
        until(lambda: bool(process.ending()), "the end", 20)
        raise Failed("connection refused")

    monkeypatch.setitem(MEASURES, "requests", Measure(take))
    program = [sys.executable, "-c", "print('ready', 'oh no', sep='\\n'); raise SystemExit(3)"]
    arena = Arena(tmp_path, ())
    with Child(program, tmp_path / "output.log", tmp_path) as child:
        arena.running["tcpbalance"] = Running(1, child)
        (outcome,) = play({"plain": arena}, 1, ["requests"], 1, lambda _: None)
    assert outcome.failed == "connection refused; the proxy ended with status 3: ready | oh no"
