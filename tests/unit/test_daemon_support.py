"""What the scenario tests rely on: a process that logged an error fails its test, half a line is no line."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.configs import SMALLEST
from support.daemon import Daemon


@pytest.mark.parametrize("line", ["[stdout#critical] gone", "\tTraceback (most recent call last):"])
def test_an_error_in_the_log_fails_the_test(tmp_path: Path, line: str) -> None:
    daemon = Daemon(SMALLEST, tmp_path)
    (tmp_path / "daemon.log").write_text(f"[-] fine\n{line}\n")
    with pytest.raises(AssertionError, match="the balancer logged an error"):
        daemon.__exit__(None, None, None)
    Daemon(SMALLEST, tmp_path, may_fail=True).__exit__(None, None, None)


def test_a_log_without_errors_does_not(tmp_path: Path) -> None:
    daemon = Daemon(SMALLEST, tmp_path)
    (tmp_path / "daemon.log").write_text("[tcpbalance#warn] nothing critical, no Traceback\n")
    daemon.__exit__(None, None, None)


def test_half_a_record_is_none(tmp_path: Path) -> None:
    daemon = Daemon(SMALLEST, tmp_path)
    (tmp_path / "access.log").write_text('{"a": 1}\n{"a": ')
    assert daemon.access_records == [{"a": 1}]


def test_half_an_address_is_none(tmp_path: Path) -> None:
    daemon = Daemon(SMALLEST, tmp_path)
    log = tmp_path / "daemon.log"
    log.write_text("frontend db listens on 127.0.0.1:1234 by the quick")
    assert daemon.addresses == {}
    log.write_text("frontend db listens on 127.0.0.1:1234 by the native data path (it is there)\n")
    assert daemon.ports == {"db": 1234}
