"""The configuration that the bench reloads is as large as it says, and differs in one thing each time."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from pathlib import Path

from bench.reloads import BACKENDS, FRONTENDS, Place
from tcpbalance.config.difference import difference
from tcpbalance.config.models import Config
from tcpbalance.config_reader import read_config


def written(folder: Path, weight: int) -> Config:
    place = Place(folder, tuple(range(20_000, 20_000 + FRONTENDS)), (30_000, 30_001))
    place.write(weight)
    return read_config(place.config)


def test_it_has_as_many_frontends_and_backends_as_it_says(tmp_path: Path) -> None:
    config = written(tmp_path, 100)
    assert len(config.frontends) == FRONTENDS
    assert sum(len(pool.backends) for pool in config.pools.values()) == BACKENDS


def test_each_reload_has_one_change(tmp_path: Path) -> None:
    before, after = written(tmp_path, 101), written(tmp_path, 102)
    found = difference(before, after)
    assert [change.path for change in found.changed] == [("pools", "p0", "backends", "b0", "weight")]
    assert not found.added
    assert not found.removed
