"""The access log while traffic runs: SIGUSR1 loses nothing, and a stalled reader holds up nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path

from support import peers
from support.clients import ask
from support.daemon import Daemon
from support.waiting import until

CONFIG = """
[access_log]
path = "{path}"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["{backend}"]
"""


class Traffic:
    """Connections one after another, in a thread, until told to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.made = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            assert ask(self._port) == b"a"
            self.made += 1

    def stop(self) -> None:
        """Make no more."""
        self._stop.set()
        self._thread.join()


def test_rotation_loses_no_line_and_writes_none_twice(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with peers.named("a") as (backend,):
        config = CONFIG.format(path="access.log", backend=backend.address)
        with Daemon(config, tmp_path) as daemon:
            traffic = Traffic(daemon.port)
            try:
                for number in range(4):
                    until(lambda: log.exists() and log.read_text().count("\n") > 10, "lines")
                    log.rename(tmp_path / f"access.log.{number}")
                    daemon.send(signal.SIGUSR1)
                    until(log.exists, "the new file")
            finally:
                traffic.stop()
            assert daemon.stop() == 0
    files = [*(tmp_path / f"access.log.{number}" for number in range(4)), log]
    lines = [line for file in files for line in file.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    assert len(records) == traffic.made
    assert len({record["client"] + record["start"] for record in records}) == traffic.made
    # The connections came one after another, so in the files, read in their order, their starts only grow.
    starts = [record["start"] for record in records]
    assert starts == sorted(starts)


def test_a_stalled_reader_of_standard_output_holds_up_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with peers.named("a") as (backend,), open(reader, "rb") as unread:
        config = CONFIG.format(path="-", backend=backend.address)
        with Daemon(config, tmp_path, stdout=writer) as daemon:
            os.close(writer)
            for _ in range(600):
                assert ask(daemon.port) == b"a"
            assert daemon.stop() == 0
        lines = unread.read().splitlines()
    # The pipe took what it holds and nobody read; the rest is given up at the end, and counted.
    assert all(json.loads(line)["backend_bytes"] == 1 for line in lines)
    assert 0 < len(lines) < 600
    lost = re.findall(r"its reader does not read \(records lost: (\d+)\)", daemon.log)
    assert sum(map(int, lost)) == 600 - len(lines)


def test_a_reader_that_reads_gets_every_line(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with peers.named("a") as (backend,), open(reader, "rb") as output:
        config = CONFIG.format(path="-", backend=backend.address)
        with Daemon(config, tmp_path, stdout=writer) as daemon:
            os.close(writer)
            lines: list[bytes] = []
            reading = threading.Thread(target=lambda: lines.extend(output))
            reading.start()
            for _ in range(600):
                assert ask(daemon.port) == b"a"
            assert daemon.stop() == 0
            reading.join()
    assert len(lines) == 600
    assert all(json.loads(line)["backend_bytes"] == 1 for line in lines)
