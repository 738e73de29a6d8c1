"""The format of an affinity journal: which bytes stand for which entries.

A journal is a header, then frames. A frame has its length, a checksum, and entries of up to `FRAME_CLIENTS`
clients, column by column, which Python packs and unpacks quickly. The entries of one client stand together,
its sticky backend first; they replace all that stand before them in the file. All numbers are little-endian.

======================  =======================================================================
header                  ``tcpbalance affinity journal 1`` and a line feed
frame                   4 bytes length of what follows the checksum; 4 bytes CRC-32 of length and
                        what follows; the time (8 bytes, floating point); three lengths of 4 bytes:
                        of the table of backends in bytes, of the columns in entries, of the column
                        of clients in bytes; then the table and the columns
table of backends       JSON, ``[[name, address], ...]``: the numbers of backends count from 0 in it.
                        Of length 0: that of the frame before applies
columns                 1 byte each: the length of the client; the clients; 4 bytes each: the number
                        of the backend; 8 bytes each, floating point: when the entry expires
======================  =======================================================================

Times are seconds on the clock of the process that wrote the file: only differences mean something. The time
of a frame is when it was written. An entry with open connections expires at infinity.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import isfinite
from zlib import crc32

from attrs import field, frozen

MAGIC = b"tcpbalance affinity journal "
JOURNAL_HEADER = MAGIC + b"1\n"

FRAME_CLIENTS = 512
"""Clients of one frame: it is made, or read, in less than a millisecond."""

FRAME_ROWS = 2 * FRAME_CLIENTS
"""Entries of one frame."""

_FRAMES = 64
"""Frames that are read in less than a millisecond if they have hardly any entries."""

BackendKey = tuple[str, str]
"""The name and the address of a backend."""

Row = tuple[bytes, int, float]
"""An entry: the client, the number of the backend, and when it expires."""

_FRAME_START = struct.Struct("<II")
_FRAME_LENGTH = struct.Struct("<I")
_BODY_START = struct.Struct("<dIII")


class JournalEnd(enum.Enum):
    """Why reading a journal came to an end."""

    COMPLETE = "it is complete"
    CUT = "its last frame is incomplete"
    DAMAGED = "a frame does not match its checksum"
    FOREIGN = "it is not an affinity journal"
    OTHER_VERSION = "it is an affinity journal of another version of tcpbalance"


@frozen
class Frame:
    """What was written at one time.

    :ivar now: when, on the clock of the process that wrote it.
    :ivar backends: by their numbers.
    """

    now: float
    backends: tuple[BackendKey, ...]
    _count: int
    _clients: int
    _columns: bytes = field(repr=False)

    def clients(self) -> list[bytes]:
        """Give the column of clients, in the order in which they were written."""
        count, columns = self._count, self._columns
        lengths = columns[:count]
        if count and lengths.count(lengths[0]) == count and lengths[0]:
            # All are of one kind, as nearly always: in a third of the time.
            size = lengths[0]
            return [columns[start : start + size] for start in range(count, count + count * size, size)]
        return [columns[start:end] for start, end in pairwise(accumulate(lengths, initial=count))]

    def values(self) -> tuple[Sequence[int], Sequence[float]]:
        """Give the columns of the numbers of backends and of the times."""
        count = self._count
        values = struct.unpack_from(f"<{count}I{count}d", self._columns, count + self._clients)
        return values[:count], values[count:]

    def rows(self) -> list[Row]:
        """Give the entries."""
        return [*zip(self.clients(), *self.values(), strict=True)]

    def __len__(self) -> int:
        """How many entries it has."""
        return self._count


@frozen
class Journal:
    """What could be read of a file.

    :ivar frames: the valid ones, up to the first that is not.
    :ivar ending: what comes after them.
    """

    frames: tuple[Frame, ...]
    ending: JournalEnd


def encode(now: float, rows: Sequence[Row], backends: Iterable[BackendKey] | None = None) -> bytes:
    """Make a frame.

    :param now: the clock.
    :param rows: at most `FRAME_ROWS`; those of one client together.
    :param backends: what numbers stand for from this frame on; None for what they stand for already.
    """
    count = len(rows)
    table = b"" if backends is None else json.dumps([*backends]).encode()
    clients, numbers, times = zip(*rows, strict=True) if rows else ((), (), ())
    joined = b"".join(clients)
    body = b"".join(
        [
            _BODY_START.pack(now, len(table), count, len(joined)),
            table,
            bytes(map(len, clients)),
            joined,
            struct.pack(f"<{count}I{count}d", *numbers, *times),
        ]
    )
    return _FRAME_START.pack(len(body), _checksum(body)) + body


def decode(data: bytes, rest: Callable[[], None] = lambda: None) -> Journal:
    """Read a journal, whatever the bytes are.

    :param rest: called now and then.
    """
    if not data.startswith(JOURNAL_HEADER):
        # Of a header that is cut, the version is not known.
        is_other = data.startswith(MAGIC) and not JOURNAL_HEADER.startswith(data)
        return Journal((), JournalEnd.OTHER_VERSION if is_other else JournalEnd.FOREIGN)
    frames: list[Frame] = []
    backends: tuple[BackendKey, ...] = ()
    at = len(JOURNAL_HEADER)
    while at < len(data):
        if len(frames) % _FRAMES == _FRAMES - 1:
            rest()
        if len(data) - at < _FRAME_START.size:
            return Journal(tuple(frames), JournalEnd.CUT)
        length, checksum = _FRAME_START.unpack_from(data, at)
        at += _FRAME_START.size
        body = data[at : at + length]
        at += length
        if len(body) < length:
            return Journal(tuple(frames), JournalEnd.CUT)
        frame = _frame(body, backends) if _checksum(body) == checksum else None
        if frame is None:
            return Journal(tuple(frames), JournalEnd.DAMAGED)
        frames.append(frame)
        backends = frame.backends
    return Journal(tuple(frames), JournalEnd.COMPLETE)


def _checksum(body: bytes) -> int:
    # With the length, so that zeros are no frame: after a power failure, a file may end with some.
    return crc32(body, crc32(_FRAME_LENGTH.pack(len(body))))


def _frame(body: bytes, backends: tuple[BackendKey, ...]) -> Frame | None:
    """Read a frame.

    :returns: None where its parts do not fit together.
    """
    if len(body) < _BODY_START.size:
        return None
    now, table_length, count, clients = _BODY_START.unpack_from(body)
    columns = body[_BODY_START.size + table_length :]
    fits = len(columns) == count + clients + 12 * count and sum(columns[:count]) == clients
    if not fits or count > FRAME_ROWS or not isfinite(now):
        return None
    if table_length:
        table = _table(body[_BODY_START.size : _BODY_START.size + table_length])
        if table is None:
            return None
        backends = table
    return Frame(now, backends, count, clients, columns)


def _table(text: bytes) -> tuple[BackendKey, ...] | None:
    try:
        return tuple((str(name), str(address)) for name, address in json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None


class Latest:
    """Finds the latest entries of each client, in frames that come from the newest to the oldest."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def of(self, frame: Frame) -> list[Row]:
        """Give the entries of the clients that no newer frame had, the latest first: so the sticky backend of
        a client comes last of its entries."""
        clients = frame.clients()
        new = set(clients).difference(self._seen)
        if not new:
            return []
        self._seen |= new
        numbers, times = frame.values()
        rows = zip(reversed(clients), reversed(numbers), reversed(times), strict=True)
        return [row for row in rows if row[0] in new]


def newest_first(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Give frames in pieces, each of which is read in about a millisecond at most."""
    piece: list[Frame] = []
    work = 0
    for frame in reversed(frames):
        piece.append(frame)
        work += len(frame) + FRAME_CLIENTS // _FRAMES
        if work >= FRAME_CLIENTS:
            yield piece
            piece, work = [], 0
    if piece:
        yield piece


def compacted(frames: Sequence[Frame], max_clients: int, rest: Callable[[], None]) -> Iterator[bytes]:
    """Make a journal that has the latest entries of each client alone.

    What was written for the backends that the last frame knows stays; what has expired is left out. Frames
    that were encoded to follow the last one may follow these as well.

    :param frames: at least one.
    :param max_clients: how many are kept, the latest ones; and the rest of the piece of the last one.
    :param rest: called now and then.
    """
    now, backends = frames[-1].now, frames[-1].backends
    numbers = {key: number for number, key in enumerate(backends)}
    latest = Latest()
    kept: list[Row] = []
    clients = 0
    for piece in newest_first(frames):
        rest()
        for frame in piece:
            rows = [row for row in latest.of(frame) if row[2] > now]
            if frame.backends is not backends:
                rows = _renumbered(rows, [numbers.get(key) for key in frame.backends])
            clients += len({row[0] for row in rows})
            kept += rows
        if clients >= max_clients:
            break
    kept.reverse()
    yield JOURNAL_HEADER
    yield encode(now, (), backends)
    start = 0
    while start < len(kept):
        rest()
        end = start + FRAME_CLIENTS
        # The entries of one client stand in one frame.
        while end < len(kept) and kept[end][0] == kept[end - 1][0]:
            end += 1
        yield encode(now, kept[start:end])
        start = end


def _renumbered(rows: Iterable[Row], numbers: Sequence[int | None]) -> list[Row]:
    """Give entries with other numbers for their backends, and leave out those for which there is none."""
    return [
        (client, number, expires)
        for client, before, expires in rows
        if before < len(numbers) and (number := numbers[before]) is not None
    ]
