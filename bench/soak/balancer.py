"""The balancer that is tried: a daemon with several workers, and what can be done to its processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import Failed
from bench.process import TREE
from bench.soak.crowd import MAX_CONNECTIONS
from bench.soak.verdict import ANY_PLACE

WORKER_TIMEOUT = 2.0
"""Seconds without an answer after which a worker is killed."""

LIMIT = 10
"""Connections of one client."""

POLICIES = ("round_robin", "least_connections", "power_of_two_choices", "random")

_CONFIG = """
workers = {workers}
worker_timeout = "{timeout}s"
shutdown_grace = "120s"

[access_log]
path = "access.log"

[frontends.streams]
listen = "127.0.0.1:0"
pool = "streams"
idle_timeout = "{idle}s"

[frontends.held]
listen = "127.0.0.1:0"
pool = "held"
limits = {{ connections_per_client = {limit} }}

[pools.streams]
balance = "{policy}"
backends = [{backends}]
connect_timeout = "5s"

[pools.streams.health]
interval = "1s"

[pools.held]
backends = ["127.0.0.1:{echo}"]

[frontends.crowd]
listen = "127.0.0.1:0"
pool = "crowd"

[pools.crowd]
queue = 1000
queue_timeout = "60s"

[[pools.crowd.backends]]
address = "127.0.0.1:{crowd}"
max_connections = {max_connections}
"""


class Balancer:
    """The daemon, from `with` to its end.

    :param folder: for its files.
    :param workers: how many it has.
    :param backends: the ports of those that may end.
    :param echo: the port of a backend that gives back what it gets.
    :param crowd: the port of one that may have few connections.
    """

    def __init__(self, folder: Path, workers: int, backends: Sequence[int], *, echo: int, crowd: int) -> None:
        self._folder = folder
        self._workers = workers
        self._echo = echo
        self._crowd = crowd
        self._log = folder / "soak.log"
        self.configure(backends)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tcpbalance", "run", "soak.toml"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(TREE)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def configure(
        self, backends: Sequence[int], policy: str = POLICIES[0], idle: int = 3600, workers: int | None = None
    ) -> None:
        """Write the configuration; it is in use after a reload."""
        (self._folder / "soak.toml").write_text(
            _CONFIG.format(
                workers=workers or self._workers,
                timeout=WORKER_TIMEOUT,
                idle=idle,
                limit=LIMIT,
                policy=policy,
                backends=", ".join(f'"127.0.0.1:{port}"' for port in backends),
                echo=self._echo,
                crowd=self._crowd,
                max_connections=MAX_CONNECTIONS,
            )
        )

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace")

    async def port(self, frontend: str) -> int:
        """Wait until a frontend serves; give its port."""
        found = await self._found(rf"frontend {frontend} listens on \S+:(\d+) by", 30)
        return int(found[1])

    async def _found(self, pattern: str, seconds: float) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.log)) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the log does not come to {pattern!r}:\n{self.log[-2000:]}")
            await asyncio.sleep(0.02)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self._process.send_signal(number)

    @property
    def children(self) -> list[int]:
        """The processes of the supervisor that run."""
        file = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [pid for pid in map(int, file.read_text().split()) if _state(pid) not in "Z-"]

    def nurseries(self) -> list[int]:
        """Those that fork workers: each begins a session of its own, setsid(2)."""
        return [pid for pid in self.children if _session(pid) == pid]

    def workers(self) -> list[int]:
        """Those that serve, or drain, or start."""
        return [pid for pid in self.children if _session(pid) != pid]

    async def death_of(self, worker: int) -> int:
        """Wait until the death of a worker was noticed.

        :returns: its place; `ANY_PLACE` where the log does not name it: of several that end soon after each
            other not each is logged, and one may have ended in order before the signal came.
        """
        while worker in self.children:
            await asyncio.sleep(0.02)
        try:
            found = await self._found(rf"worker (\d+) \(process {worker}\) (?:was ended|ended|has not)", 1)
        except Failed:
            return ANY_PLACE
        return int(found[1])

    async def end(self, seconds: float = 30) -> int:
        """Have it end in order.

        :returns: its exit status.
        :raises Failed: it does not end.
        """
        self.send(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise Failed(f"the balancer does not end within {seconds:g} s")
            await asyncio.sleep(0.02)
        return status


def signal_one(pids: Callable[[], Sequence[int]], pid: int, number: signal.Signals) -> bool:
    """Send a process a signal, if it is still one of those.

    :returns: whether it was.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if pid not in pids():
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _state(pid: int) -> str:
    return _fields(pid)[0]


def _session(pid: int) -> int:
    return int(_fields(pid)[3])


def _fields(pid: int) -> list[str]:
    """Give what follows on the name in /proc/PID/stat: proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["-", "0", "0", "0"]
