"""What ``twistd`` loads before signals are held back is little, and the rest comes when it is asked for."""

from __future__ import annotations

import subprocess
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
import tcpbalance.twistd_plugin
print(*sorted(set(sys.modules) - before))
"""


def test_the_plugin_loads_next_to_nothing() -> None:
    """What it loads delays the moment from which SIGHUP and SIGUSR1 harm nobody."""
    assert run([sys.executable, "-c", NEW_MODULES]).split() == [
        "tcpbalance",
        "tcpbalance.held_signals",
        "tcpbalance.twistd_plugin",
    ]


NEW_MODULES_OF_THE_COMMAND = """
import sys
import tcpbalance.cli
tcpbalance.cli.parser.parser_of(["run"])
ours = {"tcpbalance", "twisted", "attr", "cattrs"}
print(*(name for name in sys.modules if name.partition(".")[0] in ours))
"""


def test_the_command_loads_next_to_nothing() -> None:
    """What ``run`` loads before it holds signals back."""
    assert set(run([sys.executable, "-c", NEW_MODULES_OF_THE_COMMAND]).split()) == {
        "tcpbalance",
        "tcpbalance.cli",
        "tcpbalance.cli.command_error",
        "tcpbalance.cli.command_parser",
        "tcpbalance.cli.entry",
        "tcpbalance.cli.parser",
        "tcpbalance.cli.run",
        "tcpbalance.cli.version",
        "tcpbalance.errors",
        "tcpbalance.held_signals",
    }


LOST = """
import os
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web")
import twisted.internet.endpoints
from tcpbalance.twistd_plugin import Options, makeService

options = Options()
options.parseOptions(["--demo"])
makeService(options)
"""


def test_sockets_that_twistd_has_lost_are_missed() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "LISTEN_FDNAMES: twistd has lost the sockets that systemd passes, while it looked for plugins; use "
        "`tcpbalance run FILE` in the unit\n"
    )


IGNORED = """
import signal
from tcpbalance import held_signals

held_signals.hold()
print(signal.getsignal(signal.SIGUSR1).name, signal.getsignal(signal.SIGHUP).name)
signal.raise_signal(signal.SIGUSR1)
print(*sorted(number.name for number in signal.sigpending()))
"""


def test_a_signal_that_was_ignored_is_held_like_the_others() -> None:
    """twistd rotates its log on SIGUSR1 only where that is not ignored."""
    shell = ["sh", "-c", "trap '' USR1; exec \"$@\"", "sh"]
    assert run([*shell, sys.executable, "-c", IGNORED]).splitlines() == ["SIG_DFL SIG_DFL", "SIGUSR1"]


@pytest.mark.parametrize("name", tcpbalance.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tcpbalance, name) is getattr(api, name)
    assert dir(tcpbalance).count(name) == 1


def test_nothing_public_is_left_out() -> None:
    assert {name for name in vars(api) if not name.startswith("_")} == set(tcpbalance.__all__)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'tcpbalance' has no attribute 'Balancers'"):
        tcpbalance.Balancers  # type: ignore[attr-defined]  # noqa: B018


def test_a_star_brings_all_of_them() -> None:
    names: dict[str, object] = {}
    exec("from tcpbalance import *", names)
    assert set(tcpbalance.__all__) <= set(names)
