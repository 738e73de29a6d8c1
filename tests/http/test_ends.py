"""Ends that neither side decides: drains, the operator, the end of the program."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, HttpScene
from tcpbalance.proxy.reasons import EndReason

MakeScene = Callable[..., HttpScene]

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"


def test_at_the_end_of_accepting_idle_clients_are_closed_and_others_with_their_answer(
    make_scene: MakeScene,
) -> None:
    scene = make_scene()
    idle, busy, sending = scene.connect(GET), scene.connect(), scene.connect(GET[:20])
    scene.send(scene.connection, HELLO)
    scene.send(busy, GET)
    idle_done = scene.frontend.registry.when_idle()
    scene.frontend.stopFactory()
    scene.run()
    assert (idle.saw, busy.saw, sending.saw) == ("fin", "open", "open")
    scene.send(sending, GET[20:])
    for connection in scene.connections:
        scene.send(connection, HELLO)
    assert (busy.saw, sending.saw) == ("fin", "fin")
    assert b"Connection: close\r\n" in busy.received
    assert b"Connection: close\r\n" in sending.received
    for client in (busy, sending):
        client.finish()
        scene.run()
    assert idle_done.called
    # No connection to a backend is left behind.
    assert {connection.saw for connection in scene.connections} == {"fin"}


def test_a_client_whose_response_has_begun_is_closed_behind_it(make_scene: MakeScene) -> None:
    scene = make_scene()
    client, ahead = scene.connect(GET), scene.connect(GET + GET)
    first, second = scene.connections
    for connection in (first, second):
        scene.send(connection, LONG)
    scene.frontend.stopFactory()
    scene.send(first, b"world")
    assert (client.saw, client.received[-10:]) == ("fin", b"helloworld")
    scene.send(second, b"world")
    assert ahead.saw == "open"
    scene.send(scene.connections[-1], HELLO)
    assert (ahead.saw, ahead.received.count(b"Connection: close\r\n")) == ("fin", 1)
    assert scene.ends == ["answered 200"] * 3


@pytest.mark.parametrize("reason", [EndReason.ENDED_BY_OPERATOR, EndReason.OVERLOAD, EndReason.SHUTDOWN])
def test_a_request_that_is_ended_is_cut(make_scene: MakeScene, reason: EndReason) -> None:
    scene = make_scene()
    clients = [scene.connect(GET), scene.connect(GET)]
    scene.send(scene.connections[0], LONG)
    scene.frontend.registry.end_sessions(reason)
    scene.run()
    assert [client.saw for client in clients] == ["reset", "reset"]
    assert sorted(scene.ends) == [f"{reason.word} 0", f"{reason.word} 200"]


def test_an_idle_client_is_ended_in_order(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.frontend.registry.end_sessions(EndReason.ENDED_BY_OPERATOR)
    scene.run()
    assert (client.saw, scene.ends) == ("fin", ["answered 200"])


def test_a_client_has_as_many_requests_as_the_frontend_says(make_scene: MakeScene) -> None:
    scene = make_scene(http={"keepalive_requests": 2})
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO)
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.count(b"Connection: close\r\n") == 1
    assert client.saw == "fin"


def test_the_requests_under_way_are_what_a_session_shows(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect()
    (session,) = scene.frontend.registry.sessions
    assert (session.facts().state, session.served_by, session.carried) == ("idle", None, (0, 0))
    scene.send(client, GET)
    assert (session.facts().state, session.facts().backend) == ("unanswered", "10.0.0.1:80")
    scene.send(scene.connection, LONG)
    assert (session.facts().state, session.carried) == ("relaying", (len(GET), len(LONG)))
    scene.send(scene.connection, b"world")
    assert (session.facts().state, session.carried) == ("idle", (0, 0))


def test_a_connection_lost_while_its_answer_goes_out(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 4_000, "receive_buffer": 4_000})
    client = scene.connect(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    client.stop_reading()
    body = b"a" * 60_000
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + body)
    assert scene.ends == ["answered 200"]
    scene.advance(100.0)
    assert client.saw == "reset"
