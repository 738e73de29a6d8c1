"""Requests that are sent once more, and those that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene

MakeScene = Callable[..., HttpScene]

POST = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + b"abc"
PUT = POST.replace(b"POST", b"PUT")


def used_once(scene: HttpScene) -> None:
    """Leave a connection behind that waits for a request."""
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    client.finish()
    scene.run()
    scene.records.clear()
    scene.clients.clear()
    scene.frontend.stats.__init__()  # type: ignore[misc]


@pytest.mark.parametrize("end", ["finish", "reset"])
@pytest.mark.parametrize("request_", [GET, PUT, GET.replace(b"GET", b"HEAD")])
def test_a_kept_connection_that_ends_does_not_show(make_scene: MakeScene, end: str, request_: bytes) -> None:
    scene = make_scene([ONE])
    used_once(scene)
    client = scene.connect(request_)
    old = scene.connection
    getattr(old, end)()
    scene.run()
    new = scene.connections[1]
    assert new.received == old.received.partition(b"\r\n\r\n")[2]
    scene.send(new, HELLO.replace(b"hello", b"") if b"HEAD" in request_ else HELLO)
    assert client.received.startswith(b"HTTP/1.1 200 ")
    stats = scene.pool.snapshot()
    assert (scene.ends, stats["resets_before_answer"], stats["cooldowns"]) == (["answered 200"], 0, 0)
    assert not scene.request.reused


def test_a_retry_on_a_connection_that_waits_gives_its_part_of_the_budget_back(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"}, pool_http={"idle": 60.0})
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    # ONE is tried again.
    scene.advance(20.0)
    scene.send(client, GET)
    assert (scene.backends[ONE].dials, scene.pool.retry_budget.taken) == (2, 0)
    scene.send(scene.connection, HELLO)
    assert (scene.ends, scene.pool.retry_budget.taken) == (["answered 200"] * 2, 0)
    assert scene.requests[1].reused


def test_it_is_sent_to_no_other_connection_that_waits(make_scene: MakeScene) -> None:
    scene = make_scene()
    first, second = scene.connect(GET), scene.connect(GET)
    for connection in scene.connections:
        scene.send(connection, HELLO)
    scene.send(first, GET)
    scene.connections[1].reset()
    scene.run()
    assert len(scene.connections) == 3
    scene.send(scene.connections[2], HELLO)
    assert second.saw == "open"


def test_the_fresh_connection_that_ends_is_an_ordinary_failure(make_scene: MakeScene) -> None:
    scene = make_scene([ONE], retries=0)
    used_once(scene)
    client = scene.connect(GET)
    scene.connections[0].reset()
    scene.run()
    scene.connections[1].reset()
    scene.run()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert (scene.ends, scene.pool.snapshot()["resets_before_answer"]) == (["backend_reset 502"], 1)


def test_a_post_takes_only_a_connection_used_just_now(make_scene: MakeScene) -> None:
    scene = make_scene()
    used_once(scene)
    scene.advance(0.5)
    scene.connect(POST)
    assert len(scene.connections) == 1
    scene.send(scene.connection, HELLO)
    scene.advance(1.5)
    scene.connect(POST)
    assert len(scene.connections) == 2


def test_a_post_is_not_sent_twice(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(POST)
    scene.connection.reset()
    scene.run()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert (scene.ends, len(scene.connections)) == (["backend_reset 502"], 1)


@pytest.mark.parametrize("request_", [GET, PUT])
def test_another_backend_gets_the_request_where_one_ends_without_a_response(
    make_scene: MakeScene, request_: bytes
) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(request_)
    scene.connection.reset()
    scene.run()
    scene.send(scene.backends[TWO].connection, HELLO)
    assert client.received.endswith(b"hello")
    assert scene.backends[TWO].connection.received == scene.backends[ONE].connection.received
    assert (scene.request.failures, scene.request.backend) == (((ONE, "reset"),), TWO)


def test_no_other_backend_gets_it_where_the_pool_says_so(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO], pool_http={"retry_on": ()})
    client = scene.connect(GET)
    scene.connection.reset()
    scene.run()
    assert client.received.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_no_other_backend_gets_it_once_a_response_has_begun(make_scene: MakeScene, begun: bytes) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(GET)
    scene.send(scene.connection, begun)
    scene.connection.reset()
    scene.run()
    assert client.received.rpartition(b"HTTP/1.1 ")[2].startswith(b"502 ")
    assert len(scene.connections) == 1


def test_a_body_that_is_not_here_any_more_is_not_sent_again(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(
        GET.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 200000\r\n\r\n")
    )
    scene.send(client, b"a" * 100_000)
    scene.connection.reset()
    scene.run()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert client.saw == "fin"


def test_a_body_that_is_coming_goes_on_at_the_other_backend(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO])
    client = scene.connect(PUT[:-2])
    scene.connection.reset()
    scene.run()
    scene.send(client, b"bc")
    assert scene.backends[TWO].connection.received.endswith(b"\r\n\r\nabc")
    scene.send(scene.backends[TWO].connection, HELLO)
    assert client.received.endswith(b"hello")


def test_a_client_that_leaves_meanwhile_ends_the_dial(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "accepts", TWO: "hangs"})
    client = scene.connect(GET)
    scene.connection.reset()
    scene.run()
    client.reset()
    scene.run()
    assert (scene.ends, scene.active) == (["client_reset 0"], [0, 0])
