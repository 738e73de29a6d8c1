"""How `tcpbalance events` words an event."""

from __future__ import annotations

from tcpbalance.cli.events import event_text
from tcpbalance.cli.table import coloured, plain_text

DOWN = {
    "number": 1796069650001,
    "time": "2026-11-30T20:14:10.531Z",
    "kind": "backend_down",
    "pool": "web",
    "backend": "a",
    "address": "10.0.0.11:80",
    "cause": "refused\x1b[2J",
    "worker": None,
}


def test_a_line_says_what_it_is_about_and_why() -> None:
    assert event_text(plain_text, None, {**DOWN, "worker": 1}) == (
        "2026-11-30T20:14:10.531Z  backend down  pool web, backend a, worker 1, address 10.0.0.11:80, "
        r"cause refused\x1b[2J"
    )


def test_the_kind_has_its_colour() -> None:
    assert "\x1b[31mbackend down\x1b[0m" in event_text(coloured, None, DOWN)
    assert "\x1b[1mreloaded\x1b[0m" in event_text(coloured, None, {"time": "x", "kind": "reloaded"})


def test_on_a_narrow_terminal_it_goes_on_below_with_its_colour() -> None:
    assert event_text(coloured, 50, DOWN).split("\n") == [
        "2026-11-30T20:14:10.531Z  \x1b[31mbackend down\x1b[0m  pool web,",
        "  backend a, address 10.0.0.11:80, cause",
        r"  refused\x1b[2J",
    ]


def test_what_is_empty_is_left_out() -> None:
    line = event_text(
        plain_text, None, {"time": "x", "kind": "worker_ended", "worker": 0, "cause": "", "before": None}
    )
    assert line == "x  worker ended  worker 0"
