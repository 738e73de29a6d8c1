"""The format of affinity journals: what was written is read, and what is broken is found."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import groupby
from math import inf, nan
from zlib import crc32

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from tcpbalance.journal.frames import (
    FRAME_CLIENTS,
    FRAME_ROWS,
    JOURNAL_HEADER,
    MAGIC,
    BackendKey,
    Frame,
    Journal,
    JournalEnd,
    Latest,
    Row,
    compacted,
    decode,
    encode,
    newest_first,
)

ANNE, BOB, CARL = (bytes((192, 0, 2, host)) for host in (1, 2, 3))
SIX = bytes(range(16))
A, B, C = (("a", "10.0.0.1:80"), ("b", "10.0.0.2:80"), ("c", "unix:/run/c.sock"))

keys = st.tuples(st.text(max_size=9), st.text(max_size=9))
tables = st.none() | st.lists(keys, min_size=1, max_size=4)
times = st.floats(allow_nan=False, width=32) | st.just(inf)
clients = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
rows = st.lists(st.tuples(clients, st.integers(0, 2**32 - 1), times), max_size=6)


@frozen
class Written:
    """One frame, as it was asked for."""

    now: float
    rows: Sequence[Row]
    backends: Sequence[BackendKey] | None

    def encoded(self) -> bytes:
        return encode(self.now, self.rows, self.backends)


written = st.builds(Written, st.floats(0, 1e9), rows, tables)
journals = st.lists(written, max_size=5)


def encoded(frames: Sequence[Written]) -> list[bytes]:
    return [JOURNAL_HEADER, *(frame.encoded() for frame in frames)]


def read(data: bytes) -> tuple[list[Written], JournalEnd]:
    """What a journal says, with the backends that each frame counts by."""
    journal = decode(data)
    return [Written(f.now, f.rows(), f.backends) for f in journal.frames], journal.ending


def as_read(frames: Sequence[Written]) -> list[Written]:
    """The same with the backends that each frame counts by."""
    backends: tuple[BackendKey, ...] = ()
    expected = []
    for frame in frames:
        backends = backends if frame.backends is None else tuple(frame.backends)
        expected.append(Written(frame.now, frame.rows, backends))
    return expected


def a_frame(body: bytes) -> bytes:
    """A frame around any body, with its checksum."""
    length = struct.pack("<I", len(body))
    return length + struct.pack("<I", crc32(length + body)) + body


@given(journals)
def test_what_was_written_is_read(frames: list[Written]) -> None:
    assert read(b"".join(encoded(frames))) == (as_read(frames), JournalEnd.COMPLETE)


@pytest.mark.parametrize("size", range(len(JOURNAL_HEADER)))
def test_the_version_of_a_header_that_is_cut_is_not_known(size: int) -> None:
    assert read(JOURNAL_HEADER[:size]) == ([], JournalEnd.FOREIGN)


@given(journals.filter(bool), st.data())
def test_a_journal_that_is_cut_has_what_stands_before_the_cut(
    frames: list[Written], data: st.DataObject
) -> None:
    pieces = encoded(frames)
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole) - 1))
    ends = [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
    found, ending = read(whole[:cut])
    if cut < len(JOURNAL_HEADER):
        assert (found, ending) == ([], JournalEnd.FOREIGN)
    else:
        complete = sum(end <= cut for end in ends) - 1
        assert found == as_read(frames)[:complete]
        assert ending is (JournalEnd.COMPLETE if cut in ends else JournalEnd.CUT)


@given(journals.filter(bool), st.data())
def test_a_byte_that_is_changed_costs_what_stands_behind_it(
    frames: list[Written], data: st.DataObject
) -> None:
    pieces = encoded(frames)
    whole = bytearray(b"".join(pieces))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found, ending = read(bytes(whole))
    assert ending is not JournalEnd.COMPLETE
    before = sum(sum(map(len, pieces[: count + 1])) <= at for count in range(len(pieces)))
    assert found == as_read(frames)[: max(0, before - 1)]


@given(st.binary(max_size=200).filter(lambda data: not data.startswith(MAGIC)))
@example(b"")
@example(MAGIC[:-1])
def test_foreign_bytes_are_no_journal(data: bytes) -> None:
    assert decode(data) == Journal((), JournalEnd.FOREIGN)


@given(st.binary(max_size=200))
@example(bytes(200))
def test_foreign_bytes_behind_a_frame_leave_it_as_it_is(tail: bytes) -> None:
    before = [Written(1.0, [(ANNE, 0, 2.0)], [A])]
    found, ending = read(b"".join(encoded(before)) + tail)
    assert found[:1] == as_read(before)
    assert (ending is JournalEnd.COMPLETE) == (not tail)


@given(st.binary(max_size=200))
def test_any_body_with_a_valid_checksum_is_read_or_refused(body: bytes) -> None:
    journal = decode(JOURNAL_HEADER + a_frame(body))
    assert journal.ending in (JournalEnd.COMPLETE, JournalEnd.DAMAGED)
    for frame in journal.frames:
        assert len(frame.rows()) == len(frame)


def test_another_version_is_known_as_such() -> None:
    assert decode(MAGIC + b"2\n").ending is JournalEnd.OTHER_VERSION


HEAD = struct.Struct("<dIII")


@pytest.mark.parametrize(
    "body",
    [
        HEAD.pack(1.0, 0, 1, 4) + b"\x04" + ANNE,  # columns that end early
        HEAD.pack(1.0, 0, 1, 4) + b"\x05" + ANNE + bytes(12),  # a client longer than its column
        HEAD.pack(nan, 0, 0, 0),
        HEAD.pack(inf, 0, 0, 0),
        HEAD.pack(1.0, 2, 0, 0) + b"[}",
        HEAD.pack(1.0, 1, 0, 0) + b"1",
        HEAD.pack(1.0, 3, 0, 0) + b"[1]",
        HEAD.pack(1.0, 4, 0, 0) + b"\xff\xff\xff\xff",
        HEAD.pack(1.0, 0, FRAME_ROWS + 1, 0) + bytes(13 * (FRAME_ROWS + 1)),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(body: bytes) -> None:
    assert decode(JOURNAL_HEADER + a_frame(body)).ending is JournalEnd.DAMAGED


def test_a_deep_table_is_refused() -> None:
    table = b"[" * 100_000
    body = HEAD.pack(1.0, len(table), 0, 0) + table
    assert decode(JOURNAL_HEADER + a_frame(body)).ending is JournalEnd.DAMAGED


def test_the_format_is_what_the_module_says() -> None:
    """Byte by byte: a later version has to read it, or to have another number."""
    table = json.dumps([["a", "10.0.0.1:80"]]).encode()
    body = (
        struct.pack("<dIII", 5.0, len(table), 2, 20)
        + table
        + bytes([4, 16])
        + ANNE
        + SIX
        + struct.pack("<II", 0, 0)
        + struct.pack("<dd", 7.5, inf)
    )
    assert JOURNAL_HEADER == b"tcpbalance affinity journal 1\n"
    assert encode(5.0, [(ANNE, 0, 7.5), (SIX, 0, inf)], [A]) == a_frame(body)


def test_it_rests_now_and_then() -> None:
    rests: list[None] = []
    data = JOURNAL_HEADER + b"".join(encode(1.0, ()) for _ in range(1000))
    decode(data, lambda: rests.append(None))
    assert 10 < len(rests) < 100


def frames_of(*written: Written) -> Sequence[Frame]:
    return decode(b"".join(encoded(written))).frames


def test_the_latest_entries_are_found_from_the_newest_on() -> None:
    frames = frames_of(
        Written(1.0, [(ANNE, 0, 9.0), (ANNE, 1, 9.0), (BOB, 0, 9.0)], [A, B]),
        Written(2.0, [(CARL, 0, 9.0), (BOB, 1, 9.0)], None),
    )
    latest = Latest()
    assert latest.of(frames[1]) == [(BOB, 1, 9.0), (CARL, 0, 9.0)]
    assert latest.of(frames[0]) == [(ANNE, 1, 9.0), (ANNE, 0, 9.0)]
    assert latest.of(frames[0]) == []


def test_pieces_have_a_bound_and_miss_no_frame() -> None:
    many = [Written(float(n), [(ANNE, 0, 9.0)] * (n % 7 * 100), [A]) for n in range(100)]
    frames = frames_of(*many, *[Written(200.0, [], None)] * 1000)
    pieces = list(newest_first(frames))
    assert [frame for piece in pieces for frame in piece] == [*reversed(frames)]
    assert all(sum(map(len, piece)) < FRAME_CLIENTS + FRAME_ROWS for piece in pieces)
    assert all(len(piece) <= 64 for piece in pieces)


groups = st.lists(
    st.tuples(
        st.sampled_from([ANNE, BOB, CARL, SIX]),
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from([3.0, 7.0, inf])), min_size=1, max_size=2),
    ),
    max_size=5,
    unique_by=lambda group: group[0],
)


@st.composite
def histories(draw: st.DrawFn) -> list[Written]:
    """Frames as they come from a pool whose list of backends changes."""
    count = draw(st.integers(1, 5))
    return [
        Written(
            float(now),
            [(client, number, expires) for client, entries in draw(groups) for number, expires in entries],
            draw(st.sampled_from([[A, B], [B, C], [A, B, C]])) if now == 0 or draw(st.booleans()) else None,
        )
        for now in range(count)
    ]


def state(frames: Sequence[Frame]) -> list[tuple[bytes, list[tuple[BackendKey, float]]]]:
    """What a journal comes to, by replaying it: what holds of each client, the oldest first."""
    now, known = frames[-1].now, frames[-1].backends
    replayed: dict[bytes, list[tuple[BackendKey, float]]] = {}
    for frame in frames:
        for client, rows in groupby(frame.rows(), lambda row: row[0]):
            replayed.pop(client, None)
            replayed[client] = [
                (frame.backends[number], expires)
                for _, number, expires in rows
                if number < len(frame.backends) and frame.backends[number] in known and expires > now
            ]
    return [(client, entries) for client, entries in replayed.items() if entries]


@given(histories(), histories())
def test_a_compacted_journal_comes_to_the_same_also_with_what_follows(
    before: list[Written], after: list[Written]
) -> None:
    pieces = encoded(before)
    whole = b"".join(pieces)
    compact = b"".join(compacted(decode(whole).frames, 100, lambda: None))
    assert decode(compact).ending is JournalEnd.COMPLETE
    assert state(decode(compact).frames) == state(decode(whole).frames)
    # What is appended counts by the table that is in force.
    tail = b"".join(Written(frame.now + 100, frame.rows, None).encoded() for frame in after)
    assert state(decode(compact + tail).frames) == state(decode(whole + tail).frames)


def test_a_compacted_journal_has_the_latest_clients() -> None:
    some = [(number.to_bytes(4), 0, 9.0) for number in range(3000)]
    frames = frames_of(*(Written(1.0, some[start : start + 500], [A]) for start in range(0, 3000, 500)))
    compact = decode(b"".join(compacted(frames, 1200, lambda: None))).frames
    kept = [row for frame in compact for row in frame.rows()]
    assert 1200 <= len(kept) < 1200 + FRAME_CLIENTS + FRAME_ROWS
    assert kept == some[-len(kept) :]


def test_entries_of_one_client_are_not_parted() -> None:
    both = [(number.to_bytes(4), backend, 9.0) for number in range(2 * FRAME_CLIENTS) for backend in (0, 1)]
    frames = frames_of(
        *(
            Written(1.0, both[start : start + FRAME_ROWS], [A, B])
            for start in range(0, len(both), FRAME_ROWS)
        ),
        Written(1.0, [(ANNE, 0, 9.0)], None),
    )
    compact = decode(b"".join(compacted(frames, 10_000, lambda: None))).frames
    seen: set[bytes] = set()
    for frame in compact:
        clients = {client for client, _, _ in frame.rows()}
        assert seen.isdisjoint(clients)
        seen |= clients
    assert len(seen) == 2 * FRAME_CLIENTS + 1


def test_compacting_rests_after_each_piece() -> None:
    rests: list[None] = []
    some = [(number.to_bytes(4), 0, 9.0) for number in range(FRAME_CLIENTS)]
    frames = frames_of(*[Written(1.0, some, [A])] * 20)
    list(compacted(frames, 10_000, lambda: rests.append(None)))
    assert len(rests) > 20
