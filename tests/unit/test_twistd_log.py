"""Where the daemon's own log goes under `twistd`: where its options say."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver

from tcpbalance.daemon import Daemon
from tcpbalance.logs.daemon_log import DaemonLog
from tcpbalance.logs.log_stream import LogStream
from tcpbalance.twistd_log import RotatedLog, target_of


@pytest.fixture(autouse=True)
def signal_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGUSR1, before)


def target(**options: Any) -> Any:
    chosen: Any = options
    return target_of(chosen, MemoryReactorClock())


def test_the_foreground_logs_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as lines:
        monkeypatch.setattr(sys, "stdout", stream)
        for options in ({"nodaemon": 1}, {"nodaemon": 1, "logfile": "-"}):
            found = target(**options)
            assert isinstance(found, LogStream)
            found.write(b"here\n")
            assert lines.readline() == b"here\n"


def test_a_file_is_rotated_between_two_lines(tmp_path: Path) -> None:
    file = tmp_path / "twistd.log"
    reactor: Any = MemoryReactorClock()
    options: Any = {"nodaemon": 1, "logfile": str(file)}
    found = target_of(options, reactor)
    assert isinstance(found, RotatedLog)
    assert not found.is_journal
    assert found.is_ready()
    assert found.write(b"first\n")
    found._file.rotate()
    assert found.write(b"second\n")
    assert [path.read_text() for path in (file, tmp_path / "twistd.log.1")] == ["second\n", "first\n"]
    assert signal.getsignal(signal.SIGUSR1) == found._on_signal
    found._file.close()


def test_the_background_logs_to_its_usual_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = target(nodaemon=0)
    found.write(b"here\n")
    found._file.close()
    assert (tmp_path / "twistd.log").read_text() == "here\n"


@pytest.mark.parametrize(
    "options",
    [{"nodaemon": 1, "syslog": 1}, {"nodaemon": 1, "logger": "x"}, {"nodaemon": 0, "logfile": "-"}, {}],
)
def test_what_is_not_ours_is_left_alone(options: dict[str, Any]) -> None:
    assert target(**options) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    found = RotatedLog(str(tmp_path / "log"), MemoryReactorClock())
    with open("/dev/full", "wb", buffering=0) as full:
        found._file._file, before = full, found._file._file
        assert not found.write(b"lost\n")
        found._file._file = before
    found._file.close()


def test_an_application_logs_by_it() -> None:
    application: Any = Application("x")
    service = Daemon(MemoryReactorClock())
    service.log = DaemonLog()
    service.setServiceParent(application)
    assert application.getComponent(ILogObserver) is service.log
