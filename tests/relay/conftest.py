"""What relay scripts are played on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.bulk_thresholds import bulk_comes_early
from support.network import no_logged_failure
from support.scene import BareScene, CopyingScene, Scene, SplicingScene

Carrier = Callable[..., Scene]

CARRIERS: list[Carrier] = [Scene, CopyingScene, SplicingScene, BareScene]
"""Each way to carry the bytes; every script has to come out the same on all of them."""


@pytest.fixture(params=CARRIERS, ids=lambda carrier: carrier.__name__, scope="module")
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Makes a scene; whoever makes one looks after it."""
    with bulk_comes_early():
        yield request.param


@pytest.fixture
def make_scene(carrier: Carrier) -> Iterator[Carrier]:
    """Makes scenes; after the test, everything must have been given back and nothing logged as a failure."""
    scenes: list[Scene] = []

    def make(*args: Any, **kw: Any) -> Scene:
        scene = carrier(*args, **kw)
        scenes.append(scene)
        return scene

    with no_logged_failure():
        yield make
        for scene in scenes:
            scene.leave()
    for scene in scenes:
        assert scene.leftovers() == []
