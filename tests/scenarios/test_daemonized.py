"""Without -n, `twistd` forks into the background: everything that was opened before still works after."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

from support import peers
from support.clients import ask
from support.configs import WEB
from support.daemon import TWISTD
from support.descriptors import room_in
from support.name_server import FakeNameServer
from support.process import Process, run
from support.waiting import until
from tcpbalance.net.descriptors import MAX_PREPARED


@contextlib.contextmanager
def in_the_background(folder: Path) -> Iterator[int]:
    """Run the balancer as a daemon, and see that it has ended afterwards.

    :returns: its process id.
    """
    run([TWISTD, *_files(folder), "tcpbalance", "--config", folder / "tcpbalance.toml"], cwd=folder)
    pid = until(lambda: _pid_in(folder / "twistd.pid"), "the file with the process id")
    with _ending(pid):
        yield pid


@contextlib.contextmanager
def _ending(pid: int) -> Iterator[None]:
    """See that a process has ended afterwards."""
    try:
        yield
    finally:
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)


def _files(folder: Path) -> list[str]:
    return [f"--pidfile={folder}/twistd.pid", f"--logfile={folder}/twistd.log"]


def _pid_in(file: Path) -> int:
    """The process id in a file that may not be there yet, or still be empty; 0 then."""
    text = file.read_text() if file.exists() else ""
    return int(text or 0)


def _runs(pid: int) -> bool:
    """Tell whether it runs; who inherited it may be slow to take note of its end: Z, a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _port(log: Path) -> int:
    until(log.exists, "the log")
    listens = re.compile(r"frontend web listens on 127\.0\.0\.1:(\d+) by the ")
    found = until(lambda: listens.search(log.read_text()), log.read_text)
    assert found is not None
    return int(found[1])


def test_it_serves_logs_and_ends(tmp_path: Path) -> None:
    with peers.named("a") as (backend,), FakeNameServer() as names:
        # What looks names up has a thread, which would not come along.
        names.addresses["db.test"] = ["127.0.0.1"]
        text = f'resolver.servers = ["{names.address}"]\n{WEB.format(backend=f"db.test:{backend.port}")}'
        (tmp_path / "tcpbalance.toml").write_text(text)
        with in_the_background(tmp_path) as pid:
            port = _port(tmp_path / "twistd.log")
            for _ in range(5):
                assert ask(port) == b"a"
            room = room_in(Path(f"/proc/{pid}/status").read_text())
            assert room >= min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MAX_PREPARED)
            os.kill(pid, signal.SIGTERM)
            until(lambda: not _runs(pid), "its end")
    records = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [record["backend_bytes"] for record in records] == [1] * 5
    assert not (tmp_path / "twistd.pid").exists()
    assert not (tmp_path / "web.sock").exists()


def test_signals_before_it_serves_harm_nobody(tmp_path: Path) -> None:
    """From the moment that its process id is known; the process that started it gets them, too."""
    with peers.named("a") as (backend,):
        (tmp_path / "tcpbalance.toml").write_text(WEB.format(backend=backend.address))
        command: list[str | Path] = [
            TWISTD,
            *_files(tmp_path),
            "tcpbalance",
            "--config",
            tmp_path / "tcpbalance.toml",
        ]
        with Process(command, tmp_path, tmp_path / "start.log") as starter:
            pid = until(lambda: _pid_in(tmp_path / "twistd.pid"), "the file with the process id")

            with _ending(pid):

                def serves() -> bool:
                    os.kill(pid, signal.SIGHUP)
                    if starter.exit_code is None:
                        starter.send(signal.SIGHUP)
                    return "listens on 127.0.0.1" in (tmp_path / "twistd.log").read_text()

                until(serves, (tmp_path / "twistd.log").read_text)
                assert ask(_port(tmp_path / "twistd.log")) == b"a"
                assert starter.wait() == 0
                os.kill(pid, signal.SIGTERM)
                until(lambda: not _runs(pid), "its end")


def test_sigusr1_rotates_both_logs(tmp_path: Path) -> None:
    """The access log is opened again, and twistd's own handler still rotates the file of ``--logfile``."""
    with peers.named("a") as (backend,):
        (tmp_path / "tcpbalance.toml").write_text(WEB.format(backend=backend.address))
        with in_the_background(tmp_path) as pid:
            port = _port(tmp_path / "twistd.log")
            assert ask(port) == b"a"
            until((tmp_path / "access.log").read_text, "the first record")
            (tmp_path / "access.log").rename(tmp_path / "access.log.1")
            os.kill(pid, signal.SIGUSR1)
            until((tmp_path / "twistd.log.1").exists, "twistd's rotated log")
            until((tmp_path / "access.log").exists, "the new access log")
            os.kill(pid, signal.SIGTERM)
            until(lambda: not _runs(pid), "its end")
        assert "listens on" in (tmp_path / "twistd.log.1").read_text()
        assert "SIGTERM" in (tmp_path / "twistd.log").read_text()
