"""Bulk transfers between two processes, which say afterwards what they sent and what came."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from support import bulk
from support.process import Process


def end(folder: Path, role: str, *numbers: int) -> Process:
    """Start one end of a transfer; see `support.bulk`."""
    command = [sys.executable, bulk.__file__, role, *map(str, numbers)]
    return Process(command, folder, folder / f"{role}.out")


def assert_whole(client: Process, server: Process, size: int) -> None:
    """See that all that was sent came, both ways, once both ends are done."""
    at_client, at_server = _result(client), _result(server)
    assert at_client["bytes"] == at_server["bytes"] == size
    assert at_client["received"] == at_server["sent"]
    assert at_server["received"] == at_client["sent"]


def _result(process: Process) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(process.output.splitlines()[-1])
    return result
