"""The admin side's HTTP: what is bounded, and how answers go out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tcpbalance.control.admin_http import (
    ANSWER_WITHIN,
    ASKED_WITHIN,
    ENDS_WITHIN,
    LEAVES_WITHIN,
    MAX_CONNECTIONS,
    MAX_REQUEST_BODY,
    MAX_STREAMS,
    MAX_UNREAD_BODY,
    AdminConnection,
    AdminFactory,
)
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest, StreamSink
from tcpbalance.control.in_pieces import MAX_WORK_IN_A_TURN
from tcpbalance.control.stream_writer import MAX_UNREAD


class ClientTransport(StringTransport):
    """A client's connection, in memory, which may be aborted."""

    aborted = False
    write_is_closed = False

    def loseWriteConnection(self) -> None:
        self.write_is_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


class Scene:
    """A factory, and what its handler was asked."""

    def __init__(self, answer: Callable[[ApiRequest], Deferred[ApiAnswer]]) -> None:
        self.clock = Clock()
        self.asked: list[ApiRequest] = []
        self.answer = answer
        self.checked: list[ApiRequest] = []
        self.refusal: ApiError | None = None
        self.factory = AdminFactory(self.clock, self.check_method, self.check_head, self.serve)

    def check_method(self, method: str, path: str) -> None:
        if method == "TRACE":
            raise ApiError(405, "method_not_allowed", f"{path} takes GET", {"allow": "GET"})

    def check_head(self, request: ApiRequest) -> None:
        self.checked.append(request)
        if self.refusal is not None:
            raise self.refusal

    def serve(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        self.asked.append(request)
        return self.answer(request)

    def connect(self) -> tuple[AdminConnection, ClientTransport]:
        peer = IPv4Address("TCP", "127.0.0.1", 50000)
        connection: Any = self.factory.buildProtocol(peer)
        transport = ClientTransport(peerAddress=peer)
        connection.makeConnection(transport)
        return connection, transport

    def send(self, data: bytes) -> ClientTransport:
        connection, transport = self.connect()
        connection.dataReceived(data)
        self.clock.pump([0] * 10)
        return transport

    def have_one_turn(self) -> None:
        """Do what is due, which is one thing, and not what follows from it."""
        due: list[Any] = [it for it in self.clock.getDelayedCalls() if it.getTime() <= self.clock.seconds()]
        (call,) = due
        work, arguments = call.func, call.args
        call.cancel()
        work(*arguments)


def hello(request: ApiRequest) -> Deferred[ApiAnswer]:
    return succeed(ApiAnswer.of({"hello": request.path}))


@pytest.fixture
def scene() -> Scene:
    return Scene(hello)


def status_of(transport: ClientTransport) -> int:
    return int(transport.value().split(b" ", 2)[1])


def body_of(transport: ClientTransport) -> bytes:
    return bytes(transport.value().partition(b"\r\n\r\n")[2])


def test_a_request_is_served_and_the_connection_closed(scene: Scene) -> None:
    transport = scene.send(b"GET /a?b=c%20d&e= HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
    assert status_of(transport) == 200
    assert json.loads(body_of(transport)) == {"hello": "/a"}
    assert b"\r\nConnection: close\r\n" in transport.value()
    assert transport.disconnecting
    assert not transport.aborted
    (request,) = scene.asked
    assert (request.method, request.path, request.query) == ("GET", "/a", {"b": "c d", "e": ""})
    assert (request.headers["host"], request.headers["x-a"]) == ("localhost", "1, 2")
    assert request.peer == "127.0.0.1:50000"


def test_a_body_comes_whole(scene: Scene) -> None:
    scene.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
    scene.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    assert [request.body for request in scene.asked] == [b"body", b"body"]


@pytest.mark.parametrize(
    "rest", [b"?=&&& HTTP/1.1\r\nHost: a\r\n\r\n", b" HTTP/1.1\r\nContent-Length: 4\r\n\r\n"]
)
def test_a_method_that_a_path_does_not_have_is_refused_before_all_else(scene: Scene, rest: bytes) -> None:
    scene.refusal = ApiError(415, "not_json", "a change needs a content type")
    transport = scene.send(b"TRACE /a" + rest)
    assert status_of(transport) == 405
    assert b"\r\nAllow: GET\r\n" in transport.value()
    assert (scene.checked, scene.asked) == ([], [])


def test_an_error_is_answered_with_its_reason(scene: Scene) -> None:
    scene.answer = lambda _: fail(ApiError(404, "no_such_pool", "no pool is named x", {"x-more": "1"}))
    transport = scene.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(transport) == 404
    assert b"\r\nX-More: 1\r\n" in transport.value()
    assert json.loads(body_of(transport)) == {
        "error": {"code": "no_such_pool", "message": "no pool is named x"}
    }


def test_head_has_the_head_alone(scene: Scene) -> None:
    transport = scene.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Content-Length: 15\r\n" in transport.value()
    assert body_of(transport) == b""


@pytest.mark.parametrize(
    "head",
    [
        f"Content-Length: {MAX_REQUEST_BODY + 1}\r\n\r\n".encode(),
        b"Content-Length: 1073741824\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n100000\r\n" + b"x" * MAX_REQUEST_BODY + b"\r\n1\r\nx\r\n",
    ],
)
def test_a_body_that_is_too_long_is_refused_before_it_is_whole(scene: Scene, head: bytes) -> None:
    connection, transport = scene.connect()
    connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\n" + head)
    scene.clock.pump([0] * 10)
    assert status_of(transport) == 413
    assert json.loads(body_of(transport))["error"]["code"] == "body_too_long"
    assert transport.write_is_closed
    answered = transport.value()
    connection.dataReceived(b"x" * 1000)
    assert transport.value() == answered
    assert scene.asked == []


def test_the_client_of_a_request_that_is_refused_has_some_time_to_leave(scene: Scene) -> None:
    connection, transport = scene.connect()
    connection.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
    scene.clock.pump([0] * 10)
    assert transport.write_is_closed
    connection.dataReceived(b"x" * MAX_UNREAD_BODY)
    assert transport.producerState == "producing"
    connection.dataReceived(b"x")
    assert transport.producerState == "paused"
    scene.clock.advance(LEAVES_WITHIN - 0.1)
    assert not transport.disconnecting
    scene.clock.advance(0.2)
    assert transport.aborted


def test_a_query_that_makes_no_sense_is_refused(scene: Scene) -> None:
    assert status_of(scene.send(b"GET /?a HTTP/1.1\r\nHost: a\r\n\r\n")) == 400
    many = b"&".join(b"a%d=1" % number for number in range(51))
    assert status_of(scene.send(b"GET /?" + many + b" HTTP/1.1\r\nHost: a\r\n\r\n")) == 400
    twice = scene.send(b"GET /?a=1&b=2&a=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (status_of(twice), b'\\"a\\" stands twice in the query' in twice.value()) == (400, True)
    assert not scene.asked


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"]
)
def test_what_is_no_http_is_refused(scene: Scene, data: bytes) -> None:
    assert status_of(scene.send(data)) == 400
    assert scene.asked == []


def test_a_head_that_is_too_long_is_refused(scene: Scene) -> None:
    line = b"X-A: " + b"a" * 8000 + b"\r\n"
    assert status_of(scene.send(b"GET / HTTP/1.1\r\n" + line * 3 + b"\r\n")) == 400
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    assert status_of(scene.send(b"GET / HTTP/1.1\r\n" + many + b"\r\n")) == 400


def test_a_client_that_sends_byte_after_byte_is_ended(scene: Scene) -> None:
    connection, transport = scene.connect()
    for _ in range(int(ASKED_WITHIN) - 1):
        connection.dataReceived(b"G")
        scene.clock.advance(1)
    assert not transport.aborted
    scene.clock.advance(1)
    assert transport.aborted


def test_an_answer_that_does_not_come_ends_the_connection(scene: Scene) -> None:
    scene.answer = lambda _: Deferred()
    connection, transport = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    scene.clock.advance(ANSWER_WITHIN - 1)
    assert not transport.aborted
    scene.clock.advance(1)
    assert transport.aborted


def test_a_client_that_is_gone_gets_no_answer(scene: Scene) -> None:
    waiting: Deferred[ApiAnswer] = Deferred()
    scene.answer = lambda _: waiting
    connection, transport = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.connectionLost(Failure(ConnectionDone()))
    waiting.callback(ApiAnswer.of({}))
    assert transport.value() == b""
    assert not scene.clock.getDelayedCalls()


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_what_may_not_be_served_is_refused_before_its_body_comes(scene: Scene, length: bytes) -> None:
    scene.refusal = ApiError(401, "token_missing", "a token is needed")
    connection, transport = scene.connect()
    connection.dataReceived(
        b"PUT /a?b=c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + length + b"\r\n\r\n"
    )
    scene.clock.pump([0] * 10)
    assert (status_of(transport), transport.write_is_closed) == (401, True)
    assert b"100 Continue" not in transport.value()
    connection.dataReceived(b"x" * 1000)
    (head,) = scene.checked
    assert (head.method, head.path, head.query, head.headers["host"]) == ("PUT", "/a", {"b": "c"}, "a")
    assert scene.asked == []


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 4\r\n\r\nbody",
        b"Content-Length: 4\r\n\r\nbo",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
    ],
)
def test_a_body_that_comes_with_the_head_that_is_refused_is_no_mistake(scene: Scene, sent: bytes) -> None:
    scene.refusal = ApiError(401, "token_missing", "a token is needed")
    transport = scene.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + sent)
    assert (status_of(transport), transport.write_is_closed) == (401, True)
    assert scene.asked == []


@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"])
def test_what_comes_with_the_chunk_that_is_too_much_is_no_mistake(scene: Scene, end: bytes) -> None:
    chunk = b"80000\r\n" + b"x" * 0x80000 + b"\r\n"
    transport = scene.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4 + end
    )
    assert (status_of(transport), transport.write_is_closed) == (413, True)
    assert scene.asked == []


def test_a_request_to_look_has_no_body(scene: Scene) -> None:
    transport = scene.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    assert status_of(transport) == 400
    assert json.loads(body_of(transport))["error"]["code"] == "unexpected_body"


def test_a_client_takes_the_place_of_the_oldest_that_has_not_asked(scene: Scene) -> None:
    scene.answer = lambda _: Deferred()
    connections = [scene.connect() for _ in range(MAX_CONNECTIONS)]
    connections[0][0].dataReceived(ASK)
    connections[1][0].dataReceived(b"POST / HTTP/1.1\r\n")
    _, new = scene.connect()
    aborted = [number for number, (_, transport) in enumerate(connections) if transport.aborted]
    assert (aborted, new.aborted, len(scene.factory.connections)) == ([1], False, MAX_CONNECTIONS)


def test_one_client_more_than_can_be_served_is_closed(scene: Scene) -> None:
    scene.answer = lambda _: Deferred()
    connections = [scene.connect()[0] for _ in range(MAX_CONNECTIONS)]
    for connection in connections:
        connection.dataReceived(ASK)
    assert scene.factory.buildProtocol(None) is None
    connections[0].connectionLost(Failure(ConnectionDone()))
    assert scene.factory.buildProtocol(None) is not None


class SlowPieces:
    """The body of an answer, each piece of which is the work of a turn.

    :ivar made: the numbers of those that are made.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 5) -> None:
        self.now = 0.0
        self.made: list[int] = []
        self._count = count
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.made.append(number)
            self.now += MAX_WORK_IN_A_TURN
            yield b"%d" % number


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> SlowPieces:
    return SlowPieces(monkeypatch)


def test_a_long_answer_goes_out_as_the_client_takes_it(scene: Scene, pieces: SlowPieces) -> None:
    made = pieces.made
    scene.answer = lambda _: succeed(ApiAnswer(body=pieces, headers={"content-length": "5"}))
    connection, transport = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert made == [0]
    producer: Any = transport.producer
    producer.pauseProducing()
    scene.clock.pump([0] * 10)
    assert made == [0]
    producer.resumeProducing()
    scene.clock.pump([0] * 10)
    assert body_of(transport) == b"01234"
    assert transport.disconnecting


def test_all_answers_together_have_the_work_of_a_turn(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = SlowPieces(monkeypatch)
    scene.answer = lambda _: succeed(ApiAnswer(body=pieces))
    transports = []
    for _ in range(3):
        connection, transport = scene.connect()
        connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        transports.append(transport)
    assert pieces.made == [0]
    for turn in range(2, 16):
        scene.have_one_turn()
        assert len(pieces.made) == turn
    scene.clock.pump([0] * 10)
    assert [body_of(transport)[-5:] for transport in transports] == 3 * [b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("reason", "lines"),
    [(RuntimeError("broken"), ["broken"]), (ApiError(503, "read_too_slowly", "read too slowly"), [])],
)
def test_an_answer_that_cannot_be_made_is_cut_short(
    scene: Scene, reason: Exception, lines: list[str]
) -> None:
    def body() -> Iterator[bytes]:
        yield b"a"
        raise reason

    scene.answer = lambda _: succeed(ApiAnswer(body=body()))
    with capturedLogs() as logged:
        transport = scene.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [str(event["log_failure"].value) for event in logged] == lines
    # A client of HTTP/1.0 knows by that alone that it has not got the whole.
    assert transport.aborted
    assert not body_of(transport).endswith(b"0\r\n\r\n")


def test_of_a_client_that_goes_away_in_the_middle_no_more_is_made(scene: Scene, pieces: SlowPieces) -> None:
    made = pieces.made
    scene.answer = lambda _: succeed(ApiAnswer(body=pieces))
    connection, _ = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.connectionLost(Failure(ConnectionDone()))
    scene.clock.pump([0] * 10)
    assert made == [0]
    assert not scene.clock.getDelayedCalls()


class Streams:
    """Answers each request with a stream.

    :ivar sinks: of those that are open.
    """

    def __init__(self, scene: Scene) -> None:
        self.sinks: list[StreamSink] = []
        scene.answer = lambda _: succeed(ApiAnswer(content_type="text/event-stream", stream=self._begin))

    def _begin(self, sink: StreamSink) -> Callable[[], None]:
        self.sinks.append(sink)
        sink.write(b"begins")
        return lambda: self.sinks.remove(sink)


ASK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_stream_has_no_deadline_and_goes_out_as_it_comes(scene: Scene) -> None:
    streams = Streams(scene)
    transport = scene.send(ASK)
    assert status_of(transport) == 200
    assert b"\r\nContent-Type: text/event-stream\r\n" in transport.value()
    assert not scene.clock.getDelayedCalls()
    streams.sinks[0].write(b"goes on")
    assert body_of(transport) == b"6\r\nbegins\r\n7\r\ngoes on\r\n"


def test_a_stream_ends_with_its_client(scene: Scene) -> None:
    streams = Streams(scene)
    connection, transport = scene.connect()
    connection.dataReceived(ASK)
    (sink,) = streams.sinks
    connection.connectionLost(Failure(ConnectionDone()))
    assert streams.sinks == []
    sink.write(b"late")
    assert b"late" not in transport.value()


def test_a_stream_that_is_not_read_is_dropped(scene: Scene) -> None:
    streams = Streams(scene)
    transport = scene.send(ASK)
    producer: Any = transport.producer
    (sink,) = streams.sinks
    piece = b"x" * (MAX_UNREAD // 4)
    for _ in range(2):
        producer.pauseProducing()
        for _ in range(4):
            sink.write(piece)
        assert not transport.aborted
        producer.resumeProducing()
    for _ in range(5):
        # A transport says so again with each further write.
        producer.pauseProducing()
        sink.write(piece)
    assert transport.aborted


def test_there_is_a_bound_on_streams(scene: Scene) -> None:
    streams = Streams(scene)
    connections = [scene.connect()[0] for _ in range(MAX_STREAMS)]
    for connection in connections:
        connection.dataReceived(ASK)
    transport = scene.send(ASK)
    assert status_of(transport) == 503
    assert json.loads(body_of(transport))["error"]["code"] == "too_many_streams"
    connections[0].connectionLost(Failure(ConnectionDone()))
    assert status_of(scene.send(ASK)) == 200
    assert len(streams.sinks) == MAX_STREAMS


def test_streams_end_as_a_whole_when_the_balancer_does(scene: Scene) -> None:
    streams = Streams(scene)
    stream, (_, other) = scene.send(ASK), scene.connect()
    scene.factory.end_all()
    assert streams.sinks == []
    assert body_of(stream).endswith(b"\r\n0\r\n\r\n")
    assert (stream.disconnecting, stream.aborted, other.aborted) == (True, False, True)
    scene.clock.advance(ENDS_WITHIN)
    assert stream.aborted


def lose(connection: AdminConnection) -> None:
    connection.connectionLost(Failure(ConnectionDone()))


def test_requests_under_way_are_answered_when_the_balancer_ends(scene: Scene) -> None:
    answer: Deferred[ApiAnswer] = Deferred()
    scene.answer = lambda _: answer
    asked, transport = scene.connect()
    asked.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    ended = scene.factory.end_all()
    scene.clock.pump([0] * 5)
    assert status_of(transport) == 503
    assert json.loads(body_of(transport))["error"]["code"] == "shutting_down"
    assert (transport.disconnecting, transport.aborted) == (True, False)
    written = transport.value()
    answer.callback(ApiAnswer.of({}))
    scene.clock.pump([0] * 5)
    assert transport.value() == written
    has_ended = [ended.called]
    lose(asked)
    assert [*has_ended, ended.called] == [False, True]
    assert not scene.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "begun",
    [b"GET /", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbo"],
)
def test_a_request_that_is_not_whole_gets_what_its_head_allows(scene: Scene, begun: bytes) -> None:
    connection, transport = scene.connect()
    connection.dataReceived(begun)
    scene.factory.end_all()
    scene.clock.pump([0] * 5)
    if b"\r\n" in begun:
        assert status_of(transport) == 503
    else:
        assert (transport.aborted, transport.value()) == (True, b"")


def test_an_answer_under_way_comes_to_its_end(scene: Scene) -> None:
    scene.answer = lambda _: succeed(ApiAnswer(body=[b"a", b"b", b"c"]))
    connection, transport = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    ended = scene.factory.end_all()
    scene.clock.pump([0] * 9)
    assert body_of(transport).endswith(b"c\r\n0\r\n\r\n")
    lose(connection)
    assert ended.called


def test_a_client_that_does_not_take_its_answer_holds_the_end_up_for_a_moment(scene: Scene) -> None:
    connection, transport = scene.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    scene.factory.end_all()
    scene.clock.advance(ENDS_WITHIN)
    assert transport.aborted


def test_the_head_of_a_stream_can_be_had_alone(scene: Scene) -> None:
    streams = Streams(scene)
    transport = scene.send(ASK.replace(b"GET", b"HEAD"))
    assert (status_of(transport), body_of(transport), streams.sinks) == (200, b"", [])
