"""Which connections to backends serve a further request, and which must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene
from tcpbalance.pool.backend import AdminState, Backend

MakeScene = Callable[..., HttpScene]

POST = b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 2\r\n\r\nhi"

READ = 65536
"""Bytes of a response that one read takes, and no more: what follows stays in the kernel."""


def test_a_connection_that_has_named_one_client_serves_no_other(make_scene: MakeScene) -> None:
    scene = make_scene(send_proxy_protocol="v1")
    for number in range(3):
        scene.connect(GET, address=IPv4Address("TCP", f"198.51.100.{number}", 4711))
        scene.send(scene.connections[number], HELLO)
    for number, connection in enumerate(scene.connections):
        assert connection.received.startswith(b"PROXY TCP4 198.51.100.%d " % number)
        assert (connection.received.count(b"GET / "), connection.saw) == (1, "fin")
    assert scene.ends == ["answered 200"] * 3


def test_one_that_was_opened_without_a_name_is_not_given_one(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.pool.send_proxy_protocol = "v1"
    scene.send(client, GET)
    old, new = scene.connections
    assert (old.received.count(b"GET / "), old.saw) == (1, "fin")
    assert new.received.startswith(b"PROXY TCP4 ")
    scene.pool.send_proxy_protocol = None
    scene.send(new, HELLO)
    scene.send(client, GET)
    assert (new.received.count(b"GET / "), new.saw) == (1, "fin")
    assert scene.connections[2].received.startswith(b"GET / ")


@pytest.mark.parametrize("surplus", [HELLO.replace(b"hello", b"WRONG"), b"x"])
def test_one_with_bytes_that_answer_no_request_is_not_taken(make_scene: MakeScene, surplus: bytes) -> None:
    scene = make_scene()
    client = scene.connect(GET + GET)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    size = READ - len(head % READ)
    scene.send(scene.connection, head % size + b"a" * size + surplus)
    assert len(scene.connections) == 2
    assert scene.connections[0].received.count(b"GET / ") == 1
    scene.send(scene.connections[1], HELLO)
    assert client.received.endswith(b"hello")
    assert b"WRONG" not in client.received


def test_without_idle_connections_each_request_has_one_of_its_own(make_scene: MakeScene) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], pool_http={"idle_connections": 0})
    client = scene.connect()
    for number in range(3):
        scene.send(client, GET)
        scene.send(scene.connections[number], HELLO)
        assert (scene.connections[number].saw, scene.active) == ("fin", [0])
    assert (scene.ends, client.saw) == (["answered 200"] * 3, "open")


def test_the_youngest_of_those_that_wait_is_taken(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.connect(GET)
    first, second = scene.connections
    for connection in (second, first):
        scene.advance(1.0)
        scene.send(connection, HELLO)
    scene.send(client, GET)
    assert [it.received.count(b"GET / ") for it in (first, second)] == [2, 1]


def test_of_more_than_may_wait_the_oldest_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"idle_connections": 2})
    for _ in range(3):
        scene.connect(GET)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    assert [connection.saw for connection in scene.connections] == ["fin", "open", "open"]


def test_a_backend_that_is_drained_loses_its_connections_that_wait(make_scene: MakeScene) -> None:
    scene = make_scene()
    clients = [scene.connect(GET) for _ in range(2)]
    waiting, busy = scene.connections
    for connection in (waiting, busy):
        scene.send(connection, HELLO)
    scene.send(clients[0], GET)
    scene.pool.set_admin_state(scene.pool.backends[0], AdminState.DRAIN)
    scene.run()
    assert (waiting.saw, busy.saw) == ("fin", "open")
    scene.send(busy, HELLO)
    assert (busy.saw, scene.ends) == ("fin", ["answered 200"] * 3)
    assert [client.saw for client in clients] == ["open", "open"]


def test_the_connection_to_a_backend_that_goes_down_meanwhile_is_not_kept(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.pool.mark_down(scene.pool.backends[0], "gone")
    scene.send(scene.connection, HELLO)
    assert (scene.connection.saw, scene.ends, scene.active) == ("fin", ["answered 200"], [0])
    scene.send(client, GET)
    assert scene.ends == ["answered 200", "no_backend 503"]


def test_a_connection_that_was_held_back_is_read_again(make_scene: MakeScene) -> None:
    scene = make_scene(limits={"bandwidth_per_connection": 10_000})
    client = scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 4959\r\n\r\n" + b"a" * 4959)
    while not scene.ends:
        scene.advance(0.1)
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    scene.advance(2.0)
    assert client.received.endswith(b"hello")


def test_a_connection_that_was_held_back_is_dropped_at_its_end(make_scene: MakeScene) -> None:
    scene = make_scene(limits={"bandwidth_per_connection": 10_000})
    scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 4959\r\n\r\n" + b"a" * 4959)
    while not scene.ends:
        scene.advance(0.1)
    scene.connection.finish()
    scene.run()
    assert scene.connection.saw == "fin"


def _serve(scene: HttpScene, client: Any, request: bytes) -> int:
    """Have a request answered, and give the number of the connection that has brought it."""
    before = [len(connection.received) for connection in scene.connections]
    scene.send(client, request)
    (number,) = (
        number
        for number, connection in enumerate(scene.connections)
        if len(connection.received) > (before[number] if number < len(before) else 0)
    )
    scene.send(scene.connections[number], HELLO)
    return number


def _end_early(scene: HttpScene, client: Any) -> None:
    """The backend ends the connection of a request soon after its response."""
    number = _serve(scene, client, GET)
    scene.advance(0.1)
    scene.connections[number].finish()
    scene.run()


def test_after_an_early_end_only_what_may_be_repeated_gets_one_that_waits(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    _end_early(scene, client)
    assert [_serve(scene, client, request) for request in (GET, POST, GET, POST)] == [1, 2, 2, 3]


def test_one_that_has_waited_for_longer_shows_that_the_backend_does_not_end_them(
    make_scene: MakeScene,
) -> None:
    scene = make_scene()
    client = scene.connect()
    _end_early(scene, client)
    assert [_serve(scene, client, request) for request in (GET, POST)] == [1, 2]
    scene.advance(0.9)
    assert [_serve(scene, client, request) for request in (GET, POST)] == [2, 3]
    scene.advance(0.2)
    assert [_serve(scene, client, request) for request in (GET, POST, POST)] == [3, 3, 3]


def test_one_that_has_waited_since_before_the_end_shows_nothing(make_scene: MakeScene) -> None:
    scene = make_scene()
    client, other = scene.connect(GET), scene.connect(GET)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    scene.advance(2.0)
    _end_early(scene, other)
    assert [_serve(scene, client, request) for request in (GET, POST)] == [0, 2]


def test_a_request_that_crosses_an_early_end_is_the_last_to_do_so(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    assert _serve(scene, client, GET) == 0
    scene.send(client, POST)
    scene.connection.reset()
    scene.run()
    assert scene.ends == ["answered 200", "backend_reset 502"]
    assert [_serve(scene, client, request) for request in (GET, POST, GET, POST)] == [1, 2, 2, 3]


def test_an_end_that_comes_with_the_response_is_an_early_one(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.connection.send(HELLO)
    scene.connection.finish()
    scene.run()
    assert [_serve(scene, client, request) for request in (GET, POST)] == [1, 2]


@pytest.mark.parametrize("request_", [GET, POST])
def test_an_end_that_was_announced_is_none(make_scene: MakeScene, request_: bytes) -> None:
    scene = make_scene()
    client = scene.connect(request_)
    scene.connection.send(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    scene.connection.finish()
    scene.run()
    assert [_serve(scene, client, request) for request in (GET, POST)] == [1, 1]


def test_a_late_end_says_nothing_of_the_others(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    assert _serve(scene, client, GET) == 0
    scene.advance(1.5)
    scene.connection.finish()
    scene.run()
    assert [_serve(scene, client, request) for request in (GET, POST)] == [1, 1]


def test_what_the_balancer_closes_is_no_early_end(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"idle_connections": 1})
    client, other = scene.connect(GET), scene.connect(GET)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    assert [connection.saw for connection in scene.connections] == ["fin", "open"]
    scene.connections[0].finish()
    scene.run()
    assert _serve(scene, client, POST) == 1
    other.finish()


def test_as_many_as_may_wait_grow_old_after_an_early_end(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"idle_connections": 2})
    client = scene.connect()
    _end_early(scene, client)
    assert [_serve(scene, client, POST) for _ in range(4)] == [1, 2, 3, 4]
    assert [connection.saw for connection in scene.connections] == ["fin", "open", "open", "fin", "fin"]
    scene.advance(0.9)
    assert _serve(scene, client, POST) == 5
    scene.advance(0.2)
    assert [_serve(scene, client, request) for request in (GET, POST)] == [2, 2]


def test_of_a_backend_that_is_removed_nothing_is_remembered(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    _end_early(scene, client)
    early_ends = scene.frontend.context.idle[scene.pool]._early_ends
    assert len(early_ends) == 1
    scene.send(client, GET)
    scene.pool.replace([Backend(TWO)])
    scene.run()
    assert early_ends == {}
    scene.send(scene.connections[1], HELLO)
    scene.connections[1].finish()
    scene.run()
    assert early_ends == {}
