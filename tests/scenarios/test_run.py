"""`tcpbalance run`: the balancer in the foreground, without what `twistd` would add."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from support import peers
from support.clients import ask, connect, read
from support.daemon import TCPBALANCE, Daemon
from support.process import finish
from support.waiting import until

CONFIG = """
shutdown_grace = "20s"

[access_log]
path = "{log}"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[frontends.web.access]
deny_file = "denied.txt"

[pools.web]
backends = ["{backend}"]
"""

UNIT = Path(__file__).parents[2] / "deploy" / "tcpbalance.service"
LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[[\w.]+#\w+\] ")


class AsModule(Daemon):
    """A balancer started by `python -m`."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tcpbalance", *super().command[1:]]


class AsUnit(Daemon):
    """A balancer started as the unit for systemd has it."""

    @property
    def command(self) -> list[str]:
        (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
        shell, option, script = shlex.split(line)
        script = script.replace("/opt/tcpbalance/bin/tcpbalance", f"{TCPBALANCE}")
        return [shell, option, script.replace("/etc/tcpbalance/tcpbalance.toml", f"{self.config_file}")]


@contextmanager
def running(folder: Path, kind: type[Daemon] = Daemon, log: str = "access.log") -> Iterator[Daemon]:
    """Run a balancer over one server that echoes."""
    (folder / "denied.txt").touch()
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(backend=backend.address, log=log)
        with kind(config, folder) as daemon:
            yield daemon


@pytest.fixture(autouse=True)
def by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every balancer here by this command."""
    monkeypatch.setattr(Daemon, "starter", "tcpbalance run")


def in_folder(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("kind", [Daemon, AsModule, AsUnit])
def test_it_says_its_version_serves_and_leaves_nothing_behind(tmp_path: Path, kind: type[Daemon]) -> None:
    with running(tmp_path, kind) as daemon:
        expected = {"access.log", "daemon.log", "denied.txt", "tcpbalance.toml"}
        assert in_folder(tmp_path) == expected
        assert ask(daemon.port, b"hello") == b"hello"
        assert daemon.stop() == 0
        assert in_folder(tmp_path) == expected
    first, *rest = daemon.log.splitlines()
    assert re.search(
        rf"\[tcpbalance#info\] tcpbalance {re.escape(version('tcpbalance'))} starts \(.+\)$", first
    )
    assert re.search(r"\[tcpbalance#info\] tcpbalance has ended$", rest[-1])
    assert [line for line in (first, *rest) if not LINE.match(line)] == []


def test_the_log_goes_to_standard_error_and_the_access_log_to_standard_output(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output, peers.peer(peers.echo) as backend:
        (tmp_path / "denied.txt").touch()
        config = CONFIG.format(backend=backend.address, log="-")
        with Daemon(config, tmp_path, stdout=output.fileno()) as daemon:
            assert ask(daemon.port, b"hello") == b"hello"
            assert daemon.stop() == 0
    (record,) = (tmp_path / "output").read_text().splitlines()
    assert record.startswith('{"')


def test_two_run_in_one_folder(tmp_path: Path) -> None:
    """`twistd` would find the other's pid file."""
    with running(tmp_path) as first:
        (tmp_path / "second").mkdir()
        with running(tmp_path / "second") as second:
            assert ask(first.port, b"a") == ask(second.port, b"a") == b"a"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_open_sessions_may_finish_and_a_second_signal_ends_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path) as daemon, connect(daemon.port) as finishing, connect(daemon.port) as lasting:
        for client in (finishing, lasting):
            client.sendall(b"before")
            assert read(client, 6) == b"before"
        daemon.send(number)
        daemon.wait_for_log(f"{number.name}: no new connections; open sessions may finish")
        finishing.sendall(b"after")
        assert read(finishing, 5) == b"after"
        assert daemon.process.exit_code is None
        daemon.send(number)
        daemon.wait_for_log(f"{number.name} again: ending open sessions now")
        assert daemon.wait() == 0


def test_sigusr1_reopens_the_access_log_and_sighup_reads_files_again(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        assert ask(daemon.port, b"a") == b"a"
        daemon.wait_for_records(1)
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        daemon.send(signal.SIGUSR1)
        until((tmp_path / "access.log").exists, "the new access log")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r"frontend web: read \S+denied.txt again")
        assert daemon.stop() == 0


@pytest.mark.parametrize("name", ["asyncio", "select"])
def test_another_reactor(tmp_path: Path, name: str) -> None:
    (tmp_path / "denied.txt").touch()
    with peers.peer(peers.echo) as backend:
        config = CONFIG.format(backend=backend.address, log="access.log")
        with Daemon(config, tmp_path, reactor=name) as daemon:
            assert ask(daemon.port, b"a") == b"a"
            daemon.wait_for_log(rf"tcpbalance \S+ starts \(.*{name.capitalize()}\w*Reactor")
            assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("name", "said"), [("epol", 'got "epol", did you mean "epoll"?'), ("gtk2", "gtk2: cannot be used: ")]
)
def test_a_reactor_that_there_is_not(tmp_path: Path, name: str, said: str) -> None:
    ended = finish([TCPBALANCE, "run", "--reactor", name, tmp_path / "tcpbalance.toml"])
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tcpbalance run: --reactor ")
    assert said in line
