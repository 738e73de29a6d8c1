"""Loops that only the machine's addresses and the names that it knows can show."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from tcpbalance import config_reader
from tcpbalance.cli import main
from tcpbalance.config.errors import ConfigError, Problem
from tcpbalance.config_reader import read_config
from tcpbalance.net import own_listeners
from tcpbalance.net.own_listeners import warn_of_loops_by_name
from tcpbalance.net.resolver.answer import Answer, Host, Reply, Verdict

CONFIG = """\
[frontends.web]
listen = "0.0.0.0:80"
pool = "web"
[pools.web]
backends = ["10.0.0.1:80", "web.internal:80", "slow.internal:80", "elsewhere.internal:81"]
"""

BY_ADDRESS = (
    "pools.web.backends[0]: 10.0.0.1:80 is where frontends.web listens, which leads to this pool again: "
    "connections would loop, name a server behind the balancer"
)
BY_NAME = BY_ADDRESS.replace("backends[0]: 10.0.0.1:80", "backends[1]: web.internal:80")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The addresses of the machine, to be added to."""
    ips: set[str] = set()
    monkeypatch.setattr(own_listeners, "is_own", ips.__contains__)
    return ips


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the names stand for, to be added to; of the others, nothing is known in time."""
    ips: dict[str, str] = {}

    def look_up_all(hosts: Iterable[str], *_: object) -> dict[str, Reply]:
        return {host: found(ips[host]) if host in ips else UNANSWERED for host in hosts}

    monkeypatch.setattr(config_reader, "look_up_all", look_up_all)
    return ips


def found(ip: str) -> Reply:
    return Reply(Answer(Verdict.FOUND, (Host(socket.AF_INET, ip),)), Answer(Verdict.NO_ADDRESS))


UNANSWERED = Reply.failed(Verdict.TIMED_OUT)


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Check the file; give the exit status, and the lines that are no warnings."""
    status = main(["check", str(file)])
    lines = capsys.readouterr().err.splitlines()
    return status, [line.removeprefix(f"{file}:5: ") for line in lines if "warning: " not in line]


def starts(file: Path) -> bool:
    problems: list[Problem] = []
    read_config(file, problems.append)
    return not problems


def test_elsewhere_it_is_sound(
    file: Path, own: set[str], names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    names["web.internal"] = "10.0.0.9"
    assert check(file, capsys) == (0, [])
    assert starts(file)


def test_an_address_of_the_machine_stops_the_start(
    file: Path, own: set[str], names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    own.add("10.0.0.1")
    assert check(file, capsys) == (1, [BY_ADDRESS])
    with pytest.raises(ConfigError, match=r":5: pools\.web\.backends\[0\]: 10\.0\.0\.1:80 is where"):
        read_config(file)


def test_a_name_of_the_machine_is_a_mistake_and_does_not_stop_the_start(
    file: Path, own: set[str], names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    own.add("10.0.0.9")
    names["web.internal"] = "10.0.0.9"
    assert check(file, capsys) == (1, [BY_NAME])
    assert starts(file)


def test_a_running_balancer_says_so_in_its_log(file: Path, own: set[str], names: dict[str, str]) -> None:
    own.add("10.0.0.9")
    known = {"web.internal": ["10.0.0.9"]}
    with capturedLogs() as events:
        warn_of_loops_by_name(read_config(file), lambda host: known.get(host, ()))
    assert [formatEvent(event) for event in events] == [BY_NAME]
