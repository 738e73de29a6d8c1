"""wrk at work on a balancer."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path

from support.process import Process
from support.programs import require


class Wrk:
    """So many connections, each with one request in flight at a time, until it is over.

    :param port: where they lead.
    :param folder: for what it prints.
    :param options: further ones.
    :param seconds: after which it ends by itself.
    """

    def __init__(self, port: int, folder: Path, *options: str, connections: int, seconds: int = 3600) -> None:
        (wrk,) = require("wrk")
        how = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", *options]
        self.process = Process([wrk, *how, f"http://127.0.0.1:{port}/"], folder, folder / "wrk.log")

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.exit_code is None

    def finish(self) -> None:
        """End it, if it has not ended."""
        assert self.process.stop(signal.SIGINT) == 0

    def _count(self, pattern: str) -> int:
        found = re.search(pattern, self.process.output)
        return int(found[1]) if found else 0

    @property
    def requests(self) -> int:
        """Requests that were answered."""
        return self._count(r"(\d+) requests in")

    @property
    def errors(self) -> Counter[str]:
        """What went wrong, by kind."""
        kinds = {kind: self._count(rf"{kind} (\d+)") for kind in ("connect", "read", "write", "timeout")}
        return Counter({**kinds, "status": self._count(r"Non-2xx or 3xx responses: (\d+)")})
