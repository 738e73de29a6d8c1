"""The admin side's HTTP/1.1: Twisted's parser, with a bound on everything that a client could make long."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from zope.interface import implementer

from tcpbalance.config.messages import value_text
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest, BeginStream
from tcpbalance.control.in_pieces import in_pieces
from tcpbalance.control.stream_writer import StreamWriter
from tcpbalance.event import OneTimeEvent
from tcpbalance.net.addresses import address_text

MAX_CONNECTIONS = 100
"""Connections to the admin side; one more takes the place of the oldest whose request is not whole."""

MAX_REQUEST_BODY = 1024 * 1024
"""Bytes of a request's body."""

MAX_PARAMETERS = 50
"""In a query."""

ASKED_WITHIN = 10.0
"""Seconds from accepting a connection until its request is whole."""

ANSWER_WITHIN = 60.0
"""Seconds from then until the answer has gone out."""

MAX_STREAMS = 64
"""Connections that may have a stream, which has no deadline."""

ENDS_WITHIN = 1.0
"""Seconds that connections may take to their end when the balancer ends, and a stream when it is to end."""

LEAVES_WITHIN = 2.0
"""Seconds that the client of a request that is refused before it is whole has to end the connection: were it
closed while more is coming, the system would reset it, and the answer would be lost that is not read yet."""

MAX_UNREAD_BODY = 8 * 1024 * 1024
"""Bytes that are read of such a request meanwhile, and thrown away."""

BYTES_AT_ONCE = 32 * 1024
"""Of an answer, that are written together: a piece of it is much less, and each write takes a system call."""

FIXED_HEADERS = {
    "connection": "close",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
"""Of each answer, unless it has others of these names."""

CheckMethod = Callable[[str, str], object]
"""Raises ApiError where a path does not have a method, whatever else there is to say of a request."""

CheckHead = Callable[[ApiRequest], object]
"""Raises ApiError where a request may not be served, by its head alone."""

OnRefused = Callable[[str, str, str, ApiError], object]
"""Called with the address of a client, method and path of its request, and why that is refused."""

Serve = Callable[[ApiRequest], Deferred[ApiAnswer]]
"""Serves a request; the answer may fail with ApiError, and with nothing else."""


class AdminRequest(Request):
    """One request, while it comes in; each calls its connection when it is whole or cannot be."""

    channel: AdminConnection
    _body: BytesIO

    def gotLength(self, length: int | None) -> None:
        """Twisted's call: the head is whole.

        :param length: of the body in bytes; None where that is not known before.
        """
        self.content = self._body = BytesIO()
        if length is not None and length > MAX_REQUEST_BODY:
            self._refuse_body()
        elif length != 0:
            # What may not be served is refused before a body is kept.
            self.method, self.uri = self.channel._command, self.channel._path
            self.channel.check_head(self)

    def handleContentChunk(self, data: bytes) -> None:
        """Twisted's call: a part of the body; what follows on one that was refused is thrown away."""
        if self._body.closed:
            return
        self._body.write(data)
        if len(self._body.getbuffer()) > MAX_REQUEST_BODY:
            self._refuse_body()

    def _refuse_body(self) -> None:
        too_long = ApiError(413, "body_too_long", f"a body may have at most {MAX_REQUEST_BODY} bytes")
        self.channel.refuse(self, too_long)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted's call: it is whole. Other than the original, this parses no forms."""
        self.method, self.uri, self.clientproto = command, path, version
        self.channel.serve(self)

    def facts(self) -> ApiRequest:
        """Give what is asked.

        :raises ApiError: the path does not have the method, or the query makes no sense.
        """
        path, _, query = self.uri.decode("latin-1").partition("?")
        self.channel.factory.check_method(self.method.decode("latin-1"), path)
        try:
            pairs = parse_qsl(
                query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=MAX_PARAMETERS
            )
        except ValueError as error:
            raise ApiError(
                400, "bad_query", f"the query must be NAME=VALUE pairs, at most {MAX_PARAMETERS}"
            ) from error
        given = [name for name, _ in pairs]
        if twice := [name for name in dict(pairs) if given.count(name) > 1]:
            raise ApiError(400, "bad_query", f"{value_text(twice[0])} stands twice in the query")
        headers = {
            name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
            for name, values in self.requestHeaders.getAllRawHeaders()
        }
        return ApiRequest(
            method=self.method.decode("latin-1"),
            path=path,
            query=dict(pairs),
            headers=headers,
            body=self._body.getvalue(),
            peer=address_text(self.client),
        )


class AdminConnection(HTTPChannel):
    """A connection, which has one request and its answer, so that all of it is bounded together."""

    requestFactory = AdminRequest
    transport: Any
    maxHeaders = 100
    timeOut = None

    _deadline: IDelayedCall | None = None
    _stream: StreamWriter | None = None
    is_served = False
    _is_refused = False
    _discarded = 0
    _is_answered = False
    _is_lost = False
    _command = b""
    _path = b""

    def connectionMade(self) -> None:
        """Twisted's call: a client is there."""
        self.callLater = self.factory.reactor.callLater  # type: ignore[method-assign]  # see TimeoutMixin
        self.ended: OneTimeEvent[None] = OneTimeEvent()
        super().connectionMade()
        self._have_it_end_within(ASKED_WITHIN)

    def dataReceived(self, data: bytes) -> None:
        """Twisted's call: bytes have come; what follows on a request that was refused is thrown away."""
        if not self._is_refused:
            super().dataReceived(data)
            return
        self._discarded += len(data)
        if self._discarded > MAX_UNREAD_BODY:
            self.transport.pauseProducing()

    def rawDataReceived(self, data: bytes) -> None:
        """Twisted's call: a part of a body has come, perhaps with the head that was refused."""
        if not self._is_refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Twisted's call: a body has come whole, perhaps one that was refused."""
        if not self._is_refused:
            super().allContentReceived()

    def loseConnection(self) -> None:
        """Twisted's call: the answer is written; a client that still sends has some time to read it."""
        if not self._is_refused:
            super().loseConnection()
            return
        self.transport.loseWriteConnection()
        self._have_it_end_within(LEAVES_WITHIN)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Twisted's call: no further request is to come."""
        return False

    def check_head(self, request: AdminRequest) -> None:
        """Refuse a request whose body is still to come, where its head is reason enough."""
        try:
            head = request.facts()
            _check_takes_body(head)
            self.factory.check_head(head)
        except ApiError as error:
            self.refuse(request, error)

    def serve(self, request: AdminRequest) -> None:
        """Have a request that is whole served."""
        if self._is_refused:
            return
        self.is_served = True
        self._have_it_end_within(ANSWER_WITHIN)
        try:
            answer = self.factory.serve(request.facts())
        except ApiError as error:
            self._answer(self._refusal(error, request), request)
            return
        answer.addErrback(self._as_answer, request).addCallback(self._answer, request)

    def refuse(self, request: AdminRequest, error: ApiError) -> None:
        """Answer a request that is not whole, and read no more of it."""
        if not self._is_refused:
            self._is_refused = True
            self._have_it_end_within(ANSWER_WITHIN)
            answer = self._refusal(error, request)
            request.method, request.clientproto = b"POST", b"HTTP/1.1"
            request.requestHeaders.removeHeader(b"expect")
            self._answer(answer, request)

    def _as_answer(self, failure: Failure, request: AdminRequest) -> ApiAnswer:
        failure.trap(ApiError)
        assert isinstance(failure.value, ApiError)
        return self._refusal(failure.value, request)

    def _refusal(self, error: ApiError, request: AdminRequest) -> ApiAnswer:
        # Twisted gives the request its line when it is whole, and forgets it here.
        method, uri = (self._command, self._path) if self._command else (request.method, request.uri)
        path = uri.decode("latin-1").partition("?")[0]
        self.factory.on_refused(address_text(request.client), method.decode("latin-1"), path, error)
        return answer_to_refused(error)

    def _answer(self, answer: ApiAnswer, request: AdminRequest) -> None:
        if self._is_lost or self._is_answered:
            return
        if answer.stream is not None and len(self.factory.streaming) >= MAX_STREAMS:
            too_many = ApiError(503, "too_many_streams", f"there are {MAX_STREAMS} streams already: end one")
            answer = answer_to_refused(too_many)
        elif request.method == b"HEAD":
            answer = attrs.evolve(answer, stream=None)
        self._is_answered = True
        if answer.stream is None:
            write_head(request, answer)
            AnswerWriter(self.factory.reactor, request, answer.body, self.abort).begin()
        else:
            self._begin_stream(answer.stream, answer, request)

    def _begin_stream(self, stream: BeginStream, answer: ApiAnswer, request: AdminRequest) -> None:
        self._cancel_deadline()
        self.factory.streaming.add(self)
        write_head(request, answer)
        self._stream = StreamWriter(request, self.abort)
        self._stream.begin(stream)

    def end(self) -> None:
        """End the connection because the balancer ends: a stream, and an answer under way, as a whole one; a
        request that has none yet gets the reason."""
        if self._stream is not None:
            self.end_stream()
        elif self._is_answered:
            self._have_it_end_within(ENDS_WITHIN)
        elif not self.requests:
            self.abort()
        else:
            self._end_request(self.requests[0])

    def _end_request(self, request: AdminRequest) -> None:
        error = ApiError(503, "shutting_down", "the balancer is shutting down")
        if self.is_served:
            self._answer(answer_to_refused(error), request)
        else:
            self.refuse(request, error)
        self._have_it_end_within(ENDS_WITHIN)

    def end_stream(self) -> None:
        """End a stream; nothing where there is none."""
        if self._stream is not None:
            self._have_it_end_within(ENDS_WITHIN)
            self._stream.finish()

    def _have_it_end_within(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.factory.reactor.callLater(seconds, self.abort)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def abort(self) -> None:
        """End the connection; an answer under way is cut short."""
        self._cancel_deadline()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted's call: it has ended."""
        self._is_lost = True
        self._cancel_deadline()
        self.factory.connections.pop(self, None)
        self.factory.streaming.discard(self)
        super().connectionLost(reason)
        self.ended.settle(None)


@implementer(IPushProducer)
class AnswerWriter:
    """Writes an answer piece by piece, as the client takes it, and lets others be served in between.

    :param reactor: IReactorTime.
    :param request: that is answered.
    :param pieces: of the body.
    :param abort: ends the connection.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, request: Request, pieces: Iterable[bytes], abort: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._abort = abort
        self._request = request
        self._pieces: Iterator[bytes] = iter(pieces)
        self._gathered = bytearray()
        self._is_paused = False
        self._is_writing = False

    def begin(self) -> None:
        """Write what follows the head."""
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self._go_on()

    def _go_on(self) -> None:
        self._is_writing = True
        written = in_pieces(self._reactor, self._write())
        written.addErrback(self._has_failed)

    def _write(self) -> Generator[None, None, None]:
        """Write until the client does not keep up, or all is written."""
        for piece in self._pieces:
            self._gathered += piece
            if len(self._gathered) >= BYTES_AT_ONCE:
                self._write_gathered()
            yield
            if self._is_paused:
                break
        self._is_writing = False
        if not self._is_paused:
            self._write_gathered()
            self._request.unregisterProducer()
            self._request.finish()

    def _write_gathered(self) -> None:
        gathered, self._gathered = bytes(self._gathered), bytearray()
        self._request.write(gathered)

    def _has_failed(self, failure: Failure) -> None:
        """Cut the answer short by a reset: a client of HTTP/1.0 would take an orderly end for that of it."""
        if failure.check(ApiError) is None:
            self._log.failure("an answer of the admin side could not be made", failure)
        self.stopProducing()
        self._abort()

    def pauseProducing(self) -> None:
        """Twisted's call: the client does not keep up."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Twisted's call: there is space for more."""
        self._is_paused = False
        if not self._is_writing:
            self._go_on()

    def stopProducing(self) -> None:
        """Twisted's call: the client is gone."""
        self._is_paused = True
        self._pieces = iter(())


class AdminFactory(ServerFactory):
    """Accepts connections to the admin side.

    :param reactor: IReactorTime.
    :param check_method: see above.
    :param check_head: likewise.
    :param serve: likewise.
    :param on_refused: likewise.
    :ivar connections: those that are open, the oldest first.
    :ivar streaming: those of them that have a stream.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        check_method: CheckMethod,
        check_head: CheckHead,
        serve: Serve,
        on_refused: OnRefused = lambda *_: None,
    ) -> None:
        self.reactor = reactor
        self.check_method = check_method
        self.check_head = check_head
        self.serve = serve
        self.on_refused = on_refused
        self.connections: dict[AdminConnection, None] = {}
        self.streaming: set[AdminConnection] = set()

    def buildProtocol(self, addr: IAddress | None) -> AdminConnection | None:
        """Twisted's call: a client has come."""
        if len(self.connections) >= MAX_CONNECTIONS and not self._end_one_that_asks():
            return None
        connection = AdminConnection()
        connection.factory = self
        self.connections[connection] = None
        return connection

    def _end_one_that_asks(self) -> bool:
        """End the oldest connection whose request is not whole; say whether there is one."""
        oldest = next((it for it in self.connections if not it.is_served), None)
        if oldest is None:
            return False
        del self.connections[oldest]
        oldest.abort()
        return True

    def end_all(self) -> Deferred[None]:
        """End all connections, those with a request or an answer under way within `ENDS_WITHIN`.

        :returns: fires when the last one has ended.
        """
        connections = list(self.connections)
        ended = DeferredList([connection.ended.wait() for connection in connections])
        for connection in connections:
            connection.end()
        return ended.addCallback(lambda _: None)

    def end_streams(self) -> None:
        """End all streams; a client may ask for another one."""
        for connection in list(self.streaming):
            connection.end_stream()

    def log(self, request: Request) -> None:
        """Twisted's call: a request was answered; what it has changed was logged."""


def write_head(request: Request, answer: ApiAnswer) -> None:
    """Have the head of an answer written, before the first piece of its body."""
    request.setResponseCode(answer.status)
    headers = {"content-type": answer.content_type, **FIXED_HEADERS, **answer.headers}
    for name, value in headers.items():
        request.setHeader(name.encode(), value.encode("latin-1", "replace"))


def answer_to_refused(error: ApiError) -> ApiAnswer:
    """Say why a request is refused."""
    return ApiAnswer.of(error.content, error.status, error.headers)


def _check_takes_body(head: ApiRequest) -> None:
    if not head.changes:
        raise ApiError(400, "unexpected_body", f"{head.method[:20]} takes no body")
