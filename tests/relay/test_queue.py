"""Clients that wait until a backend has room for them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from support.scene import ONE, TWO
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.reasons import EndReason


def one_at_a_time(make_scene: Any, *addresses: str, **settings: Any) -> Any:
    """Backends that may have one connection each."""
    return make_scene(
        list(addresses),
        members=[Backend(address, max_connections=1) for address in addresses],
        **{"queue": 3, "queue_timeout": 10.0, **settings},
    )


def of(host: int, port: int = 4000) -> IPv4Address:
    return IPv4Address("TCP", f"198.51.100.{host}", port)


def answers(scene: Any, address: str = ONE) -> None:
    """Let the last connection of a backend give its answer, and both sides finish."""
    connection = scene.backends[address].connections[-1]
    connection.send(b"answer")
    connection.finish()
    scene.run()


def finish(scene: Any, client: Any) -> None:
    client.finish()
    scene.run()


def test_a_client_waits_until_there_is_room(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect(early=b"first")
    second = scene.connect(early=b"second")
    scene.run()
    assert (second.saw, scene.backends[ONE].dials, len(scene.pool.queue)) == ("open", 1, 1)
    second.send(b" question")
    scene.advance(5)
    answers(scene)
    finish(scene, first)
    assert scene.backends[ONE].connections[-1].received == b"second question"
    answers(scene)
    finish(scene, second)
    assert second.received == b"answer"
    assert [record.reason.word for record in scene.records] == ["backend_closed"] * 2
    assert 5 <= scene.records[-1].wait <= 6
    assert scene.active == [0]


def test_the_time_to_wait_is_bounded(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    scene.connect()
    waiting = scene.connect(early=b"question")
    scene.advance(9.5)
    assert waiting.saw == "open"
    scene.advance(3)
    assert waiting.saw in {"fin", "reset"}
    record = scene.record
    assert (record.reason.word, record.reason.closer, record.attempts) == ("queue_timeout", "balancer", 0)
    assert (len(scene.pool.queue), scene.active) == (0, [1])


def test_the_number_of_those_who_wait_is_bounded(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    clients = [scene.connect() for _ in range(5)]
    scene.run()
    assert [client.saw for client in clients] == ["open"] * 4 + ["fin"]
    assert scene.ended == "queue_full"


def test_without_a_queue_nobody_waits(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, queue=0)
    scene.connect()
    client = scene.connect()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "no_backend")


def test_clients_take_turns(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, queue=10)
    held = scene.connect(address=of(1))
    scene.run()
    for name in (b"a1", b"a2", b"a3"):
        scene.connect(address=of(1), early=name)
    scene.connect(address=of(2), early=b"b1")
    scene.run()
    held.reset()
    served = []
    for _ in range(4):
        scene.run()
        connection = scene.backends[ONE].connections[-1]
        served.append(connection.received)
        connection.send(b"answer")
        connection.reset()
    assert served == [b"a1", b"b1", b"a2", b"a3"]


def test_who_fills_the_queue_gives_way_to_others(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    greedy = [scene.connect(address=of(1)) for _ in range(4)]
    modest = scene.connect(address=of(2))
    scene.run()
    assert [client.saw for client in greedy] == ["open"] * 3 + ["fin"]
    assert (modest.saw, scene.ended, len(scene.pool.queue)) == ("open", "queue_full", 3)


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_who_leaves_is_not_served(make_scene: Any, how: str) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    leaver = scene.connect()
    last = scene.connect(early=b"last")
    scene.run()
    getattr(leaver, how)()
    scene.run()
    assert len(scene.pool.queue) == 1
    assert scene.ended == ("client_reset" if how == "reset" else "client_closed")
    first.reset()
    scene.run()
    assert (scene.backends[ONE].connections[-1].received, last.saw) == (b"last", "open")
    assert scene.backends[ONE].dials == 2


def test_who_has_asked_and_finished_is_still_served(make_scene: Any) -> None:
    """Its question is complete, and it may well read the answer."""
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    scene.run()
    client = scene.connect(early=b"question")
    client.finish()
    scene.run()
    first.reset()
    scene.run()
    connection = scene.backends[ONE].connections[-1]
    assert (connection.received, connection.saw) == (b"question", "fin")
    answers(scene)
    assert client.received == b"answer"


def test_a_backend_that_comes_up_serves_the_queue(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE, TWO)
    scene.pool.mark_down(scene.pool.backends[1], "refused")
    scene.connect()
    waiting = scene.connect(early=b"question")
    scene.run()
    scene.pool.mark_up(scene.pool.backends[1])
    scene.run()
    assert (scene.backends[TWO].connections[-1].received, waiting.saw) == (b"question", "open")


def test_nobody_waits_where_nobody_is_available(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    client = scene.connect()
    scene.run()
    assert (client.saw, scene.ended) == ("fin", "no_backend")


def at_home(make_scene: Any) -> tuple[Any, Any]:
    """A client that is at home at the first backend, waits for it while both are full, and those at both."""
    scene = one_at_a_time(make_scene, ONE, TWO)
    scene.pool.affinity = Affinity(600.0, 100, 32, 64, scene.network.clock.seconds)
    held = [scene.connect(address=of(1)), scene.connect(address=of(2))]
    scene.run()
    scene.connect(address=of(1), early=b"mine")
    scene.run()
    assert len(scene.pool.queue) == 1
    return scene, held


def test_affinity_is_honoured(make_scene: Any) -> None:
    scene, (first, second) = at_home(make_scene)
    second.reset()
    scene.run()
    assert (scene.backends[TWO].dials, len(scene.pool.queue)) == (1, 1)
    first.reset()
    scene.run()
    assert scene.backends[ONE].connections[-1].received == b"mine"


def test_unless_its_backend_has_gone_down(make_scene: Any) -> None:
    scene, (_, second) = at_home(make_scene)
    second.reset()
    scene.run()
    scene.pool.mark_down(scene.pool.backends[0], "refused")
    scene.run()
    assert scene.backends[TWO].connections[-1].received == b"mine"


def test_at_the_end_of_its_time_it_goes_elsewhere_where_there_is_room(make_scene: Any) -> None:
    scene, (_, second) = at_home(make_scene)
    second.reset()
    scene.advance(12)
    assert scene.backends[TWO].connections[-1].received == b"mine"
    assert scene.active == [1, 1]


def test_the_shutdown_ends_those_who_wait(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    scene.connect()
    waiting = scene.connect()
    scene.run()
    scene.frontend.end_sessions(EndReason.SHUTDOWN)
    scene.run()
    assert waiting.saw == "reset"
    assert (len(scene.pool.queue), scene.active) == (0, [0])


def test_one_who_gets_a_turn_and_fails_tries_another_time(make_scene: Any) -> None:
    scene = one_at_a_time(make_scene, ONE)
    first = scene.connect()
    scene.run()
    waiting = scene.connect(early=b"question")
    scene.run()
    scene.backends[ONE].behaviour = "refuses"
    first.reset()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(4)
    assert (scene.backends[ONE].connections[-1].received, waiting.saw) == (b"question", "open")
