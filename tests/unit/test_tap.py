"""What ``twistd`` loads before signals are held back is little, and the rest comes when it is asked for."""

from __future__ import annotations

import sys

import pytest

import tcpbalance
from support.process import run
from tcpbalance import api

NEW_MODULES = """
import sys
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
import twisted.scripts.twistd

list(getPlugins(IServiceMaker))
before = set(sys.modules)
import tcpbalance.tap
print(*sorted(set(sys.modules) - before))
"""


def test_the_plugin_loads_next_to_nothing() -> None:
    """What it loads delays the moment from which SIGHUP and SIGUSR1 harm nobody."""
    assert run([sys.executable, "-c", NEW_MODULES]).split() == [
        "tcpbalance",
        "tcpbalance.errors",
        "tcpbalance.held_signals",
        "tcpbalance.tap",
    ]


@pytest.mark.parametrize("name", tcpbalance.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tcpbalance, name) is getattr(api, name)
    assert name in dir(tcpbalance)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'tcpbalance' has no attribute 'Balancers'"):
        tcpbalance.Balancers  # type: ignore[attr-defined]  # noqa: B018


def test_a_star_brings_all_of_them() -> None:
    names: dict[str, object] = {}
    exec("from tcpbalance import *", names)
    assert set(tcpbalance.__all__) <= set(names)
