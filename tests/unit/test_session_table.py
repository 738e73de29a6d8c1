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
    assert all(session["id"] in line for session, line in zip(SESSIONS, lines[1:], strict=True))


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
