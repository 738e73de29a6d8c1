"""What scripts of HTTP are played on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.bulk_thresholds import bulk_comes_early
from support.http_scene import HTTP_SCENES, HttpScene, http_scenes


@pytest.fixture(params=HTTP_SCENES, ids=lambda kind: kind.__name__)
def make_scene(request: pytest.FixtureRequest) -> Iterator[Callable[..., HttpScene]]:
    """Makes scenes, on each data path."""
    with bulk_comes_early(), http_scenes(request.param) as make:
        yield make
