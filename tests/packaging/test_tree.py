"""The lists written by hand agree with the tree."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
"""Of CPython, supported, the oldest first."""


def listed(file: str) -> configparser.ConfigParser:
    lists = configparser.ConfigParser(interpolation=None)
    lists.read(TREE / file)
    return lists


def listed_packages() -> list[str]:
    return listed("setup.cfg")["options"]["packages"].split()


def packages_in_the_tree() -> set[str]:
    folders = {module.parent for module in (TREE / "tcpbalance").rglob("*.py")}
    return {".".join(folder.relative_to(TREE).parts) for folder in folders}


def test_every_package_is_listed_once_and_none_that_is_not_there() -> None:
    assert sorted(listed_packages()) == sorted({*packages_in_the_tree(), "twisted.plugins"})


def test_every_package_of_ours_says_that_it_is_one() -> None:
    folders = {module.parent for module in (TREE / "tcpbalance").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_folder_of_the_plugin_is_no_package() -> None:
    assert [str(path) for path in (TREE / "twisted").rglob("__init__.py")] == []


def test_the_classifiers_name_every_version_of_python() -> None:
    classifiers = listed("setup.cfg")["metadata"]["classifiers"]
    assert re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE) == VERSIONS


def test_tox_tests_every_version_of_python() -> None:
    environments = listed("tox.ini")["tox"]["env_list"]
    assert re.findall(r"\bpy(3)(\d+)\b", environments) == [tuple(version.split(".")) for version in VERSIONS]


def test_make_finds_every_version_of_python() -> None:
    assert re.findall(r"\bpython(3\.\d+)\b", (TREE / "Makefile").read_text()) == VERSIONS


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("setup.cfg", f"python_requires = >={VERSIONS[0]}\n"),
        ("pyproject.toml", f'target-version = "py{VERSIONS[0].replace(".", "")}"\n'),
        ("pyproject.toml", f'python_version = "{VERSIONS[0]}"\n'),
        ("Makefile", f"tcpbalance needs Python {VERSIONS[0]} or newer"),
        ("README.md", f"Python {VERSIONS[0]} or newer"),
        ("CONTRIBUTING.md", f"Python {VERSIONS[0]} or newer"),
        ("docs/tutorial/first-balancer.md", f"Python {VERSIONS[0]} or newer"),
    ],
)
def test_everything_names_the_same_oldest_version_of_python(file: str, words: str) -> None:
    assert words in (TREE / file).read_text()
