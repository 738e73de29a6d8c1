"""Which sessions may be moved to another backend, and how they end: in order, on every data path."""

from __future__ import annotations

from typing import Any

import pytest

from support.scene import ONE, RETRY_ON_RESET, TWO
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.proxy.reasons import EndReason

IDLE_FOR = 10.0
LONG = 13.0
"""Seconds; the clock of sessions is coarse."""


def only_session(scene: Any) -> Any:
    (session,) = scene.frontend.registry.sessions
    return session


def exchange(scene: Any, client: Any, backend: Any, times: int = 1) -> None:
    """Send messages both ways; after several, the bytes go past the session where they can."""
    for _ in range(times):
        client.send(b"question")
        scene.run()
        backend.send(b"answer")
        scene.run()


@pytest.mark.parametrize("messages", [0, 1, 5])
def test_an_idle_session_ends_in_order_for_both(make_scene: Any, messages: int) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    exchange(scene, client, backend, messages)
    scene.advance(LONG)
    session = only_session(scene)
    assert session.can_move(IDLE_FOR)
    session.end(EndReason.REBALANCED)
    scene.run()
    assert (client.saw, backend.saw) == ("fin", "fin")
    assert (client.complete, backend.complete) == (True, True)
    assert (client.received, backend.received) == (b"answer" * messages, b"question" * messages)
    for peer in (client, backend):
        peer.finish()
    scene.run()
    assert (scene.ended, scene.record.reason.closer) == ("rebalanced", "balancer")
    assert session.over
    assert scene.active == [0]


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("messages", [0, 1, 5])
def test_one_byte_either_way_and_it_is_busy(make_scene: Any, who: str, messages: int) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    exchange(scene, client, backend, messages)
    scene.advance(LONG)
    session = only_session(scene)
    (client if who == "client" else backend).send(b"x")
    assert not session.can_move(IDLE_FOR), "it has come, and no event has reported it yet"
    scene.run()
    assert not session.can_move(IDLE_FOR)
    scene.advance(IDLE_FOR - 1)
    assert not session.can_move(IDLE_FOR)
    scene.advance(1 + 3)
    assert session.can_move(IDLE_FOR) == (who == "backend" or messages > 0)


@pytest.mark.parametrize("size", [1, 200_000])
def test_while_the_first_request_has_no_answer_it_is_busy(make_scene: Any, size: int) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(bytes(size))
    scene.run()
    scene.advance(LONG)
    assert len(backend.received) == size
    assert not only_session(scene).can_move(IDLE_FOR)
    backend.send(b"answer")
    scene.run()
    scene.advance(LONG)
    assert only_session(scene).can_move(IDLE_FOR)


def test_a_server_that_speaks_alone_may_be_left(make_scene: Any) -> None:
    scene = make_scene()
    _, backend = scene.joined()
    backend.send(b"greeting")
    scene.run()
    scene.advance(LONG)
    assert only_session(scene).can_move(IDLE_FOR)


@pytest.mark.parametrize("who", ["client", "backend"])
@pytest.mark.parametrize("messages", [1, 5])
def test_while_a_peer_has_not_fetched_all_it_is_busy(make_scene: Any, who: str, messages: int) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    exchange(scene, client, backend, messages)
    reader, writer = (client, backend) if who == "client" else (backend, client)
    reader.stop_reading()
    writer.send(bytes(1_000_000))
    scene.run()
    scene.advance(LONG)
    assert not only_session(scene).can_move(IDLE_FOR)
    reader.start_reading()
    scene.run()
    scene.advance(LONG)
    assert only_session(scene).can_move(IDLE_FOR)


@pytest.mark.parametrize("who", ["client", "backend"])
def test_once_a_peer_has_finished_it_comes_to_its_end_itself(make_scene: Any, who: str) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    (client if who == "client" else backend).finish()
    scene.run()
    scene.advance(LONG)
    assert not only_session(scene).can_move(IDLE_FOR)


def test_before_a_backend_is_there_it_is_not_moved(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"}, connect_timeout=100.0, dial_timeout=200.0)
    scene.connect()
    scene.advance(LONG)
    assert not only_session(scene).can_move(IDLE_FOR)


def test_what_another_backend_would_be_given_is_under_way(make_scene: Any) -> None:
    scene = make_scene({ONE: "accepts", TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect()
    scene.run()
    scene.advance(LONG)
    assert only_session(scene).can_move(IDLE_FOR)
    client.send(b"question")
    scene.run()
    scene.advance(LONG)
    assert not only_session(scene).can_move(IDLE_FOR)


def test_one_that_has_asked_for_nothing_yet_ends_in_order(make_scene: Any) -> None:
    scene = make_scene({ONE: "accepts", TWO: "accepts"}, **RETRY_ON_RESET)
    client = scene.connect()
    scene.run()
    only_session(scene).end(EndReason.REBALANCED)
    scene.run()
    (backend,) = scene.backends[ONE].connections
    assert (client.saw, backend.saw, scene.ended) == ("fin", "fin", "rebalanced")
    assert not scene.backends[TWO].connections


def test_one_that_is_bound_by_affinity_is_not_moved(make_scene: Any) -> None:
    scene = make_scene(affinity=AffinityConfig())
    scene.joined()
    scene.advance(LONG)
    assert not only_session(scene).can_move(IDLE_FOR)
    scene.pool.forget_clients(scene.pool.backends)
    assert only_session(scene).can_move(IDLE_FOR)


def test_one_that_has_ended_is_not_moved(make_scene: Any) -> None:
    scene = make_scene()
    scene.joined()
    scene.advance(LONG)
    session = only_session(scene)
    session.end(EndReason.SHUTDOWN)
    scene.run()
    assert not session.can_move(IDLE_FOR)
    session.end(EndReason.REBALANCED)
    assert scene.ended == "shutdown"


@pytest.mark.parametrize("tls", ["client", "backend"])
def test_tls_ends_in_order_on_either_side(make_scene: Any, tls: str) -> None:
    """Twisted's TLS sends a close_notify, and waits until the peer has sent one, too."""
    if tls == "backend":
        scene = make_scene(tls_backends=True)
        client, backend = scene.joined()
    else:
        scene = make_scene()
        client, backend = scene.joined(tls=True)
    exchange(scene, client, backend, 3)
    scene.advance(LONG)
    session = only_session(scene)
    assert session.can_move(IDLE_FOR)
    session.end(EndReason.REBALANCED)
    scene.run()
    assert (client.saw, backend.saw) == ("fin", "fin")
    for peer in (client, backend):
        peer.finish()
    scene.run()
    assert scene.ended == "rebalanced"
