"""Several pools that share the clients of a route by weight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count

import pytest
from twisted.internet.address import IPv4Address

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.http.routes import FixedAnswer, Route
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools

MakeScene = Callable[..., HttpScene]

ADDRESSES = {"stable": ONE, "canary": TWO}


class Sharing:
    """The routes of a scene: one, to several pools of one backend each.

    :param weights: by the names of the pools.
    :ivar pools: by name, once they are made.
    """

    def __init__(self, **weights: int) -> None:
        self.weights = weights
        self.pools: dict[str, Pool] = {}

    def __call__(self, pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        for name in self.weights:
            self.pools[name] = Pool(name, [Backend(ADDRESSES[name])], clock=pool.clock)
        weights = {self.pools[name]: weight for name, weight in self.weights.items()}
        return [(only_for(), Route(name="site", pools=WeightedPools(weights)))]


@pytest.mark.parametrize("chosen", ADDRESSES)
def test_requests_go_to_the_pool_that_has_their_client(make_scene: MakeScene, chosen: str) -> None:
    sharing = Sharing(**{name: int(name == chosen) for name in ADDRESSES})
    scene = make_scene((ONE, TWO), routes=sharing, has_default=False)
    client = scene.connect(GET)
    for more in (GET, b""):
        (connection,) = scene.backends[ADDRESSES[chosen]].connections
        scene.send(connection, HELLO)
        scene.send(client, more)
    assert scene.ends == ["answered 200"] * 2
    assert [(record.route, record.pool) for record in scene.requests] == [("site", chosen)] * 2
    counts = {name: pool.snapshot().get("requests_total", 0) for name, pool in sharing.pools.items()}
    assert counts == {name: 2 * (name == chosen) for name in ADDRESSES}


def test_each_client_stays_with_its_pool(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), routes=Sharing(stable=50, canary=50), has_default=False)
    ports = count(40_000)
    for _ in range(3):
        for number in range(1, 9):
            scene.connect(GET, address=IPv4Address("TCP", f"192.0.2.{number}", next(ports)))
            for connection in scene.connections:
                if connection.received.count(GET[:4]) > connection.sent.count(HELLO):
                    scene.send(connection, HELLO)
    pools: defaultdict[str, set[str]] = defaultdict(set)
    for record in scene.requests:
        pools[record.client.partition(":")[0]].add(record.pool or "none")
    assert (len(scene.requests), len(pools)) == (24, 8)
    assert sorted(pools.values(), key=min) == 4 * [{"canary"}] + 4 * [{"stable"}]


def test_a_pool_without_a_backend_is_503_whatever_the_others_have(make_scene: MakeScene) -> None:
    sharing = Sharing(stable=0, canary=1)
    scene = make_scene((ONE, TWO), routes=sharing, has_default=False)
    canary = sharing.pools["canary"]
    canary.set_admin_state(canary.backends[0], AdminState.MAINTENANCE)
    client = scene.connect(GET)
    assert client.received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert (scene.ends, scene.request.pool) == (["no_backend 503"], "canary")
    assert canary.snapshot()["ended.no_backend"] == 1


def test_what_no_pool_has_to_serve_names_none(make_scene: MakeScene) -> None:
    scene = make_scene(routes=lambda pool: [(only_for(), Route(name="a", answer=FixedAnswer(200, None)))])
    scene.connect(GET)
    assert (scene.request.route, scene.request.pool) == ("a", None)
