"""How a body goes on: what of the bytes that came belongs to it, and as what it is passed on.

A body is read by its framing on one side and written by its framing on the other. Chunks are written anew,
one for what came at once, so that nothing passes of how they came; but what is left of a long one can be
announced as a chunk of its own, which the kernel may carry. Where the framing ends with the connection, only
the connection says whether the body is whole: ``ends_with_connection``.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from tcpbalance.errors import Fault
from tcpbalance.wire.http.chunks import ChunkWalker, chunk_head, last_chunk, one_chunk
from tcpbalance.wire.http.framing import Body as BodyEnd
from tcpbalance.wire.http.framing import Framing


class PassedBody(Protocol):
    """A body on its way.

    :ivar ends_with_connection: whether the end of the connection is its end.
    """

    ends_with_connection: bool

    @property
    def size(self) -> int:
        """Bytes of it so far, without framing."""
        ...

    @property
    def whole(self) -> bool:
        """Whether all of it has come."""
        ...

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes that came.

        :returns: what goes on, and what came behind the end of the body; while it is not whole, what is to be
            given again in a later turn.
        :raises BadMessage: what came is no such body.
        """
        ...

    def at_end_of_connection(self) -> bytes:
        """Give what goes on at its end, where the end of the connection is that."""
        ...


class LengthBody:
    """A body of a length that is known, which passes as it is.

    :param length: bytes.
    :ivar left: bytes still to come.
    """

    __slots__ = ("left", "size", "whole")

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self.left = length
        self.size = 0
        self.whole = not length

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See ``PassedBody``."""
        size, left = len(data), self.left
        if size < left:
            self.size += size
            self.left = left - size
            return data, b""
        self.size += left
        self.left = 0
        self.whole = True
        return (data, b"") if size == left else (data[:left], data[left:])

    def passed(self, count: int) -> None:
        """Count bytes that the kernel has moved."""
        self.size += count
        self.left -= count
        self.whole = not self.left

    def announce(self) -> bytes:
        """Give what stands before what is left: nothing."""
        return b""

    def at_end_of_connection(self) -> bytes:
        """See ``PassedBody``."""
        return b""


class ChunkedBody:
    """A body that comes in chunks.

    :param fault: the side that it comes from.
    :param in_chunks: whether it goes on in chunks; else without any framing.
    """

    __slots__ = ("_in_chunks", "_is_announced", "_walker")

    ends_with_connection = False

    def __init__(self, fault: Fault, in_chunks: bool = True) -> None:
        self._walker = ChunkWalker(fault)
        self._in_chunks = in_chunks
        self._is_announced = False

    @property
    def size(self) -> int:
        """See ``PassedBody``."""
        return self._walker.body

    @property
    def whole(self) -> bool:
        """See ``PassedBody``."""
        return self._walker.done

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See ``PassedBody``."""
        walker = self._walker
        if self._is_announced:
            return self._feed_announced(data)
        spans = walker.feed(data)
        if not self._in_chunks:
            passed = b"".join([data[start:end] for start, end in spans])
        else:
            passed = one_chunk(data, spans) if spans else b""
            if walker.done:
                passed += last_chunk(walker.trailers)
        return passed, data[walker.consumed :]

    def _feed_announced(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes, the first of which are what is left of a chunk that was announced."""
        walker = self._walker
        left = walker.left
        if len(data) < left:
            walker.feed(data)
            return data, b""
        walker.feed(data[:left])
        self._is_announced = False
        passed, rest = self.feed(data[left:])
        return b"".join((data[:left], b"\r\n", passed)), rest

    @property
    def left(self) -> int:
        """Bytes still to come of the chunk at hand."""
        return self._walker.left

    def announce(self) -> bytes:
        """Have what is left of the chunk at hand go on as it comes.

        :returns: what stands before it.
        """
        if self._is_announced or not self._in_chunks:
            return b""
        self._is_announced = True
        return chunk_head(self._walker.left)

    def passed(self, count: int) -> None:
        """Count bytes that the kernel has moved."""
        self._walker.passed(count)

    def at_end_of_connection(self) -> bytes:
        """See ``PassedBody``."""
        return b""


class EndlessBody:
    """A body that ends with its connection.

    :param in_chunks: whether it goes on in chunks; else it ends with the other connection, too.
    """

    __slots__ = ("_in_chunks", "size", "whole")

    ends_with_connection = True

    def __init__(self, in_chunks: bool) -> None:
        self._in_chunks = in_chunks
        self.size = 0
        self.whole = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See ``PassedBody``."""
        self.size += len(data)
        if not self._in_chunks or not data:
            # A chunk without bytes would end the body.
            return data, b""
        return one_chunk(data, ((0, len(data)),)), b""

    def at_end_of_connection(self) -> bytes:
        """See ``PassedBody``."""
        self.whole = True
        return last_chunk() if self._in_chunks else b""


RunningBody: TypeAlias = LengthBody | ChunkedBody
"""A body of which it is known how much comes next that is nothing else."""


def request_body(framing: Framing) -> PassedBody | None:
    """Give the body of a request, as a backend gets it; None for none."""
    if framing.body is BodyEnd.LENGTH:
        return LengthBody(framing.length) if framing.length else None
    return ChunkedBody(Fault.CLIENT) if framing.body is BodyEnd.CHUNKED else None


def response_body(framing: Framing, version: bytes) -> PassedBody | None:
    """Give the body of a response, as a client gets it; None for none.

    :param version: of the request.
    """
    if framing.body is BodyEnd.LENGTH:
        return LengthBody(framing.length) if framing.length else None
    if framing.body is BodyEnd.CHUNKED:
        return ChunkedBody(Fault.BACKEND, version != b"1.0")
    return EndlessBody(version != b"1.0") if framing.body is BodyEnd.UNTIL_CLOSE else None
