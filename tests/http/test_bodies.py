"""Bodies of requests and responses: by length, in chunks, until the connection ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.http_scene import GET, HELLO, HttpScene, only_for
from tcpbalance.http.routes import FixedAnswer, Route

MakeScene = Callable[..., HttpScene]

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GONE = Route(name="gone", answer=FixedAnswer(410, None))
MUCH = bytes(range(256)) * 4096
"""A mebibyte."""


def post(body: bytes) -> bytes:
    return HEAD % b"Content-Length: %d" % len(body) + body


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_body_passes_in_any_pieces(make_scene: MakeScene, size: int) -> None:
    scene = make_scene()
    client = scene.connect()
    request = post(b"0123456789" * 2)
    for at in range(0, len(request), size):
        scene.send(client, request[at : at + size])
    assert body_of(scene.connection.received) == b"0123456789" * 2
    assert b"Content-Length: 20\r\n" in scene.connection.received
    scene.send(scene.connection, HELLO)
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"] * 2
    assert (scene.requests[0].request_body, scene.requests[0].client_bytes) == (20, len(request))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_chunks_are_written_anew(make_scene: MakeScene, size: int) -> None:
    scene = make_scene()
    client = scene.connect()
    request = HEAD % b"Transfer-Encoding: chunked" + b"3;a=b\r\nabc\r\n02\r\nde\r\n0\r\nX-T: 1\r\n\r\n" + GET
    for at in range(0, len(request), size):
        scene.send(client, request[at : at + size])
    received = scene.connection.received
    assert b"Transfer-Encoding: chunked\r\n" in received
    assert b";a=b" not in received
    assert received.endswith(b"\r\n0\r\nX-T: 1\r\n\r\n")
    if size == 1000:
        assert body_of(received) == b"5\r\nabcde\r\n0\r\nX-T: 1\r\n\r\n"
    scene.send(scene.connection, HELLO)
    assert scene.connection.received.count(b"HTTP/1.1\r\n") == 2
    assert scene.request.request_body == 5


def test_a_bad_chunk_is_400_and_cuts_the_backend(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(HEAD % b"Transfer-Encoding: chunked" + b"3\r\nabc\r\n")
    backend = scene.connection
    scene.send(client, b"zz\r\n" + GET)
    assert client.received.startswith(b"HTTP/1.1 400 ")
    assert (client.saw, backend.saw, scene.ends) == ("fin", "reset", ["bad_request 400"])
    assert scene.request.cause == "bad_chunk"


def test_a_body_that_is_too_large_is_refused_before_it_comes(make_scene: MakeScene) -> None:
    scene = make_scene(body_size=10)
    client = scene.connect(HEAD % b"Content-Length: 11\r\nExpect: 100-continue")
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert (scene.connections, scene.ends, scene.request.cause) == ([], ["bad_request 413"], "body_too_large")


def test_a_body_that_turns_out_to_be_too_large_is_cut(make_scene: MakeScene) -> None:
    scene = make_scene(body_size=10)
    client = scene.connect(HEAD % b"Transfer-Encoding: chunked" + b"8\r\nabcdefgh\r\n")
    scene.send(client, b"3\r\nabc\r\n")
    assert client.received.startswith(b"HTTP/1.1 413 ")
    assert (scene.connection.saw, client.saw) == ("reset", "fin")


def test_a_client_that_finishes_within_its_body_gives_up(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(HEAD % b"Content-Length: 11" + b"abc")
    client.finish()
    scene.run()
    assert (scene.connection.saw, client.saw, scene.ends) == ("reset", "fin", ["client_closed 0"])


def test_a_long_body_passes_with_back_pressure(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 10_000, "receive_buffer": 10_000})
    client = scene.connect()
    client.send(post(MUCH))
    scene.network.step()
    scene.network.step()
    scene.connections or scene.network.step()
    while not scene.connections:
        scene.network.step()
    scene.connection.stop_reading()
    scene.run()
    assert scene.kept < 300_000
    scene.connection.start_reading()
    scene.run()
    assert body_of(scene.connection.received) == MUCH
    scene.send(scene.connection, HELLO)
    assert (scene.ends, client.saw) == (["answered 200"], "open")


def test_a_long_response_passes_with_back_pressure(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 10_000, "receive_buffer": 10_000})
    client = scene.connect(GET)
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MUCH) + MUCH)
    assert scene.kept < 300_000
    client.start_reading()
    scene.run()
    assert body_of(client.received) == MUCH
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert scene.ends == ["answered 200"] * 2
    assert scene.requests[1].reused


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_response_in_chunks_passes(make_scene: MakeScene, size: int) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    response = CHUNKED_ANSWER + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for at in range(0, len(response), size):
        scene.send(scene.connection, response[at : at + size])
    assert b"Transfer-Encoding: chunked\r\n" in client.received
    assert client.received.endswith(b"0\r\n\r\n")
    assert (scene.request.response_body, client.saw) == (5, "open")
    scene.send(client, GET)
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")


def test_a_response_in_chunks_has_none_for_http_1_0(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    scene.send(scene.connection, CHUNKED_ANSWER + b"3\r\nabc\r\n")
    scene.send(scene.connection, b"2\r\nde\r\n0\r\n\r\n")
    assert (body_of(client.received), client.saw) == (b"abcde", "fin")
    assert b"chunked" not in client.received


def test_a_response_until_the_end_comes_in_chunks(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\n\r\nabc")
    scene.send(scene.connection, b"de")
    scene.connection.finish()
    scene.run()
    assert body_of(client.received) == b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert (client.saw, scene.ends) == ("open", ["answered 200"])
    scene.send(client, GET)
    scene.send(scene.connections[1], HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED_ANSWER])
def test_no_part_of_a_response_ends_it_before_its_body(make_scene: MakeScene, head: bytes) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, head)
    assert body_of(client.received) == b""
    scene.send(scene.connection, b"3\r\nabc\r\n0\r\n\r\n" if head is CHUNKED_ANSWER else b"abc")
    if head is not CHUNKED_ANSWER:
        scene.connection.finish()
        scene.run()
    assert (body_of(client.received), client.saw) == (b"3\r\nabc\r\n0\r\n\r\n", "open")


def test_a_response_until_the_end_goes_on_so_for_http_1_0(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(b"GET / HTTP/1.0\r\n\r\n")
    scene.send(scene.connection, b"HTTP/1.0 200 OK\r\n\r\nabc")
    scene.connection.finish()
    scene.run()
    assert (body_of(client.received), client.saw) == (b"abc", "fin")


CUT_RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    CHUNKED_ANSWER + b"3\r\nabc\r\n",
]


@pytest.mark.parametrize("response", CUT_RESPONSES)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("end", ["finish", "reset"])
def test_a_cut_response_does_not_look_whole(
    make_scene: MakeScene, response: bytes, version: bytes, end: str
) -> None:
    scene = make_scene()
    client = scene.connect(GET.replace(b"1.1", version))
    scene.send(scene.connection, response)
    getattr(scene.connection, end)()
    scene.run()
    scene.advance(1.0)
    assert b"abc" in client.received
    assert client.saw == "reset"
    assert scene.ends == [f"{'backend_closed' if end == 'finish' else 'backend_reset'} 200"]


def test_a_response_until_the_end_that_breaks_does_not_look_whole(make_scene: MakeScene) -> None:
    scene = make_scene()
    clients = [scene.connect(GET), scene.connect(GET.replace(b"1.1", b"1.0"))]
    for connection in scene.connections:
        scene.send(connection, b"HTTP/1.1 200 OK\r\n\r\nabc")
        connection.reset()
    scene.advance(1.0)
    assert [client.saw for client in clients] == ["reset", "reset"]


def test_bytes_behind_a_response_are_not_passed_on(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO + HELLO)
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert (client.saw, scene.connection.saw, scene.ends) == ("open", "reset", ["bad_response 502"])


def test_bytes_behind_a_response_that_is_passed_on_end_the_connection(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, HELLO[:-2])
    scene.send(scene.connection, HELLO[-2:] + HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")
    assert (client.saw, scene.connection.saw) == ("open", "fin")


BAD_RESPONSES = [
    b"hello\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\nA: b\n\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 999 Request Denied\r\nSet-Cookie: a=b\r\n\r\n",
    CHUNKED_ANSWER + b"zz\r\n",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 65,
]


@pytest.mark.parametrize("response", BAD_RESPONSES)
def test_a_bad_response_is_502(make_scene: MakeScene, response: bytes) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, response)
    assert client.received.rpartition(b"HTTP/1.1 ")[2].startswith(b"502 ")
    assert (client.saw, scene.connection.saw, scene.ends) == ("open", "reset", ["bad_response 502"])


def test_early_hints_pass_before_the_response(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
    assert client.received == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    scene.send(scene.connection, HELLO)
    assert client.received.endswith(b"\r\n\r\nhello")


def test_http_1_0_gets_no_1xx(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(b"GET / HTTP/1.0\r\n\r\n")
    scene.send(scene.connection, b"HTTP/1.1 103 Early Hints\r\n\r\n" + HELLO)
    assert client.received.count(b"HTTP/1.1") == 1


def test_100_is_the_backends(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(HEAD % b"Content-Length: 3\r\nExpect: 100-continue")
    assert b"Expect: 100-continue\r\n" in scene.connection.received
    assert client.received == b""
    scene.send(scene.connection, b"HTTP/1.1 100 Continue\r\n\r\n")
    scene.send(scene.connection, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    scene.send(client, b"abc")
    assert scene.connection.received.endswith(b"\r\n\r\nabc")
    scene.send(scene.connection, HELLO)
    assert (client.saw, scene.ends) == ("open", ["answered 200"])


def test_100_that_was_not_asked_for_is_dropped(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(GET)
    scene.send(scene.connection, b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO)
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_answer_before_the_request_is_whole_ends_the_connection(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(HEAD % b"Content-Length: 100" + b"abc")
    scene.send(scene.connection, HELLO)
    assert b"Connection: close\r\n" in client.received
    assert client.received.endswith(b"hello")
    assert (client.saw, scene.connection.saw, scene.ends) == ("fin", "reset", ["answered 200"])
    # What the client was sending is read, so that no reset takes the answer away.
    scene.send(client, b"d" * 50)
    assert client.saw == "fin"
    scene.advance(10.0)
    scene.send(client, b"d")
    assert client.saw == "reset"


def test_a_response_may_begin_while_the_request_goes_on(make_scene: MakeScene) -> None:
    scene = make_scene()
    client = scene.connect(HEAD % b"Content-Length: 6" + b"abc")
    scene.send(scene.connection, CHUNKED_ANSWER + b"3\r\nabc\r\n")
    scene.send(client, b"def")
    scene.send(scene.connection, b"3\r\ndef\r\n0\r\n\r\n")
    assert scene.connection.received.endswith(b"abcdef")
    assert (client.saw, scene.ends) == ("fin", ["answered 200"])


def test_bytes_sent_ahead_are_bounded(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 4_000, "receive_buffer": 4_000})
    client = scene.connect(GET)
    client.send(GET * 10_000)
    scene.run()
    assert scene.kept < 200_000
    assert client.unsent > 100_000
    client.reset()
    scene.run()


def test_many_requests_sent_ahead_that_are_answered_here(make_scene: MakeScene) -> None:
    scene = make_scene(routes=lambda pool: [(only_for(), GONE)])
    client = scene.connect(GET * 1000)
    assert client.received.count(b"HTTP/1.1 410 Gone\r\n") == 1000
    assert client.saw == "open"


def test_bytes_sent_ahead_are_bounded_where_the_client_does_not_read_its_answers(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(
        routes=lambda pool: [(only_for(), GONE)], network={"send_buffer": 4_000, "receive_buffer": 4_000}
    )
    client = scene.connect()
    client.stop_reading()
    client.send(GET * 10_000)
    scene.run()
    assert scene.kept < 300_000
    assert client.unsent > 100_000
    client.start_reading()
    scene.run()
    assert client.received.count(b"HTTP/1.1 410 Gone\r\n") == 10_000


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_finishes_within_its_body_does_not_take_a_part_of_a_response_for_whole(
    make_scene: MakeScene, version: bytes
) -> None:
    scene = make_scene()
    client = scene.connect((HEAD % b"Content-Length: 10").replace(b"1.1", version) + b"ab")
    scene.send(scene.connection, b"HTTP/1.0 200 OK\r\n\r\nabc")
    client.finish()
    scene.run()
    scene.advance(1.0)
    assert (client.saw, scene.connection.saw, scene.ends) == ("reset", "reset", ["client_closed 200"])


@pytest.mark.parametrize("request_", [GET, HEAD % b"Content-Length: 10"])
def test_a_client_that_reads_slowly_gets_all_of_its_last_response(
    make_scene: MakeScene, request_: bytes
) -> None:
    scene = make_scene(network={"send_buffer": 30_000, "receive_buffer": 4_000})
    client = scene.connect(request_.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n")
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000)
    for _ in range(30):
        scene.advance(3.0)
        client.start_reading()
        scene.network.step()
        client.stop_reading()
    assert body_of(client.received) == b"a" * 60_000


def test_a_client_that_fetches_nothing_of_its_last_response_is_reset(make_scene: MakeScene) -> None:
    scene = make_scene(network={"send_buffer": 30_000, "receive_buffer": 4_000})
    client = scene.connect(GET.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"\r\n")
    client.stop_reading()
    scene.send(scene.connection, b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000)
    scene.advance(100.0)
    assert client.saw == "reset"
