"""What the wheel holds, what it does once installed, and that it goes without a trace."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from support.environment import Environment

TREE = Path(__file__).parents[2]
PLUGIN = "twisted/plugins/tcpbalance_plugin.py"
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}

LOAD_PLUGIN = """
import sys, twisted.plugins.tcpbalance_plugin
print([name for name in sys.modules if name.startswith("tcpbalance")])
"""
MAKE_ENDPOINT = """
import sys
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
print(type(serverFromString(reactor, sys.argv[1])).__name__)
"""
LOAD_EXTENSIONS = """
from tcpbalance.health.extensions import probes
from tcpbalance.pool.extensions import policies
print(*map(len, map(dict, (policies(), probes()))))
"""


def of_the_tree() -> set[str]:
    package = TREE / "tcpbalance"
    files = [*package.rglob("*.py"), *(package / "control" / "dashboard").iterdir()]
    return {str(file.relative_to(TREE)) for file in files}


def test_it_holds_our_modules_the_plugin_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == {*of_the_tree(), "tcpbalance/py.typed", PLUGIN}
    assert {name.partition("/")[2] for name in metadata} == METADATA


def test_twistd_lists_the_command(without: Environment, installed: Environment) -> None:
    assert "load balancer" not in without.twistd("--help").stdout
    assert "tcpbalance " in installed.twistd("--help").stdout


def test_the_command_and_the_module_are_one(installed: Environment) -> None:
    shown = installed.run("tcpbalance", "--version").stdout
    assert shown.startswith("tcpbalance ")
    assert installed.run("python", "-m", "tcpbalance", "--version").stdout == shown


def test_nothing_is_left_after_uninstall(environment: Environment, wheel: Path) -> None:
    before = environment.files()
    environment.install(wheel)
    assert environment.files() - before
    environment.pip("uninstall", "--yes", "tcpbalance")
    assert environment.files() == before


def test_the_plugin_loads_nothing_of_ours(installed: Environment) -> None:
    assert installed.run("python", "-c", LOAD_PLUGIN).stdout == "[]\n"


def test_a_tcpbalance_that_cannot_be_imported_hurts_no_other_command(
    environment: Environment, wheel: Path
) -> None:
    environment.install(wheel)
    (environment.packages / "tcpbalance" / "__init__.py").write_text("raise ImportError('broken')\n")
    shown = environment.twistd("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert environment.twistd("-n", "web", "--help").returncode == 0
    made = environment.run("python", "-c", MAKE_ENDPOINT, "haproxy:tcp:0")
    assert (made.returncode, made.stderr) == (0, "")


@pytest.mark.parametrize("description", ["tcpbalance-proxy:tcp:0", r"tcpbalance-proxy:tcp\:0:timeout=3"])
def test_the_endpoint_is_known(without: Environment, installed: Environment, description: str) -> None:
    assert "Unknown endpoint type" in without.run("python", "-c", MAKE_ENDPOINT, description).stderr
    made = installed.run("python", "-c", MAKE_ENDPOINT, description)
    assert (made.stdout, made.stderr) == ("ProxyProtocolEndpoint\n", "")


def test_every_extension_of_ours_can_be_loaded(installed: Environment) -> None:
    loaded = installed.run("python", "-W", "error", "-c", LOAD_EXTENSIONS)
    assert (loaded.stdout, loaded.stderr) == ("6 5\n", "")
