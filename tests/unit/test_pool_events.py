"""Which events the changes of a pool are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.task import Clock

from tcpbalance import Backend, Pool
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import HealthConfig
from tcpbalance.control.pool_events import PoolEvents, SubscribedPools
from tcpbalance.health.probes.tcp import TcpProbe
from tcpbalance.pool.backend import AdminState


class Scene:
    """A pool, and the events of it."""

    def __init__(self, **settings: Any) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.a, self.b = Backend("127.0.0.1:1", name="a"), Backend("127.0.0.1:2", name="b")
        self.pool = Pool("web", [self.a, self.b], **settings)
        self.subscribed = SubscribedPools(PoolEvents(lambda kind, about: self.events.append((kind, about))))
        self.subscribed.follow([self.pool])

    def take(self) -> list[tuple[Any, ...]]:
        """Give the events since the last call: the kind, the backend, and what there is beside its names."""
        found = [
            (
                kind,
                about["backend"],
                {k: v for k, v in about.items() if k not in ("pool", "backend", "address")},
            )
            for kind, about in self.events
        ]
        self.events.clear()
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_flips_are_events_with_their_cause(scene: Scene) -> None:
    scene.pool.mark_down(scene.a, "refused")
    scene.pool.mark_down(scene.a, "timed out")
    scene.pool.mark_up(scene.a)
    assert scene.events[0] == (
        "backend_down",
        {"pool": "web", "backend": "a", "address": "127.0.0.1:1", "cause": "refused"},
    )
    assert scene.take() == [("backend_down", "a", {"cause": "refused"}), ("backend_up", "a", {})]


def test_a_first_check_is_news_where_it_fails() -> None:
    scene = Scene(health=HealthConfig(probe=TcpProbe()))
    assert scene.a.awaits_check
    scene.pool.mark_up(scene.a)
    scene.pool.mark_down(scene.b, "refused")
    assert scene.take() == [("backend_down", "b", {"cause": "refused"})]


def test_ejections_are_events_with_their_cause() -> None:
    clock = Clock()
    scene = Scene(outlier=OutlierConfig(consecutive_failures=1), clock=clock.seconds)
    ejections = scene.pool.ejections
    assert ejections is not None
    ejections.failed(scene.a, "refused")
    assert scene.take() == [("backend_ejected", "a", {"cause": "consecutive failures, the last: refused"})]
    clock.advance(3600)
    ejections.readmit_expired(clock.seconds())
    assert scene.take() == [("backend_readmitted", "a", {})]


def test_what_an_operator_changes_is_an_event(scene: Scene) -> None:
    scene.pool.set_admin_state(scene.a, AdminState.DRAIN)
    scene.pool.set_admin_state(scene.a, AdminState.DRAIN)
    assert scene.take() == [("backend_state", "a", {"state": "drain"})]
    scene.pool.replace([Backend("127.0.0.1:1", name="a", weight=3), Backend("127.0.0.1:3", name="c")])
    assert scene.take() == [
        ("backend_removed", "b", {}),
        ("backend_added", "c", {"weight": 1}),
        ("backend_weight", "a", {"weight": 3, "before": 1}),
    ]
    scene.pool.mark_down(scene.b, "it is gone")
    assert scene.take() == []


def test_pools_that_are_gone_are_followed_no_more(scene: Scene) -> None:
    other = Pool("other", [Backend("127.0.0.1:5", name="x")])
    scene.subscribed.follow([other])
    scene.pool.mark_down(scene.a, "refused")
    other.mark_down(other.backends[0], "refused")
    assert scene.take() == [("backend_down", "x", {"cause": "refused"})]
