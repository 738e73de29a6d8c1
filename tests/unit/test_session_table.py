"""How `tcpbalance sessions` and `health` show what the admin side answers."""

from __future__ import annotations

from typing import Any

import pytest

from tcpbalance.cli.health import check_lines
from tcpbalance.cli.sessions import session_lines
from tcpbalance.cli.table import plain_text, text_width


def session(**more: Any) -> dict[str, Any]:
    return {
        "id": "0.7f3a5c1d2e40.19c2f0b5a11",
        "frontend": "web",
        "client": "203.0.113.7:51111",
        "pool": "web",
        "backend": "a",
        "state": "relaying",
        "age": 1804.2,
        "idle": 63.0,
        "client_bytes": 412,
        "backend_bytes": 9032,
        "server_name": None,
        **more,
    }


SESSIONS = [
    session(),
    session(client="[2001:db8:1234:5678:9abc:def0:1234:5678]:51111", backend=None, state="queued"),
    session(pool=None, backend=None, state="preread", server_name="www.example.com"),
]


def test_sessions() -> None:
    head, first, second, third = session_lines(SESSIONS, None, plain_text)
    assert head.split() == [
        *("ID", "CLIENT", "FRONTEND", "BACKEND", "STATE", "AGE", "IDLE", "IN", "OUT", "SERVER", "NAME"),
    ]
    assert first.split() == [
        *("0.7f3a5c1d2e40.19c2f0b5a11", "203.0.113.7:51111", "web", "web/a", "relaying"),
        *("30", "min", "4", "s", "1", "min", "3", "s", "412", "B", "8.82", "KiB"),
    ]
    assert second.split()[2:5] == ["web", "web", "queued"]
    assert third.split()[2:5] == ["web", "-", "preread"]
    assert third.endswith("www.example.com")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_sessions_fit(width: int) -> None:
    lines = session_lines(SESSIONS, width, plain_text)
    assert all(text_width(line) <= width for line in lines)
    # What ends one.
    assert [line.split()[0] for line in lines if not line.startswith(" ")][1:] == [
        it["id"] for it in SESSIONS
    ]


@pytest.mark.parametrize("width", [40, 50, 60])
def test_on_a_narrow_terminal_each_session_has_lines_of_its_own(width: int) -> None:
    lines = session_lines(SESSIONS, width, plain_text)
    assert all(text_width(line) <= width for line in lines)
    whole = " ".join(line.strip() for line in lines)
    assert "frontend web, backend web/a, state relaying, age 30 min 4 s, idle 1 min 3 s, in 412 B" in whole
    for one in SESSIONS:
        assert one["id"] in lines
        assert f"client {one['client']}," in whole or width < len(one["client"]) + 10


def test_checks() -> None:
    time = "2026-11-30T20:14:05.220Z"
    checks: list[dict[str, Any]] = [
        {"time": time, "passed": False, "cause": "connection refused", "seconds": 0.0003},
        {"time": time, "passed": True, "cause": "", "seconds": 1.5},
        {"time": time, "passed": None, "cause": "no descriptor", "seconds": 0.0},
    ]
    assert check_lines(checks, None, plain_text) == [
        "TIME                      RESULT        TOOK  CAUSE",
        f"{time}  failed      0.3 ms  connection refused",
        f"{time}  passed   1500.0 ms",
        f"{time}  unknown     0.0 ms  no descriptor",
    ]
