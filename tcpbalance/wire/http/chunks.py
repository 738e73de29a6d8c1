"""A body in chunks (RFC 9112, section 7.1): walked over as it comes, without a copy of it.

1. A line ends with CR LF, a chunk too. A size is up to 16 hexadecimal digits, with nothing before or behind
   it but an extension, which begins with a semicolon and means nothing to us.
2. Extensions and trailers are bounded, each and together: they come without counting as part of the body.
3. The first wrong byte ends the walk, so the verdict is the same wherever the bytes are cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tcpbalance.errors import Fault
from tcpbalance.wire.http.diagnose import FIELD_STATES, HeadLimits, Walk, found_instead, run_end
from tcpbalance.wire.http.errors import BadMessage, BadRequest, BadResponse, Cause
from tcpbalance.wire.http.framing import MAX_LENGTH
from tcpbalance.wire.http.grammar import FIELD_BYTE

MAX_EXTENSION: Final = 1024
"""Bytes behind the semicolon, of one chunk."""

MAX_EXTENSIONS_IN_BODY: Final = 16 * 1024
"""Bytes of a body's: otherwise each byte of it could come with a KiB that nothing counts."""

MAX_CHUNKS: Final = 1024
"""After which a call ends, twice as many at most: a millisecond. 64 KiB may be ten thousand chunks."""

TRAILER_LIMITS: Final = HeadLimits(8 * 1024, 32)

_is_forbidden_trailer = re.compile(
    rb"connection|content-(?:encoding|length|range|type)|host|http2-settings|keep-alive|proxy-connection|te|trailer"
    rb"|transfer-encoding|upgrade"
    rb"|authorization|cookie|proxy-authorization|set-cookie"
    rb"|expect|forwarded|proxy|via|x-forwarded-.*+|x-real-ip",
    re.IGNORECASE,
).fullmatch
"""Fields that frame or route a message, say what its body is, or whose it is: RFC 9110, section 6.5.1.

Some recipients take them as if they stood in the head, where we would have removed or replaced them. So they
do with underscores for dashes.
"""

_REQUEST_ID: Final = b"x-request-id"
"""A backend may have it as a trailer, a client may not: it would stand beside the one that we send."""

_whole_line = re.compile(rb"([0-9A-Fa-f]{1,15}+)\r\n").match
_next_line = re.compile(rb"\r\n([0-9A-Fa-f]{1,15}+)\r\n").match
_hexadecimal = re.compile(rb"[0-9A-Fa-f]*+")
_extension_bytes = re.compile(FIELD_BYTE + rb"*+")
_trailer_names = re.compile(rb"^([^:\n]++):", re.MULTILINE).findall

_CHUNKS = range(MAX_CHUNKS)

Span = tuple[int, int]
"""Where a part stands: its first byte, and the one behind its last."""


class ChunkWalker:
    """Walks over a body in chunks, in pieces of any size.

    It keeps no bytes but those of the trailers. A walker that has raised is not fed again.

    :ivar body: bytes of the body so far.
    :ivar left: bytes that are still to come of the chunk at hand: those may also go past it, see ``passed``.
    :ivar done: whether the end is reached.
    :ivar consumed: how many bytes of those fed last belong to the body, its framing and its trailers.
    :ivar trailers: the lines of the trailer section, each with CR LF, once the end is reached.
    :ivar steps: how much work it has done.
    """

    __slots__ = (
        "_digits",
        "_extension",
        "_extensions",
        "_fault",
        "_section",
        "_size",
        "_step",
        "_walk",
        "body",
        "consumed",
        "done",
        "left",
        "steps",
        "trailers",
    )

    def __init__(self, fault: Fault = Fault.CLIENT) -> None:
        """Begin.

        :param fault: the side that the body comes from: what is wrong is a ``BadRequest`` or a
            ``BadResponse``.
        """
        self._fault = fault
        self._step = _SIZE
        self._size = self._digits = 0
        self._extension = self._extensions = 0
        self._section = bytearray()
        self._walk: TrailerWalk | None = None
        self.body = self.left = self.consumed = self.steps = 0
        self.done = False
        self.trailers = b""

    def feed(self, data: bytes | bytearray) -> list[Span]:
        """Go on with the bytes that follow those of the calls before, as far as one call goes.

        :returns: the parts of ``data`` that are body. There is more to be fed again where fewer bytes are
            ``consumed``, and it is not ``done``.
        :raises BadMessage: at the first byte that is wrong.
        """
        spans: list[Span] = []
        at, stop = 0, len(data)
        last = self.steps + MAX_CHUNKS
        while at < stop and not self.done and self.steps < last:
            self.steps += 1
            if self.left:
                end = min(stop, at + self.left)
                spans.append((at, end))
                self.passed(end - at)
                at = end if self.left else self._pass_whole_chunks(data, end, spans)
            else:
                at = _STEPS[self._step](self, data, at)
        self.consumed = at
        return spans

    def _pass_whole_chunks(self, data: bytes | bytearray, at: int, spans: list[Span]) -> int:
        """Walk over the chunks behind the end of one, as far as they are all here: a body of many small ones
        takes half as long by this.

        :returns: where the first stands that is not.
        """
        before, body, stop = len(spans), 0, len(data)
        for _ in _CHUNKS:
            line = _next_line(data, at)
            if line is None:
                break
            size, start = int(line[1], 16), line.end()
            if not size or start + size > stop:
                break
            at = start + size
            spans.append((start, at))
            body += size
        self.body += body
        self.steps += len(spans) - before
        return at

    def passed(self, count: int) -> None:
        """Count bytes of the chunk at hand that went past: spliced, they are not fed."""
        self.left -= count
        self.body += count

    def _read_size(self, data: bytes | bytearray, at: int) -> int:
        # Most lines come whole and without an extension.
        whole = None if self._digits else _whole_line(data, at)
        if whole is not None:
            self._begin_chunk(int(whole[1], 16))
            return whole.end()
        end = run_end(_hexadecimal, data, at, len(data))
        self._digits += end - at
        if self._digits > 16:
            raise self._wrong("the size of a chunk has more than 16 digits")
        self._size = self._size << 4 * (end - at) | int(data[at:end] or b"0", 16)
        if end == len(data):
            return end
        following = _AFTER_SIZE.get(data[end]) if self._digits else None
        if following is None:
            raise self._wrong(
                f"the size of a chunk is hexadecimal, with CR LF behind it, got {data[end : end + 1]!r}"
            )
        self._step = following
        return end + 1

    def _read_extension(self, data: bytes | bytearray, at: int) -> int:
        end = run_end(_extension_bytes, data, at, len(data))
        self._extension += end - at
        self._extensions += end - at
        if self._extension > MAX_EXTENSION or self._extensions > MAX_EXTENSIONS_IN_BODY:
            raise self._wrong("the extensions of chunks are too long")
        if end == len(data):
            return end
        if not self._extension:
            raise self._wrong("an extension of a chunk is empty")
        self._step = _SIZE_END
        return self._expect(data, end, b"\r")

    def _read_size_end(self, data: bytes | bytearray, at: int) -> int:
        at = self._expect(data, at, b"\n")
        self._begin_chunk(self._size)
        return at

    def _begin_chunk(self, size: int) -> None:
        if size > MAX_LENGTH:
            raise self._wrong("a chunk is larger than 2^63 - 1 bytes")
        self._size = self._digits = self._extension = 0
        self.left = size
        self._step = _CHUNK_END if size else _TRAILERS

    def _read_chunk_end(self, data: bytes | bytearray, at: int) -> int:
        line = _next_line(data, at)
        if line is not None:
            self._begin_chunk(int(line[1], 16))
            return line.end()
        self._step = _CHUNK_LF
        return self._expect(data, at, b"\r")

    def _read_chunk_lf(self, data: bytes | bytearray, at: int) -> int:
        self._step = _SIZE
        return self._expect(data, at, b"\n")

    def _read_trailers(self, data: bytes | bytearray, at: int) -> int:
        walk = self._walk = self._walk or TrailerWalk(self._fault)
        before = len(self._section)
        self._section += data[at : at + TRAILER_LIMITS.size]
        self.done = walk.walk(self._section)
        if self.done:
            self._end_trailers(walk.at - 2)
        return at + walk.at - before

    def _end_trailers(self, length: int) -> None:
        self.trailers = bytes(self._section[:length])
        for name in _trailer_names(self.trailers):
            plain = name.replace(b"_", b"-")
            of_client = self._fault is Fault.CLIENT
            if _is_forbidden_trailer(plain) or (of_client and plain.lower() == _REQUEST_ID):
                raise self._wrong(f"a trailer cannot be {name[:40]!r}")
        self._section.clear()

    def _expect(self, data: bytes | bytearray, at: int, byte: bytes) -> int:
        if data[at] != byte[0]:
            raise self._wrong(f"{byte!r} stands where {data[at : at + 1]!r} is, between chunks")
        return at + 1

    def _wrong(self, message: str) -> BadMessage:
        return _bad_chunk(self._fault, message)


class TrailerWalk(Walk):
    """Goes over a trailer section, whose lines are those of a head."""

    __slots__ = ("_fault",)

    def __init__(self, fault: Fault) -> None:
        super().__init__(FIELD_STATES, "line", TRAILER_LIMITS)
        self._fault = fault

    def _too_large(self, message: str) -> BadMessage:
        return _bad_chunk(self._fault, f"in the trailers, {message}")

    def _wrong(self, byte: int, at: int, wanted: str) -> BadMessage:
        return _bad_chunk(self._fault, f"in the trailers, {found_instead(byte, at, wanted)}")


def _bad_chunk(fault: Fault, message: str) -> BadMessage:
    return BadRequest(400, Cause.BAD_CHUNK, message) if fault is Fault.CLIENT else BadResponse(message)


_SIZE, _EXTENSION, _SIZE_END, _CHUNK_END, _CHUNK_LF, _TRAILERS = range(6)

_AFTER_SIZE = {ord("\r"): _SIZE_END, ord(";"): _EXTENSION}

_STEPS: Final = (
    ChunkWalker._read_size,
    ChunkWalker._read_extension,
    ChunkWalker._read_size_end,
    ChunkWalker._read_chunk_end,
    ChunkWalker._read_chunk_lf,
    ChunkWalker._read_trailers,
)


def chunk_head(size: int) -> bytes:
    """Write the line before a chunk; CR LF follows the chunk."""
    return b"%x\r\n" % size


def one_chunk(data: bytes | bytearray, spans: Sequence[Span]) -> bytes:
    """Write parts of ``data`` as one chunk: a copy that has nothing of how they came.

    :param spans: at least one, none empty: what ``ChunkWalker.feed`` returns.
    """
    view = memoryview(data)
    size = sum(end - start for start, end in spans)
    assert size, "a chunk without bytes is the end of a body"
    return b"".join((chunk_head(size), *(view[start:end] for start, end in spans), b"\r\n"))


def last_chunk(trailers: bytes = b"") -> bytes:
    """Write the end of a body.

    :param trailers: lines, each with CR LF.
    """
    return b"0\r\n%b\r\n" % trailers
