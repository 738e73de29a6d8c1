"""Requests, and not connections, are what a backend that has come back gets few of at first, then more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene
from tcpbalance.pool.policies.base import PolicyFactory
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.weighted_random import WeightedRandom

MakeScene = Callable[..., HttpScene]

SLOW_START = 30.0
CLIENTS = 60


def asked(scene: HttpScene, address: str) -> int:
    """Requests that have come to a backend so far."""
    received: list[bytes] = [connection.received for connection in scene.backends[address].connections]
    return sum(data.count(b"GET ") for data in received)


def share(scene: HttpScene, clients: list[Any], address: str) -> float:
    """The part of one request of each client, all at the same time, that a backend gets."""
    before = asked(scene, address)
    waiting = [(connection, len(connection.received)) for connection in scene.connections]
    for client in clients:
        scene.send(client, GET)
    sizes = dict(waiting)
    for connection in scene.connections:
        if len(connection.received) > sizes.get(connection, 0):
            scene.send(connection, HELLO)
    return (asked(scene, address) - before) / len(clients)


@pytest.mark.parametrize(
    "policy", [RoundRobin, LeastConnections, PowerOfTwoChoices, PeakEwmaPolicy, WeightedRandom]
)
def test_the_share_of_requests_of_a_backend_that_has_come_back_rises(
    make_scene: MakeScene, policy: PolicyFactory
) -> None:
    scene = make_scene((ONE, TWO), balance=policy, slow_start=SLOW_START)
    scene.advance(SLOW_START + 1)
    clients = [scene.connect() for _ in range(CLIENTS)]
    returned = scene.pool.backends[1]
    scene.pool.mark_down(returned, "refused")
    assert share(scene, clients, TWO) == 0.0
    scene.pool.mark_up(returned)
    shares = []
    for _ in range(4):
        shares.append(share(scene, clients, TWO))
        scene.advance(SLOW_START / 3)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.2
    assert 0.4 < shares[-1] < 0.6
    assert all(client.saw == "open" for client in clients)
