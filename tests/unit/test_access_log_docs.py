"""The lines that the reference shows are lines that the program writes."""

from __future__ import annotations

import re
from pathlib import Path

from support.log_lines import REQUEST_KEYS
from support.records import record, request
from tcpbalance.logs.combined import combined_line
from tcpbalance.logs.log_format import json_line, text_line, with_worker
from tcpbalance.proxy.reasons import EndReason

WHOLE = (Path(__file__).parents[2] / "docs" / "reference" / "log-format.md").read_text()
PAGE, _, _ = WHOLE.partition("\n## Daemon log\n")
SHOWN = [
    record(),
    record(
        started=1777885954.02,
        client="[2001:db8::7]:40112",
        frontend="db",
        backend="10.0.0.12:5432",
        attempts=2,
        wait=3.000731,
        connect=0.000402,
        total=60.412118,
        client_bytes=4096,
        backend_bytes=9211,
        reason=EndReason.BACKEND_RESET,
        cause="timed out",
        failures=[("10.0.0.11:5432", "timed out")],
    ),
    record(
        started=1777885955.3,
        client="192.0.2.9:51330",
        backend=None,
        attempts=3,
        wait=0.001204,
        connect=None,
        total=0.001204,
        client_bytes=0,
        backend_bytes=0,
        reason=EndReason.CONNECT_FAILED,
        cause="refused",
        failures=[("a", "refused"), ("b", "refused"), ("a", "refused")],
    ),
    request(),
]


def test_the_text_lines_are_real() -> None:
    assert re.findall(r"^start=.*$", PAGE, re.MULTILINE) == [text_line(shown) for shown in SHOWN]


def test_the_json_lines_are_real() -> None:
    assert re.findall(r'^\{"start":.*$', PAGE, re.MULTILINE) == [json_line(shown) for shown in SHOWN]


def test_the_combined_line_is_real() -> None:
    assert re.findall(r"^[0-9.]+ - - .*$", PAGE, re.MULTILINE) == [combined_line(request())]


def test_the_tables_have_every_key_in_the_order_of_the_line() -> None:
    of_sessions, _, of_requests = PAGE.partition("\n## Requests\n")
    key = re.compile(r"^\| `([a-z_]+)` \|", re.MULTILINE)
    assert key.findall(of_sessions) == re.findall(r"([a-z_]+)=", with_worker(text_line, 3)(record()))
    assert key.findall(of_requests) == REQUEST_KEYS
