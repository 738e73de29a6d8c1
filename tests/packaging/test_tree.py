"""The lists written by hand agree with the tree."""

from __future__ import annotations

import configparser
from pathlib import Path

TREE = Path(__file__).parents[2]


def listed_packages() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg")
    return setup["options"]["packages"].split()


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
