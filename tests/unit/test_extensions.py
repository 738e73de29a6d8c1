"""Policies and probes found by name."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from support.configs import pool
from support.distributions import pretend_installed
from tcpbalance.config.errors import ConfigError
from tcpbalance.config_reader import read_config
from tcpbalance.errors import SettingError
from tcpbalance.health.extensions import PROBES, probes
from tcpbalance.health.probes.tcp import TcpProbe
from tcpbalance.pool import extensions
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.policies.weighted_random import WeightedRandom

OURS = {
    "round_robin": RoundRobin,
    "least_connections": LeastConnections,
    "power_of_two_choices": PowerOfTwoChoices,
    "peak_ewma": PeakEwmaPolicy,
    "random": WeightedRandom,
    "source_hash": SourceHash,
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install_policies(site: Path, **entries: str) -> None:
    pretend_installed(site, "third-party", extensions.POLICIES, entries)


def test_ours_are_there() -> None:
    with capturedLogs() as events:
        found = extensions.policies()
    assert found == OURS
    assert events == []
    assert all(extensions.policy(name) is policy for name, policy in OURS.items())


def test_our_probes_are_there() -> None:
    assert set(probes()) == {"tcp", "tls", "http", "expect", "command"}


def test_for_ours_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start would take some 20 ms longer otherwise."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: pytest.fail("looked up"))
    assert extensions.policy("random") is WeightedRandom
    assert "tcp" in probes()
    assert probes()["tcp"] is TcpProbe


def test_what_is_installed_is_looked_up_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pool would take some 10 ms longer otherwise."""
    (site / "theirs.py").write_text("class Theirs: pass\n")
    install_policies(site, theirs="theirs:Theirs")
    extensions.policy("theirs")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: pytest.fail("looked up again"))
    assert extensions.policy("theirs").__qualname__ == "Theirs"


def test_a_third_partys_is_found(site: Path) -> None:
    (site / "theirs.py").write_text("class Theirs: pass\n")
    install_policies(site, theirs="theirs:Theirs")
    assert set(extensions.policies()) == {*OURS, "theirs"}
    assert extensions.policy("theirs").__qualname__ == "Theirs"


BROKEN = {
    "not there": "",
    "raises": "raise RuntimeError('half installed')\n",
    "does not parse": "class\n",
    "is no class": "Theirs = 'text'\n",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=list(BROKEN))
def test_one_that_is_broken_is_named_and_left_out(site: Path, source: str) -> None:
    (site / "theirs.py").write_text(source)
    install_policies(site, theirs="theirs:Theirs")
    with capturedLogs() as events:
        assert extensions.policies() == OURS
    assert [formatEvent(event) for event in events] == [
        "tcpbalance.policies: theirs (theirs:Theirs) of third-party cannot be loaded and is left out"
    ]
    with pytest.raises(SettingError, match=r"^balancing policy theirs \(theirs:Theirs\) cannot be loaded: "):
        extensions.policy("theirs")


def test_one_that_is_broken_hurts_no_other(site: Path) -> None:
    install_policies(site, theirs="theirs:Theirs")
    assert extensions.policy("round_robin") is RoundRobin


def test_no_one_takes_a_name_of_ours(site: Path) -> None:
    (site / "theirs.py").write_text("class Theirs: pass\n")
    install_policies(site, round_robin="theirs:Theirs")
    with capturedLogs() as events:
        assert extensions.policies() == OURS
    assert [formatEvent(event) for event in events] == [
        "tcpbalance.policies: round_robin of third-party is left out, the name is taken by tcpbalance"
    ]


NO_ATTRS_CLASS = {
    "a plain class": "class Theirs:\n    def __init__(self, depth: int = 0) -> None: pass\n",
    "a function": "def Theirs(): pass\n",
}


@pytest.mark.parametrize("source", NO_ATTRS_CLASS.values(), ids=list(NO_ATTRS_CLASS))
def test_a_probe_whose_keys_cannot_be_known_is_named_and_left_out(site: Path, source: str) -> None:
    (site / "theirs.py").write_text(source)
    pretend_installed(site, "third-party", PROBES, {"theirs": "theirs:Theirs"})
    with capturedLogs() as events:
        assert "theirs" not in probes()
    (event,) = events
    assert formatEvent(event) == (
        "tcpbalance.probes: theirs (theirs:Theirs) of third-party cannot be loaded and is left out"
    )
    assert event["log_failure"].getErrorMessage().startswith("theirs:Theirs must be an attrs class, got <")


def test_such_a_probe_spoils_no_message_about_another(site: Path) -> None:
    (site / "theirs.py").write_text("class Theirs: pass\n")
    pretend_installed(site, "third-party", PROBES, {"theirs": "theirs:Theirs"})
    file = site / "tcpbalance.toml"
    file.write_text(pool('health = { check = "http", depht = 1 }'))
    with capturedLogs(), pytest.raises(ConfigError, match=r"pools\.db\.health\.depht: unknown key, "):
        read_config(file)


def test_an_unknown_name_gets_the_known_ones() -> None:
    with pytest.raises(
        SettingError, match=r"^no balancing policy is called 'maglev'; known are: least_connections, "
    ):
        extensions.policy("maglev")
