"""What `tcpbalance status` draws of what the admin side answers."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from tcpbalance.cli.snapshots import Snapshot
from tcpbalance.cli.status_table import state_text, status_lines
from tcpbalance.cli.table import coloured, text_width

PROCESS = {"pid": 1, "memory": 40 << 20, "descriptors": 30, "max_descriptors": 1024}


def backend(name: str, address: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "address": address,
        "state": "up",
        "cause": "",
        "weight": 1,
        "max_connections": None,
        "backup": False,
        "counters": {"connections_active": 2, "connections_total": 10, "bytes_in": 2048, "bytes_out": 4096},
        **more,
    }


SNAPSHOT = Snapshot(
    {
        "version": "1.2",
        "started": 1000.0,
        "config": {"error": None},
        "processes": [{**PROCESS, "worker": 0}, {**PROCESS, "worker": 1}, {**PROCESS, "supervisor": True}],
    },
    [
        {
            "name": "web",
            "listen": ["0.0.0.0:443"],
            "pools": ["web"],
            "counters": {
                "connections_active": 4,
                "connections_total": 20,
                "bytes_in": 4096,
                "bytes_out": 8192,
                "refused.banned": 3,
                "refused.denied": 4,
            },
        }
    ],
    [
        {
            "name": "web",
            "counters": {"queue_active": 5, "bytes_in": 1024},
            "backends": [
                backend("10.0.0.11:80", "10.0.0.11:80", max_connections=100),
                backend("b", "10.0.0.12:80", state="down", cause="connection refused", backup=True),
            ],
        }
    ],
    at=50.0,
)

PARTS = ["tcpbalance 1.2", "up 1 min 40 s", "2 workers", "120 MiB of memory", "90 descriptors", "at unix:a"]


def drawn(width: int | None, before: Snapshot | None = None, **options: Any) -> list[str]:
    return status_lines(SNAPSHOT, before, "unix:a", width, wall_clock=lambda: 1100.0, **options)


def test_wide() -> None:
    head, _, *tables = drawn(None)
    assert head == ", ".join(PARTS)
    # Without the spaces between the columns.
    assert [re.split(r" {2,}", line.strip()) for line in tables] == [
        ["FRONTEND", "LISTENS ON", "POOLS", "OPEN", "TOTAL", "IN", "OUT", "REFUSED"],
        ["web", "0.0.0.0:443", "web", "4", "20", "4.00 KiB", "8.00 KiB", "7"],
        [""],
        ["POOL, BACKEND", "ADDRESS", "STATE", "WEIGHT", "OPEN", "TOTAL", "IN", "OUT", "FAILED"],
        ["web", "1 of 2 up, 5 queued", "4", "20", "5.00 KiB", "8.00 KiB", "0"],
        ["10.0.0.11:80", "up", "1", "2/100", "10", "2.00 KiB", "4.00 KiB", "0"],
        ["b", "10.0.0.12:80", "down: connection refused", "1 backup", "2", "10", "2.00 KiB", "4.00 KiB", "0"],
    ]


def test_requests_are_shown_where_a_frontend_has_any() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    frontends: Any = snapshot.frontends
    frontends[0].update(mode="http")
    frontends[0]["counters"].update({"requests_total": 50, "responses.5xx": 3})
    backends: Any = snapshot.pools[0]["backends"]
    backends[0]["counters"].update({"requests_total": 40})
    before = copy.deepcopy(snapshot)._replace(at=48.0)
    before.frontends[0]["counters"].update(requests_total=40)
    _, _, titles, web, *_, of_pool, a, _ = status_lines(snapshot, None, "unix:a", None)
    assert re.split(r" {2,}", titles)[4:7] == ["TOTAL", "REQUESTS", "5XX"]
    assert web.split()[4:7] == ["20", "50", "3"]
    assert (of_pool.split()[8:11], a.split()[4:7]) == (["20", "40", "0"], ["10", "40", "0"])
    _, _, titles, web, *_ = status_lines(snapshot, before, "unix:a", None, with_rates=True)
    assert titles.split()[5:10] == ["TOTAL", "CONN/S", "REQUESTS", "REQ/S", "5XX"]
    assert web.split()[5:8] == ["0", "50", "5.00"]


def test_in_80_columns() -> None:
    assert drawn(80) == [
        "tcpbalance 1.2, up 1 min 40 s, 2 workers, 120 MiB of memory, 90 descriptors,",
        "at unix:a",
        "",
        "FRONTEND  LISTENS ON   POOLS  OPEN  TOTAL        IN       OUT  REFUSED",
        "web       0.0.0.0:443  web       4     20  4.00 KiB  8.00 KiB        7",
        "",
        "POOL, BACKEND   STATE                    OPEN  TOTAL        IN       OUT  FAILED",
        "web             1 of 2 up, 5 queued         4     20  5.00 KiB  8.00 KiB       0",
        "  10.0.0.11:80  up                      2/100     10  2.00 KiB  4.00 KiB       0",
        "  b             down: connection            2     10  2.00 KiB  4.00 KiB       0",
        "                refused",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("with_rates", [False, True])
def test_no_line_is_too_wide(width: int, with_rates: bool) -> None:
    assert all(text_width(line) <= width for line in drawn(width, SNAPSHOT, with_rates=with_rates))


def test_rates_are_what_has_happened_since_the_look_before() -> None:
    before = copy.deepcopy(SNAPSHOT)._replace(at=48.0)
    before.frontends[0]["counters"].update(connections_total=10, bytes_in=0)
    before.pools[0]["backends"][0]["counters"].update(connections_total=9)
    # A worker began anew: counters that have fallen say nothing.
    before.pools[0]["backends"][1]["counters"].update(connections_total=11)
    lines = drawn(None, before, with_rates=True)
    (frontend,) = [line.split() for line in lines if line.startswith("web ") and "0.0.0.0" in line]
    assert frontend[3:8] == ["4", "20", "5.00", "2.00", "KiB"]
    a, b = lines[-2].split(), lines[-1].split()
    assert a[a.index("10") + 1] == "0.50"
    assert b[b.index("10") + 1] == "-"


def test_without_a_look_before_no_rate_is_known() -> None:
    assert drawn(None, None, with_rates=True)[-1].split().count("-") == 3


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"state": "draining"}, "draining"),
        ({"state": "draining", "drain_deadline": None}, "draining"),
        ({"state": "draining", "drain_deadline": 299.9}, "draining, 4 min 59 s left"),
        ({"state": "maintenance", "drain_deadline": 0.0}, "maintenance, 0 s left"),
        ({"state": "down", "cause": "refused", "drain_deadline": None}, "down: refused"),
    ],
)
def test_the_state_says_why_or_for_how_long(more: dict[str, Any], text: str) -> None:
    assert state_text(backend("a", "a", **more)) == text


def test_the_state_has_its_colour() -> None:
    lines = status_lines(SNAPSHOT, None, "unix:a", None, coloured)
    assert "\x1b[32mup\x1b[0m" in lines[-2]
    assert "\x1b[31mdown: connection refused\x1b[0m" in lines[-1]


def test_a_file_that_cannot_be_used_is_reported() -> None:
    error = {"time": "2026-11-30T20:14:10.531Z", "message": "a.toml:1: one\na.toml:2: two"}
    broken = SNAPSHOT._replace(status={**SNAPSHOT.status, "config": {"error": error}})
    lines = status_lines(broken, None, "unix:a", None)
    assert lines[1:3] == ["the configuration file was changed and cannot be used: a.toml:1: one", ""]
    narrow = status_lines(broken, None, "unix:a", 40)
    assert all(text_width(line) <= 40 for line in narrow)
    assert "cannot be used: a.toml:1: one" in " ".join(narrow)


def test_one_process() -> None:
    alone = SNAPSHOT._replace(status={**SNAPSHOT.status, "processes": [PROCESS]})
    assert "1 process, 40.0 MiB" in status_lines(alone, None, "unix:a", None)[0]
