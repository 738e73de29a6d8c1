"""A client that leaves with all its connections at once leaves others their turns, on the portable path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from support.scene import ONE, Scene
from tcpbalance.net.end_queue import ENDS_A_TURN
from tcpbalance.proxy.peer import Peer

CROWD = 10 * ENDS_A_TURN
"""Connections that end together."""

TOLD_A_TURN = 2 * ENDS_A_TURN
"""Ends that sides are told of in one turn: those that came, and those that follow from the turn before."""

HOPS = 4
"""Turns that a request and its answer need: two events that come in, and what is written for them."""


class Told:
    """Counts what transports tell sides of ends."""

    count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        with (
            patch.object(Peer, "readConnectionLost", self._counting(Peer.readConnectionLost)),
            patch.object(Peer, "connectionLost", self._counting(Peer.connectionLost)),
        ):
            yield

    def _counting(self, method: Any) -> Any:
        def counted(*args: Any) -> None:
            self.count += 1
            method(*args)

        return counted


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    with told.counted():
        yield told


def a_crowd(scene: Scene) -> list[Any]:
    crowd = [scene.connect(early=b"hello") for _ in range(CROWD)]
    scene.run()
    return crowd


def leave(scene: Scene, who: str, how: str, crowd: list[Any]) -> None:
    backend = scene.backends[ONE]
    for peer in crowd if who == "client" else backend.connections[:CROWD]:
        getattr(peer, how)()


PORTABLE = pytest.mark.parametrize("carrier", [Scene], indirect=True, ids=["portable"])
"""On the native data path, see ``test_poller``."""

LEAVING = [(who, how) for who in ("client", "backend") for how in ("finish", "reset")]


@PORTABLE
@pytest.mark.parametrize(("who", "how"), LEAVING)
def test_a_bounded_number_of_ends_is_told_in_a_turn(make_scene: Any, told: Told, who: str, how: str) -> None:
    scene = make_scene()
    crowd = a_crowd(scene)
    leave(scene, who, how, crowd)
    most = 0
    before = told.count
    while scene.network.step():
        most = max(most, told.count - before)
        before = told.count
    assert told.count >= CROWD
    assert most <= TOLD_A_TURN


@PORTABLE
@pytest.mark.parametrize(("who", "how"), LEAVING)
def test_another_client_has_its_answer_after_a_few_of_the_ends(
    make_scene: Any, told: Told, who: str, how: str
) -> None:
    scene = make_scene()
    crowd = a_crowd(scene)
    client, backend = scene.connect(early=b"hello"), scene.backends[ONE]
    scene.run()
    leave(scene, who, how, crowd)
    client.send(b"request")
    while not backend.connections[-1].received.endswith(b"request"):
        assert scene.network.step()
    backend.connections[-1].send(b"answer")
    while client.received != b"answer":
        assert scene.network.step()
    assert told.count <= HOPS * TOLD_A_TURN


@pytest.mark.parametrize("how", ["finish", "reset"])
def test_all_are_accounted_for(make_scene: Any, how: str) -> None:
    scene = make_scene()
    crowd = a_crowd(scene)
    leave(scene, "client", how, crowd)
    scene.run()
    leave(scene, "backend", "finish", crowd)
    scene.run()
    assert len(scene.records) == CROWD
    word = "client_closed" if how == "finish" else "client_reset"
    assert {record.reason.word for record in scene.records} == {word}
