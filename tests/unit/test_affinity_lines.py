"""The table of clients that are remembered."""

from __future__ import annotations

from typing import Any

import pytest

from tcpbalance.cli.affinity import affinity_lines
from tcpbalance.cli.table import plain_text

CONNECTED = {"backend": "a", "connected": True, "seconds": None}
AWAY = {"backend": "a", "connected": False, "seconds": 59.0}
FALLBACK = {"backend": "b", "connected": True, "seconds": None}


@pytest.mark.parametrize(
    ("sticky", "fallback", "shown"),
    [
        (AWAY, None, ["a", "59", "s"]),
        (CONNECTED, None, ["a", "a", "connected"]),
        (AWAY, FALLBACK, ["a", "b", "59", "s"]),
        (CONNECTED, FALLBACK, ["a", "a,", "b", "connected"]),
        (AWAY, {**FALLBACK, "connected": False}, ["a", "59", "s"]),
    ],
)
def test_a_client_is_shown_with_its_backend_and_those_that_serve_it_now(
    sticky: dict[str, Any], fallback: dict[str, Any] | None, shown: list[str]
) -> None:
    entry = {"pool": "web", "client": "203.0.113.7", **sticky, "fallback": fallback}
    _, line = affinity_lines([entry], None, plain_text)
    assert line.split() == ["203.0.113.7", "web", *shown]
