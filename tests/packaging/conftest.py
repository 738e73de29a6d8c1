"""One wheel a session, and an environment to install it in that needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.environment import Environment

TREE = Path(__file__).parents[2]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "tcpbalance", "twisted")
LEFTOVERS = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel under test: the one that tox has built, else one built now from a clean copy of the tree."""
    given = os.environ.get("TOX_PACKAGE")
    return Path(given) if given else _build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment with every dependency of ours in it, but not ourselves; the test may change it."""
    return _environment(tmp_path)


@pytest.fixture(scope="session")
def without(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same for all tests that change nothing in it."""
    return _environment(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """One that the wheel is installed in, for all tests that change nothing in it."""
    made = _environment(tmp_path_factory.mktemp("installed"))
    made.install(wheel)
    return made


def _environment(folder: Path) -> Environment:
    return Environment.make(folder / "environment", Path(sysconfig.get_path("purelib")))


def _build(folder: Path) -> Path:
    # From a copy: in the tree, setuptools would take in whatever an earlier build left under `build`.
    source = _clean_copy(folder / "source")
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, *options, str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def _clean_copy(target: Path) -> Path:
    target.mkdir()
    for name in SOURCES:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=LEFTOVERS)
        else:
            shutil.copy2(source, target / name)
    return target
