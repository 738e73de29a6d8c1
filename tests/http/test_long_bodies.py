"""Long bodies, which the kernel carries where it can, and what follows them on the same connections."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, HttpScene, SplicingHttpScene, only_for
from tcpbalance.http.routes import Route

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


IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
POST_IN_CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG_CHUNK = b"%x\r\n" % SIZE + BODY + b"\r\n"
CHUNKS = b"5\r\nfirst\r\n" + LONG_CHUNK + b"6\r\nmiddle\r\n" + LONG_CHUNK + b"0\r\nX-Sum: 1\r\n\r\n"
OF_CHUNKS = b"first" + BODY + b"middle" + BODY


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """Give a body that came in chunks, and what follows its last chunk."""
    body = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return body, data
        assert data[size : size + 2] == b"\r\n"
        body, data = body + data[:size], data[size + 2 :]


def test_long_chunks_of_a_response_are_carried(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, IN_CHUNKS + CHUNKS)
    assert unchunked(body_of(client.received)) == (OF_CHUNKS, b"X-Sum: 1\r\n\r\n")
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")
    assert [record.response_body for record in scene.requests] == [len(OF_CHUNKS), 5]
    assert scene.requests[0].backend_bytes == len(IN_CHUNKS + CHUNKS)
    assert scene.requests[1].reused
    if isinstance(scene, SplicingHttpScene):
        assert scene.network.pipes.made > 0


def test_long_chunks_of_a_request_are_carried(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST_IN_CHUNKS + CHUNKS + GET)
    assert unchunked(body_of(scene.connection.received)) == (OF_CHUNKS, b"X-Sum: 1\r\n\r\n")
    scene.send(scene.connection, HELLO)
    scene.send(scene.connection, HELLO)
    assert client.received.count(b"hello") == 2
    assert [record.request_body for record in scene.requests] == [len(OF_CHUNKS), 0]
    assert scene.requests[0].client_bytes == len(POST_IN_CHUNKS + CHUNKS)
    if isinstance(scene, SplicingHttpScene):
        assert scene.network.pipes.made > 0


def test_http_1_0_gets_long_chunks_without_their_framing(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(b"GET / HTTP/1.0\r\n\r\n")
    scene.send(scene.connection, IN_CHUNKS + CHUNKS)
    assert (body_of(client.received), client.saw) == (OF_CHUNKS, "fin")


@pytest.mark.parametrize("after", [b"XX", b"\r\nXX", b"\n", b"\r\n-1\r\n"])
def test_what_is_wrong_behind_a_long_chunk_of_a_response_cuts_it(make_scene: MakeScene, after: bytes) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, IN_CHUNKS + LONG_CHUNK[:-2] + after)
    scene.advance(2.0)
    assert (client.saw, scene.ends) == ("reset", ["bad_response 200"])
    assert b"XX" not in client.received


def test_what_is_wrong_behind_a_long_chunk_of_a_request_is_400(make_scene: MakeScene) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(POST_IN_CHUNKS + LONG_CHUNK[:-2] + b"XX" + GET)
    assert client.received.startswith(b"HTTP/1.1 400 ")
    assert (scene.connection.saw, scene.ends) == ("reset", ["bad_request 400"])
    assert scene.connection.received.count(b"HTTP/1.1\r\n") == 1


def test_a_long_chunk_may_make_a_body_too_large(make_scene: MakeScene) -> None:
    scene = make_scene(
        network=NARROW,
        routes=lambda pool: [(only_for(), Route(name="a", pool=pool, body_size=SIZE + 5))],
    )
    client = scene.connect(POST_IN_CHUNKS + CHUNKS)
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert (scene.connection.saw, scene.ends) == ("reset", ["bad_request 413"])


@pytest.mark.parametrize("end", ["finish", "reset"])
def test_a_long_chunk_that_is_cut_does_not_look_whole(make_scene: MakeScene, end: str) -> None:
    scene = make_scene(network=NARROW)
    client = scene.connect(GET)
    scene.send(scene.connection, IN_CHUNKS + LONG_CHUNK[:-3])
    getattr(scene.connection, end)()
    scene.advance(2.0)
    assert client.saw == "reset"
    assert b"\r\n0\r\n" not in client.received


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
    scene.send(client, b"d")
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
