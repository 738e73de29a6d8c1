"""A recipient of HTTP/1.1 without a connection: what it takes from bytes, whatever pieces they come in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from support.http_corpus import LIMITS
from tcpbalance.errors import Fault
from tcpbalance.wire.http.chunks import ChunkWalker
from tcpbalance.wire.http.errors import BadMessage
from tcpbalance.wire.http.fields import expects_continue
from tcpbalance.wire.http.framing import Body, Framing, request_framing, response_framing
from tcpbalance.wire.http.head_reader import RequestReader, ResponseReader
from tcpbalance.wire.http.target import read_target

Verdict = tuple[int, str] | None


class Receiver:
    """Takes messages out of bytes.

    :ivar messages: of each the target or status, and the body.
    :ivar verdict: status and cause, once a message is refused.
    :ivar message: what is wrong with it.
    :ivar framing: of the last message.
    """

    def __init__(self, response_to: bytes | None = None) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.verdict: Verdict = None
        self.message = ""
        self.framing: Framing | None = None
        self._response_to = response_to
        self._requests, self._responses = RequestReader(LIMITS), ResponseReader(LIMITS)
        self._data = bytearray()
        self._name = self._body = b""
        self._left = 0
        self._walker: ChunkWalker | None = None

    def feed(self, pieces: Iterable[bytes]) -> Receiver:
        try:
            for piece in pieces:
                self._data += piece
                while self._take():
                    pass
        except BadMessage as error:
            self.message = str(error)
            self.verdict = error.status, error.cause.value
        return self

    def _take(self) -> bool:
        """Take a step; give whether another may follow."""
        if self._walker is not None:
            return self._take_chunks(self._walker)
        if self._left:
            return self._take_body()
        return self._take_head()

    def _take_head(self) -> bool:
        if self._response_to is None:
            request = self._requests.read(self._data)
            if request is None:
                return False
            self._name, self.framing = read_target(request).upstream, request_framing(request)
            expects_continue(request)
            size = request.size
        else:
            response = self._responses.read(self._data)
            if response is None:
                return False
            self._name, self.framing = b"%d" % response.status, response_framing(response, self._response_to)
            size = response.size
        del self._data[:size]
        self._body = b""
        self._left = (self.framing.length or 0) if self.framing.body is Body.LENGTH else 0
        if self.framing.body is Body.CHUNKED:
            self._walker = ChunkWalker(Fault.CLIENT if self._response_to is None else Fault.BACKEND)
        elif not self._left:
            self._end()
        return True

    def _take_body(self) -> bool:
        taken = self._data[: self._left]
        del self._data[: self._left]
        self._body += taken
        self._left -= len(taken)
        if not self._left:
            self._end()
        return bool(taken)

    def _take_chunks(self, walker: ChunkWalker) -> bool:
        spans = walker.feed(self._data)
        self._body += b"".join(self._data[start:end] for start, end in spans)
        del self._data[: walker.consumed]
        if walker.done:
            self._walker = None
            self._end()
        return walker.done

    def _end(self) -> None:
        self.messages.append((self._name, self._body))


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Give the data whole, byte by byte, and cut once at each place; at some places where it is long."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    step = len(data) // 500 + 1
    for at in (*range(0, len(data), step), *range(max(0, len(data) - 50), len(data))):
        yield [data[:at], data[at:]]
