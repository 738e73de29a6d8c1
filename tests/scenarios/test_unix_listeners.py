"""Who may connect to a unix socket: as the configuration has it, else twistd's umask."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.daemon import TWISTD
from support.process import Process
from support.waiting import until

CONFIG = """
[frontends.web]
listen = "unix:web.sock"
pool = "web"
{keys}
[frontends.plain]
listen = "unix:plain.sock"
pool = "web"

[pools.web]
backends = ["127.0.0.1:9"]
"""


def command(umask: str) -> list[str | Path]:
    return [TWISTD, "-n", "--pidfile=", "--umask", umask, "tcpbalance", "--config", "tcpbalance.toml"]


@contextmanager
def started(folder: Path, keys: str, umask: str = "022") -> Iterator[None]:
    """Run a balancer on two unix sockets, one with keys of its own, from when they are bound on."""
    (folder / "tcpbalance.toml").write_text(CONFIG.format(keys=keys))
    with Process(command(umask), folder, folder / "twistd.log") as process:
        until(lambda: process.output.count("listens on unix:") == 2, lambda: f"listeners\n{process.output}")
        yield


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_mode_and_group_of_the_configuration_else_the_umask_of_twistd(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    keys = f'listen_mode = "0620"\nlisten_group = "{group}"\n'
    with started(tmp_path, keys, "007"):
        assert mode(tmp_path / "plain.sock") == 0o770
        assert mode(tmp_path / "web.sock") == 0o620
        assert (tmp_path / "web.sock").stat().st_gid == os.getgid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_user_and_group_of_the_configuration(tmp_path: Path) -> None:
    with started(tmp_path, 'listen_user = "nobody"\nlisten_group = "daemon"\n'):
        status = (tmp_path / "web.sock").stat()
    assert (status.st_uid, status.st_gid) == (pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid)


def test_who_may_not_give_it_away_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "tcpbalance.toml").write_text(CONFIG.format(keys='listen_user = "nobody"\n'))
    with Process(command("022"), tmp_path, tmp_path / "twistd.log", lacks=["chown"]) as process:
        assert process.wait(30) == 1
    assert process.output == (
        f"frontend web: cannot listen on unix:{tmp_path}/web.sock: its file cannot be given to user nobody: "
        "only root may give a file to another user, or to a group that it does not belong to itself\n"
    )
    assert not (tmp_path / "web.sock").exists()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_twist_runs_it_too(tmp_path: Path) -> None:
    """Twisted's other program for plugins has no option for the umask."""
    (tmp_path / "tcpbalance.toml").write_text(CONFIG.format(keys='listen_mode = "0600"\n'))
    twist: list[str | Path] = [TWISTD.with_name("twist"), "tcpbalance", "--config", "tcpbalance.toml"]
    with Process(twist, tmp_path, tmp_path / "twist.log") as process:
        until(lambda: _accepts(tmp_path / "web.sock"), lambda: f"a listener\n{process.output}")
        assert mode(tmp_path / "web.sock") == 0o600
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    assert not (tmp_path / "web.sock").exists()
