"""Loops that only the machine's addresses and the names that it knows can show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from tcpbalance import parts
from tcpbalance.cli import main
from tcpbalance.config.errors import ConfigError, Problem
from tcpbalance.net import own_listeners
from tcpbalance.net.own_listeners import warn_of_loops_by_name
from tcpbalance.parts import read_config

CONFIG = """\
[frontends.web]
listen = "0.0.0.0:80"
pool = "web"
[pools.web]
backends = ["10.0.0.1:80", "web.internal:80", "slow.internal:80", "elsewhere.internal:81"]
"""

BY_ADDRESS = (
    "pools.web.backends[0]: 10.0.0.1:80 is where frontends.web listens, which leads to this pool again: "
    "connections would go in circles, name a server behind the balancer"
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
    """What the names stand for, to be added to; a name server that does not answer holds up the rest."""
    ips: dict[str, str] = {}

    def ips_of(name: str) -> frozenset[str]:
        assert name != "elsewhere.internal", "its port is none of a listener's"
        if ips.get(name) == "no answer":
            Event().wait()
        return frozenset({ips[name]} if name in ips else ())

    monkeypatch.setattr(own_listeners, "ips_of", ips_of)
    monkeypatch.setattr(own_listeners, "LOOK_UP_WITHIN", 0.2)
    # What is unknown is told of elsewhere.
    monkeypatch.setattr(parts, "look_up_all", lambda *_: {})
    return ips


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main(["check", str(file)])
    return status, [line.removeprefix(f"{file}:5: ") for line in capsys.readouterr().err.splitlines()]


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


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    file: Path, own: set[str], names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    own.add("10.0.0.9")
    names |= {"web.internal": "10.0.0.9", "slow.internal": "no answer"}
    assert check(file, capsys) == (1, [BY_NAME])


class Reactor:
    """Runs what a thread hands over, and tells when that was."""

    def __init__(self) -> None:
        self.called = Event()

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)
        self.called.set()


def test_a_running_balancer_says_so_in_its_log(file: Path, own: set[str], names: dict[str, str]) -> None:
    own.add("10.0.0.9")
    names["web.internal"] = "10.0.0.9"
    reactor = Reactor()
    with capturedLogs() as events:
        warn_of_loops_by_name(reactor, read_config(file))
        assert reactor.called.wait(20)
    assert [formatEvent(event) for event in events] == [BY_NAME]


def test_without_a_name_in_question_no_thread_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text(CONFIG.replace('"web.internal:80", "slow.internal:80", ', ""))
    monkeypatch.setattr(own_listeners, "Thread", pytest.fail)
    warn_of_loops_by_name(Reactor(), read_config(tmp_path / "a.toml"))
