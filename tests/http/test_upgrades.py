"""Connections that change to another protocol: from there on, bytes are relayed as in mode "tcp"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.http_scene import GET, HELLO, HttpScene, only_for
from tcpbalance.http.routes import Route
from tcpbalance.proxy.reasons import EndReason

MakeScene = Callable[..., HttpScene]

ASKS = GET.replace(
    b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
)
CHANGES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def upgraded(scene: HttpScene, early: bytes = b"", answer: bytes = b"") -> tuple[Any, Any]:
    """Give a client and a backend that have changed to WebSocket."""
    client = scene.connect(ASKS + early)
    scene.send(scene.connection, CHANGES + answer)
    return client, scene.connection


def test_both_sides_are_relayed_with_what_came_early(make_scene: MakeScene) -> None:
    scene = make_scene()
    client, backend = upgraded(scene, b"ping", b"pong")
    assert b"Connection: upgrade\r\nUpgrade: websocket\r\n" in backend.received
    assert b"Sec-WebSocket-Key: k\r\n" in backend.received
    assert client.received == CHANGES.replace(b"upgrade", b"upgrade") + b"pong"
    assert backend.received.endswith(b"\r\n\r\nping")
    for number in range(5):
        scene.send(client, b"%d" % number)
        scene.send(backend, b"%d" % number)
    assert backend.received.endswith(b"ping01234")
    assert client.received.endswith(b"pong01234")
    assert scene.records == []
    client.finish()
    scene.run()
    backend.finish()
    scene.run()
    record = scene.request
    assert (record.reason.word, record.status, client.saw, backend.saw) == (
        "client_closed",
        101,
        "fin",
        "fin",
    )
    assert record.client_bytes == len(ASKS) + 4 + 5
    assert record.backend_bytes == len(CHANGES) + 4 + 5


def test_much_passes_both_ways(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 10_000, "receive_buffer": 10_000})
    client, backend = upgraded(scene, b"a" * 100_000)
    scene.send(client, b"b" * 1_000_000)
    scene.send(backend, b"c" * 1_000_000)
    assert backend.received.endswith(b"a" * 100_000 + b"b" * 1_000_000)
    assert client.received.endswith(b"c" * 1_000_000)
    backend.reset()
    scene.advance(1.0)
    assert (client.saw, scene.ends) == ("reset", ["backend_reset 101"])


def test_it_holds_a_slot_until_it_ends(make_scene: MakeScene) -> None:
    scene = make_scene()
    client, backend = upgraded(scene)
    (session,) = scene.frontend.registry.sessions
    assert (scene.active, session.facts().state) == ([1], "relaying")
    scene.frontend.registry.end_sessions(EndReason.DRAINED, served_by={scene.pool.backends[0]})
    scene.run()
    assert (scene.active, client.saw, backend.saw) == ([0], "reset", "reset")
    assert scene.ends == ["drained 101"]


def test_it_lives_on_when_the_frontend_takes_no_more_clients(make_scene: MakeScene) -> None:
    scene = make_scene()
    client, backend = upgraded(scene)
    waiting = scene.connect()
    scene.frontend.stopFactory()
    scene.run()
    scene.send(client, b"still")
    scene.send(backend, b"here")
    assert (backend.received[-5:], client.received[-4:], waiting.saw) == (b"still", b"here", "fin")


def test_the_idle_timeout_of_the_frontend_counts(make_scene: MakeScene) -> None:
    scene = make_scene(timeouts={"idle_timeout": 100.0}, pool_http={"stall_timeout": 5.0})
    client, _ = upgraded(scene)
    scene.advance(95.0)
    assert client.saw == "open"
    scene.advance(60.0)
    assert (client.saw, scene.ends) == ("reset", ["idle_timeout 101"])


def test_a_backend_that_does_not_change_answers_as_usual(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(ASKS)
    scene.send(scene.connection, HELLO)
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.count(b"hello") == 2


def test_a_protocol_that_the_route_does_not_allow_is_not_offered(make_scene: MakeScene) -> None:
    scene = make_scene(routes=lambda pool: [(only_for(), Route(name="r", pool=pool, upgrade=frozenset()))])
    client = scene.connect(ASKS)
    assert b"pgrade" not in scene.connection.received
    scene.send(scene.connection, CHANGES)
    assert client.received.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "asks",
    [
        GET,
        ASKS.replace(b"websocket", b"h2c"),
        ASKS.replace(b"Connection: Upgrade\r\n", b""),
        ASKS.replace(b"1.1", b"1.0"),
        ASKS.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n") + b"a",
    ],
)
def test_a_change_that_was_not_asked_for_is_502(make_scene: MakeScene, asks: bytes) -> None:
    scene = make_scene()
    client = scene.connect(asks)
    assert b"Upgrade:" not in scene.connection.received
    scene.send(scene.connection, CHANGES)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert scene.ends == ["bad_response 502"]


def test_a_client_that_has_finished_ends_the_tunnel_in_order(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(ASKS + b"last")
    scene.send(scene.connection, CHANGES)
    client.finish()
    scene.run()
    assert (scene.connection.received[-4:], scene.connection.saw) == (b"last", "fin")
    scene.send(scene.connection, b"bye")
    scene.connection.finish()
    scene.run()
    assert client.received.endswith(b"bye")
    assert (client.saw, scene.ends) == ("fin", ["client_closed 101"])


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    ("fields", "passed"),
    [
        (b"Connection: Upgrade\r\nUpgrade: HTTP/3.0, websocket\r\n", b"Upgrade: HTTP/3.0, websocket\r\n"),
        (b"Upgrade: a\r\nX-A: b\r\nUPGRADE: b\r\n", b"Upgrade: a, b\r\n"),
    ],
)
def test_426_says_which_protocol_it_asks_for(
    make_scene: MakeScene, fields: bytes, passed: bytes, version: bytes
) -> None:
    # RFC 9110, section 15.5.22
    scene = make_scene()
    client = scene.connect(GET.replace(b"HTTP/1.1", b"HTTP/" + version))
    scene.send(scene.connection, b"HTTP/1.1 426 Upgrade Required\r\n%bContent-Length: 2\r\n\r\nno" % fields)
    head, _, body = client.received.partition(b"\r\n\r\n")
    lines = (head + b"\r\n").splitlines(keepends=True)
    assert [line for line in lines if line.lower().startswith(b"upgrade:")] == [passed]
    (connection,) = [line for line in lines if line.startswith(b"Connection:")]
    assert b"upgrade" in connection
    assert (scene.ends, body) == (["answered 426"], b"no")
    assert client.saw == ("open" if version == b"1.1" else "fin")


def test_of_other_responses_the_protocols_on_offer_are_not_passed_on(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    offer = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    scene.send(scene.connection, HELLO.replace(b"\r\n\r\n", offer))
    assert b"pgrade" not in client.received
    assert scene.ends == ["answered 200"]
