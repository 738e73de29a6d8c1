"""Where the tests mean to test the installed package, they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tcpbalance

TREE = Path(__file__).parents[2]


@pytest.mark.skipif(os.environ.get("TCPBALANCE_TESTED_AS") != "installed", reason="tested as a tree")
def test_the_package_under_test_is_not_the_tree() -> None:
    assert TREE not in Path(next(iter(tcpbalance.__path__))).parents
