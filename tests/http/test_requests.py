"""Requests without a body: heads, connections that are kept at both ends, and answers of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from tcpbalance.http.routes import FixedAnswer, Route
from tcpbalance.pool.backend import Backend

MakeScene = Callable[..., HttpScene]


def test_a_request_and_its_response_pass(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    backend = scene.connection
    assert backend.received == (
        b"GET / HTTP/1.1\r\nHost: www.example.com\r\nX-Forwarded-For: 198.51.100.7\r\n"
        b"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Host: www.example.com\r\n\r\n"
    )
    scene.send(backend, HELLO)
    assert client.received == (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 5\r\n\r\nhello"
    )
    record = scene.request
    assert (record.method, record.host, record.target, record.status) == ("GET", "www.example.com", "/", 200)
    assert (record.reason.word, record.backend, record.attempts, record.reused) == ("answered", ONE, 1, False)
    assert (record.client_bytes, record.backend_bytes) == (len(GET), len(HELLO))
    assert (record.request_body, record.response_body) == (0, 5)
    assert (client.saw, backend.saw) == ("open", "open")


def test_both_connections_serve_the_next_request(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    first = client.received
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received == 2 * first
    assert [record.reused for record in scene.requests] == [False, True]
    assert scene.pool.snapshot()["connections_total"] == 1


def test_a_connection_to_a_backend_serves_other_clients(make_scene: MakeScene) -> None:
    scene = make_scene()
    for _ in range(3):
        client = scene.connect(GET)
        scene.send(scene.connection, HELLO)
        assert client.received.endswith(b"hello")
    assert scene.active == [0]


@pytest.mark.parametrize("size", [1, 7, 20])
def test_a_head_may_come_in_pieces(make_scene: MakeScene, size: int) -> None:
    scene = make_scene()
    client = scene.connect()
    for at in range(0, len(GET), size):
        scene.send(client, GET[at : at + size])
    for at in range(0, len(HELLO), size):
        scene.send(scene.connection, HELLO[at : at + size])
    assert client.received.endswith(b"\r\n\r\nhello")
    assert scene.ends == ["answered 200"]


def test_requests_sent_ahead_are_answered_in_their_order(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(
        GET.replace(b"/", b"/1", 1) + GET.replace(b"/", b"/2", 1) + GET.replace(b"/", b"/3", 1)
    )
    for number in (b"1", b"2", b"3"):
        assert scene.connection.received.startswith(b"GET /1")
        assert scene.connection.received.rpartition(b"GET /")[2].startswith(number)
        scene.send(scene.connection, HELLO.replace(b"hello", b"hell" + number))
    assert [part[:5] for part in client.received.split(b"\r\n\r\n")[1:]] == [b"hell1", b"hell2", b"hell3"]


def test_a_client_that_says_close_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    scene.send(scene.connection, HELLO)
    assert b"Connection: close\r\n" in client.received
    assert client.saw == "fin"
    assert scene.connection.saw == "open"


def test_a_backend_that_says_close_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert b"Connection" not in client.received
    assert (client.saw, scene.connection.saw) == ("open", "fin")


def test_http_1_0_is_closed_unless_it_asks_to_be_kept(make_scene: MakeScene) -> None:
    scene = make_scene()
    closed = scene.connect(b"GET / HTTP/1.0\r\n\r\n")
    scene.send(scene.connection, HELLO)
    kept = scene.connect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    scene.send(scene.connection, HELLO)
    assert (closed.saw, kept.saw) == ("fin", "open")
    assert b"Connection: keep-alive\r\n" in kept.received
    assert b"Host: 10.0.0.1:80\r\n" in scene.connection.received


def test_an_idle_connection_that_ends_is_not_used_again(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.connection.finish()
    scene.run()
    assert scene.connections[0].saw == "fin"
    scene.send(client, GET)
    scene.send(scene.connections[1], HELLO)
    assert scene.ends == ["answered 200"] * 2


def test_an_idle_connection_that_sends_something_is_closed(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    scene.send(client, GET)
    scene.send(scene.connections[1], HELLO)
    assert client.received.count(b"hello") == 2


def test_an_idle_connection_is_closed_in_time(make_scene: MakeScene) -> None:
    scene = make_scene(pool_http={"idle": 4.0})
    scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.advance(3.0)
    assert scene.connection.saw == "open"
    scene.advance(3.0)
    assert scene.connection.saw == "fin"


def test_a_backend_that_goes_down_loses_its_idle_connections(make_scene: MakeScene) -> None:
    scene = make_scene([ONE, TWO])
    scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.pool.mark_down(scene.pool.backends[0], "gone")
    scene.run()
    assert scene.connections[0].saw == "fin"


def test_no_backend_is_503(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.pool.mark_down(scene.pool.backends[0], "gone")
    client = scene.connect(GET)
    assert client.received.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 1\r\n" in client.received
    assert (client.saw, scene.ends) == ("open", ["no_backend 503"])


def test_a_backend_that_refuses_is_502(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses"}, retries=0)
    client = scene.connect(GET)
    assert client.received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert (client.saw, scene.ends) == ("open", ["connect_failed 502"])


def test_another_backend_is_tried_where_one_refuses(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"})
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"hello")
    assert scene.request.failures == ((ONE, "refused"),)


def test_a_bad_head_is_400_and_closes(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
    assert client.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert client.received.count(b"HTTP/1.1") == 1
    assert client.saw == "fin"
    assert scene.connections == []
    assert (scene.ends, scene.request.cause) == (["bad_request 400"], "bad_head")


def test_a_client_that_leaves_without_a_request_has_a_record_of_its_connection(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    client.finish()
    scene.run()
    (record,) = scene.records
    assert (record.reason.word, scene.requests, client.saw) == ("client_closed", [], "fin")


def test_a_client_that_leaves_between_requests_has_no_further_record(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    client.finish()
    scene.run()
    assert (len(scene.records), client.saw) == (1, "fin")


def test_a_client_that_is_gone_cuts_its_request_at_the_backend(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    client.reset()
    scene.run()
    assert (scene.connection.saw, scene.ends) == ("reset", ["client_reset 0"])


@pytest.mark.parametrize("outcome", ["accepts", "hangs"])
def test_a_client_that_has_finished_is_gone(make_scene: MakeScene, outcome: Any) -> None:
    scene = make_scene({ONE: outcome})
    client = scene.connect(GET)
    client.finish()
    scene.run()
    assert (client.received, client.saw, scene.ends, scene.active) == (b"", "fin", ["client_closed 0"], [0])
    assert [connection.saw for connection in scene.connections] == ["reset"] * (outcome == "accepts")


def test_a_client_that_finishes_in_the_queue_leaves_it(make_scene: MakeScene) -> None:
    scene = make_scene(members=[Backend(ONE, max_connections=1)], queue=10)
    first, second, third = scene.connect(GET), scene.connect(GET), scene.connect(GET)
    second.finish()
    scene.run()
    assert (second.saw, scene.ends) == ("fin", ["client_closed 0"])
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    assert (first.received[-5:], third.received[-5:]) == (b"hello", b"hello")


def test_a_client_that_finishes_after_requests_that_are_answered_here_gets_all_answers(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(
        {ONE: "hangs"},
        routes=lambda pool: [(only_for(), Route(name="gone", answer=FixedAnswer(410, None)))],
        network={"send_buffer": 4_000, "receive_buffer": 4_000},
    )
    client = scene.connect()
    client.stop_reading()
    client.send(GET * 2000)
    client.finish()
    scene.run()
    client.start_reading()
    scene.run()
    assert client.received.count(b"HTTP/1.1 410 Gone\r\n") == 2000
    assert (client.saw, len(scene.requests)) == ("fin", 2000)


def test_a_request_for_a_backend_is_not_served_behind_them(make_scene: MakeScene) -> None:
    scene = make_scene(
        routes=lambda pool: [
            (only_for(hosts=("www.example.com",)), Route(name="gone", answer=FixedAnswer(410, None)))
        ],
    )
    client = scene.connect()
    client.send(GET * 100 + GET.replace(b"www.", b"") + GET)
    client.finish()
    scene.run()
    assert client.received.count(b"HTTP/1.1 410 Gone\r\n") == 100
    assert (client.saw, scene.ends[-1]) == ("fin", "client_closed 0")


def test_head_has_no_body(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET.replace(b"GET", b"HEAD") + GET)
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    scene.send(scene.connection, HELLO)
    assert client.received.count(b"Content-Length: 5\r\n") == 2
    assert client.received.endswith(b"\r\n\r\nhello")


def test_the_context_of_a_trace_is_passed_on_byte_for_byte(make_scene: MakeScene) -> None:
    scene = make_scene(http={"send": ("x-forwarded", "via", "x-request-id")})
    lines = (
        b"TraceParent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        b"tracestate: rojo=00f067aa0ba902b7\r\ntracestate:congo=t61rcWkgMzE\r\n"
    )
    scene.connect(GET.replace(b"\r\n\r\n", b"\r\n%b\r\n" % lines))
    assert lines in scene.connection.received
    assert scene.connection.received.lower().count(b"traceparent") == 1
