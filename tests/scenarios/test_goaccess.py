"""The combined format of the access log, as goaccess reads it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from support.log_lines import HOSTILE
from support.records import record, request
from tcpbalance.logs.log_format import FORMATS

pytestmark = pytest.mark.requires("goaccess")

RECORDS = [
    request(),
    request(client="[2001:db8::7]:40112", status=404, target="/missing", referer=None, user_agent=None),
    request(method="POST", target=f"/{HOSTILE}", user_agent=HOSTILE, status=0, response_body=0),
    record(),
]


def test_goaccess_reads_every_line(tmp_path: Path) -> None:
    log, report = tmp_path / "access.log", tmp_path / "report.json"
    lines = [FORMATS["combined"](each) for each in RECORDS]
    log.write_text("".join(f"{line}\n" for line in lines if line))
    command = ["goaccess", str(log), "--no-global-config", "--log-format=COMBINED", "-o", str(report)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=50, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    general = found["general"]
    assert (general["total_requests"], general["valid_requests"], general["failed_requests"]) == (3, 3, 0)
    statuses = {item["data"].split()[0] for it in found["status_codes"]["data"] for item in it["items"]}
    assert statuses == {"200", "404", "499"}
    assert {it["data"] for it in found["hosts"]["data"]} == {"192.0.2.7", "2001:db8::7"}
