"""Who may connect to a unix socket: as twistd's umask has it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from support.daemon import TWISTD
from support.process import Process
from support.waiting import until

CONFIG = """
[frontends.web]
listen = "unix:web.sock"
pool = "web"

[pools.web]
backends = ["127.0.0.1:9"]
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("umask", "expected"), [("007", 0o770), ("077", 0o700)])
def test_the_umask_of_twistd(tmp_path: Path, umask: str, expected: int) -> None:
    (tmp_path / "tcpbalance.toml").write_text(CONFIG)
    options = ["-n", "--pidfile=", "--umask", umask]
    command: list[str | Path] = [TWISTD, *options, "tcpbalance", "--config", "tcpbalance.toml"]
    with Process(command, tmp_path, tmp_path / "twistd.log") as process:
        until((tmp_path / "web.sock").exists, lambda: f"the socket\n{process.output}")
        assert mode(tmp_path / "web.sock") == expected
