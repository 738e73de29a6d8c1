"""A backend that another process was quicker with is passed over, as one that is full."""

from __future__ import annotations

from typing import Any

from support.scene import ONE, TWO
from tcpbalance.pool.backend import Backend


class Others:
    """What other processes have, as one backend's slots see it.

    :param refusals: how often another process is quicker.
    """

    def __init__(self, scene: Any, refusals: int) -> None:
        self.scene = scene
        self.refusals = refusals
        self.held = 0

    @property
    def total(self) -> int:
        return self.held

    @property
    def full(self) -> bool:
        return False

    def add(self) -> bool:
        if self.refusals:
            self.refusals -= 1
            return False
        self.held += 1
        return True

    def remove(self) -> None:
        self.held -= 1
        queue = self.scene.pool.queue
        if queue is not None:
            queue.serve_one()


def limited(make_scene: Any, refusals: dict[str, int], **settings: Any) -> tuple[Any, dict[str, Others]]:
    """Backends whose connections other processes count, too."""
    members = [Backend(address, max_connections=5) for address in refusals]
    scene = make_scene(list(refusals), members=members, **settings)
    others = {address: Others(scene, count) for address, count in refusals.items()}
    pool = scene.pool
    pool._before_take = pool._announce
    pool._observers.on_release = pool._released
    for backend in pool.backends:
        backend.shared = others[str(backend.address)]
    return scene, others


def play(scene: Any, client: Any, address: str) -> None:
    """Let a client ask, and a backend answer, and both finish."""
    client.send(b"question")
    client.finish()
    scene.run()
    connection = scene.backends[address].connections[-1]
    connection.send(b"answer")
    connection.finish()
    scene.run()
    assert client.received == b"answer"


def test_the_next_one_is_tried(make_scene: Any) -> None:
    scene, others = limited(make_scene, {ONE: 1, TWO: 0})
    client = scene.connect()
    scene.run()
    assert [scene.backends[address].dials for address in (ONE, TWO)] == [0, 1]
    play(scene, client, TWO)
    assert (scene.record.attempts, scene.record.reason.word) == (1, "client_closed")
    assert [it.held for it in others.values()] == [0, 0]
    assert scene.active == [0, 0]


def test_it_waits_where_all_are_taken(make_scene: Any) -> None:
    scene, others = limited(make_scene, {ONE: 1, TWO: 1}, queue=3, queue_timeout=10.0)
    client = scene.connect()
    scene.run()
    assert len(scene.pool.queue) == 1
    assert scene.pool.queue.serve_one()
    scene.run()
    (address,) = [address for address in others if others[address].held]
    play(scene, client, address)
    assert scene.record.attempts == 1


def test_it_goes_where_nothing_may_wait(make_scene: Any) -> None:
    scene, _ = limited(make_scene, {ONE: 1})
    client = scene.connect()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "no_backend")


def test_one_that_came_to_its_turn_waits_again(make_scene: Any) -> None:
    scene, others = limited(make_scene, {ONE: 2}, queue=3, queue_timeout=10.0)
    client = scene.connect()
    scene.run()
    assert scene.pool.queue.serve_one()
    scene.run()
    assert (client.saw, len(scene.pool.queue)) == ("open", 1)
    assert scene.pool.queue.serve_one()
    scene.run()
    play(scene, client, ONE)
    assert others[ONE].held == 0
