"""Long bodies, which the kernel carries where it can, and what follows them on the same connections."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, HttpScene, SplicingHttpScene

MakeScene = Callable[..., HttpScene]

SIZE = 1_000_000
BODY = bytes(range(250)) * (SIZE // 250)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE
NARROW = {"send_buffer": 30_000, "receive_buffer": 30_000}


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


def test_the_next_response_follows_a_long_one(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, ANSWER + BODY)
    assert body_of(client.received) == BODY
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")
    assert [record.response_body for record in scene.requests] == [SIZE, 5]
    assert scene.requests[0].backend_bytes == len(ANSWER) + SIZE
    assert scene.requests[1].reused
    if isinstance(scene, SplicingHttpScene):
        assert scene.network.pipes.made > 0


def test_a_request_sent_ahead_follows_a_long_one(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST + BODY + GET)
    assert body_of(scene.connection.received) == BODY
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    assert client.received.count(b"hello") == 2
    assert [record.request_body for record in scene.requests] == [SIZE, 0]
    assert [record.client_bytes for record in scene.requests] == [len(POST) + SIZE, len(GET)]
    if isinstance(scene, SplicingHttpScene):
        assert scene.network.pipes.made > 0


def test_bytes_behind_a_long_response_end_the_connection_alone(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, ANSWER + BODY + HELLO)
    assert body_of(client.received) == BODY
    scene.send(client, GET)
    scene.send(scene.connections[1], HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("end", ["finish", "reset"])
def test_a_long_response_that_is_cut_does_not_look_whole(make_scene: MakeScene, end: str) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, ANSWER + BODY[:-1])
    getattr(scene.connection, end)()
    scene.advance(2.0)
    assert client.saw == "reset"
    received = body_of(client.received)
    assert received == BODY[: len(received)]
    assert len(received) > SIZE // 2


@pytest.mark.parametrize("side", ["client", "backend"])
@pytest.mark.parametrize("data", [ANSWER + BODY, b""])
def test_a_side_that_leaves_meanwhile(make_scene: MakeScene, side: str, data: bytes) -> None:
    scene = make_scene(network=NARROW, timeouts={"idle_timeout": 30.0})
    client = scene.connect(GET if data else POST)
    backend = scene.connection
    (client if data else backend).stop_reading()
    scene.send(backend if data else client, data or BODY)
    (client if side == "client" else backend).reset()
    # A reset is not seen where nothing is read.
    scene.advance(150.0)
    assert len(scene.records) == 1
    assert scene.kept == 0


def test_an_answer_before_a_long_request_is_whole(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST)
    scene.connection.stop_reading()
    scene.send(client, BODY)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"hello")
    assert scene.ends == ["answered 200"]
    scene.advance(10.0)
    assert client.saw == "reset"


def test_a_pause_in_a_long_response_is_seen(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW, pool_http={"stall_timeout": 20.0})
    client = scene.connect(GET)
    scene.send(scene.connection, ANSWER + BODY[:100_000])
    for _ in range(5):
        scene.advance(15.0)
        scene.send(scene.connection, BODY[:50_000])
    assert scene.records == []
    scene.advance(30.0)
    assert (client.saw, scene.ends) == ("reset", ["stall_timeout 200"])


def test_a_pause_in_a_long_request_is_seen(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW, http={"body_timeout": 20.0, "body_min_rate": 1})
    client = scene.connect(POST + BODY[:100_000])
    for _ in range(5):
        scene.advance(15.0)
        scene.send(client, BODY[:50_000])
    assert scene.records == []
    scene.advance(30.0)
    assert scene.ends == ["body_timeout 408"]
    assert scene.request.request_body == 350_000


def test_a_client_does_not_answer_for_a_backend_that_takes_nothing(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW, http={"body_timeout": 10.0}, pool_http={"response_timeout": 60.0})
    client = scene.connect(POST)
    scene.connection.stop_reading()
    scene.send(client, BODY)
    scene.advance(50.0)
    assert scene.records == []
    # The first look finds bytes under way, and the next that they are the same.
    scene.advance(80.0)
    assert scene.ends == ["response_timeout 504"]


def test_a_backend_may_take_a_long_request_slowly(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW, http={"body_timeout": 10.0, "body_min_rate": 10_000})
    client = scene.connect(POST)
    scene.connection.stop_reading()
    scene.send(client, BODY)
    for _ in range(60):
        scene.connection.read(2_000)
        scene.advance(2.0)
    assert scene.records == []
    scene.connection.start_reading()
    scene.run()
    assert body_of(scene.connection.received) == BODY


@pytest.mark.parametrize("cut", [1, 400_000])
def test_a_response_may_come_while_the_kernel_carries_the_request(make_scene: MakeScene, cut: int) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST + BODY[:-cut])
    scene.send(scene.connection, ANSWER + BODY[:10])
    scene.send(client, BODY[-cut:])
    assert body_of(scene.connection.received) == BODY
    scene.send(scene.connection, BODY[10:])
    assert body_of(client.received) == BODY
    assert (scene.ends, client.saw) == (["answered 200"], "fin")
    assert (scene.request.request_body, scene.request.response_body) == (SIZE, SIZE)


def test_no_request_overtakes_the_last_bytes_of_a_long_one(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST + BODY[:100_000])
    backend = scene.connection
    backend.stop_reading()
    scene.send(client, BODY[100_000:])
    scene.send(backend, HELLO)
    other = scene.connect(GET)
    backend.start_reading()
    scene.run()
    body = body_of(backend.received)
    assert body == BODY[: len(body)]
    assert len(scene.connections) == 2
    scene.send(scene.connections[1], HELLO)
    assert other.received.endswith(b"hello")
