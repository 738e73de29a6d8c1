"""With peak EWMA, a backend that responds slowly gets fewer requests, also on connections that are kept."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from support.http_scene import GET, HELLO, ONE, THREE, TWO, HttpScene
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy

MakeScene = Callable[..., HttpScene]


def served(scene: HttpScene, needs: dict[str, float], requests: int, clients: int) -> Counter[str]:
    """Have clients send a request each, and the next when they have the response.

    :param needs: seconds that each backend takes.
    :returns: how many requests each backend has got.
    """
    got: Counter[str] = Counter()
    due: list[tuple[float, int, Any]] = []
    seen = {connection: connection.received.count(b"GET / ") for connection in scene.connections}
    ours = [scene.connect() for _ in range(clients)]
    free = list(ours)
    number = 0
    while number < requests:
        while free and number < requests:
            number += 1
            scene.send(free.pop(), GET)
            for address, backend in scene.backends.items():
                for connection in backend.connections:
                    count = connection.received.count(b"GET / ")
                    if count > seen.get(connection, 0):
                        seen[connection] = count
                        got[address] += 1
                        now = scene.network.clock.seconds()
                        heapq.heappush(due, (now + needs[address], number, connection))
        at, _, connection = heapq.heappop(due)
        scene.advance(max(0.0, at - scene.network.clock.seconds()))
        scene.send(connection, HELLO)
        free = [client for client in ours if _is_free(client)]
    for _, _, connection in sorted(due):
        scene.send(connection, HELLO)
    return got


def _is_free(client: Any) -> bool:
    return bool(client.sent.count(b"GET / ") == client.received.count(b"HTTP/1.1 200 "))


@pytest.mark.parametrize("clients", [1, 6])
def test_one_that_responds_slowly_gets_fewer(make_scene: MakeScene, clients: int) -> None:
    scene = make_scene([ONE, TWO, THREE], balance=PeakEwmaPolicy)
    got = served(scene, {ONE: 0.02, TWO: 0.02, THREE: 0.4}, 200, clients)
    assert got[THREE] < 200 / 20
    assert min(got[ONE], got[TWO]) > 200 / 4
    assert sum(scene.active) == 0
    reused = sum(backend.stats.reused_connections for backend in scene.pool.backends)
    assert reused > 150


def test_it_gets_its_part_again_when_it_is_as_fast(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO], balance=PeakEwmaPolicy)
    served(scene, {ONE: 0.02, TWO: 0.4}, 50, 2)
    scene.advance(60.0)
    got = served(scene, {ONE: 0.02, TWO: 0.02}, 200, 2)
    assert got[TWO] > 200 / 4


def test_one_that_never_responds_gets_a_few(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO], balance=PeakEwmaPolicy, pool_http={"response_timeout": 5.0})
    for number in range(60):
        scene.connect(GET)
        for connection in scene.backends[ONE].connections:
            if connection.received.count(b"GET / ") > connection.sent.count(b"HTTP/1.1 "):
                scene.send(connection, HELLO)
        scene.advance(0.5)
        if number == 40:
            assert scene.backends[TWO].connections
    late = scene.ends.count("response_timeout 504")
    assert 1 <= late <= 10
    assert scene.pool.backends[1].response_time.measured


def test_other_policies_learn_nothing_of_it(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO], balance=LeastConnections)
    served(scene, {ONE: 0.02, TWO: 0.4}, 20, 2)
    assert not any(backend.response_time.measured for backend in scene.pool.backends)


def test_the_end_of_an_upload_begins_the_time(make_scene: MakeScene) -> None:
    scene = make_scene(balance=PeakEwmaPolicy)
    client = scene.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    for byte in b"body":
        scene.advance(2.0)
        scene.send(client, bytes((byte,)))
    scene.advance(0.5)
    scene.send(scene.connection, HELLO)
    assert scene.pool.backends[0].response_time.value(scene.network.clock.seconds()) == pytest.approx(0.5)
