"""However a peer cuts what it says in TLS into records and segments, it costs us in proportion to what it
costs the peer: the worst case that a search finds, for clients and backends of ours.

Lines of code and bytes that are moved are counted for each byte on the wire, with the headers of segments.
What is plain is a message of 100 bytes, which is one record in one segment. Bulk costs both ends far less for
a byte, since most costs come with records; but records of a byte each are a peer's right, and cost it as much
as us. So one turn processes a bounded number of them.

What OpenSSL costs is not counted: it decrypts in proportion to the bytes, and all else is bounded with the
number of records.
"""

from __future__ import annotations

from functools import cache
from itertools import cycle
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings, target
from hypothesis import strategies as st

from support.certificates import Authority
from support.tls_costs import ROOM, VERSIONS, Cost, Ends, Role, read_in_memory, sent_at_most
from support.tls_lines import A_RECORD, shake
from support.tls_records import SealerOfOld
from tcpbalance.net.pump import READS_A_TURN
from tcpbalance.net.tls.records import MAX_IN_HANDSHAKE, MAX_WITHOUT_DATA, RECORDS_AT_ONCE

TIMES = 10
"""What a byte may cost: so many times the lines that one of a plain message does."""

A_SEGMENT, WITH_DATA, IN_HANDSHAKE = 3, 0.5, 1
"""What a segment may cost, and a record of either kind: so many times the lines of a plain message. A segment
may end one record and begin the next, and is read twice. A byte is no measure for a handshake: those of a
plain one cost arithmetic and not lines, 0.3 ms, and the records that it is cut into are bounded in number."""

MOVED = 2
"""Times that a byte may be moved because it waits: once from what is read at once, and once in an answer."""

RECORDS_A_TURN = 3 * READS_A_TURN * RECORDS_AT_ONCE
"""A transport is read when it had work left, and before and after a break of its peer is told."""

PHASES = set(Phase) - {Phase.explain}
"""How a search goes on; what is explained takes half a minute and tells little of a worst case."""

MAX_RECORDS, MAX_BYTES = 1000, ROOM
"""What one example is made of, at most."""

Cases = pytest.mark.parametrize(
    ("role", "version"), [(role, version) for role in ("client", "backend") for version in VERSIONS]
)

SEGMENTS = st.lists(
    st.one_of(st.sampled_from([1, 23, 27, MAX_BYTES]), st.integers(1, 70_000)), min_size=1, max_size=2
)

DATA = st.one_of(st.sampled_from([0, 1, 16 * 1024]), st.integers(0, 16 * 1024))
WITHOUT_DATA = st.sampled_from(["update", "asking update"])
PIECES = st.lists(
    st.tuples(st.one_of(DATA, WITHOUT_DATA), st.integers(1, MAX_WITHOUT_DATA)),
    min_size=1,
    max_size=3,
)
"""Runs of records: what is in each, bytes, new keys or the wish for another handshake; and how many."""

Pieces = list[tuple[int | str, int]]


def stream(make: Any, pieces: Pieces, segments: list[int], limit: int = MAX_RECORDS) -> bytes:
    """Make the runs again and again, until there is as much as is sent in segments of these sizes."""
    enough = min(MAX_BYTES - A_RECORD, sent_at_most(segments))
    data = b""
    records = 0
    for piece, count in cycle(pieces):
        for _ in range(count):
            if len(data) >= enough or records >= limit:
                return data
            records += 1
            if isinstance(piece, int):
                data += make.record(bytes(piece))
            elif isinstance(make, SealerOfOld):
                data += make.hello_request()
            else:
                data += make.key_update(requested=piece == "asking update")
    return data


@cache
def plain(ends: Ends, role: Role, version: str, joined: bool) -> Cost:
    """What a message of 100 bytes costs, which is the same each time."""
    line, sealer = ends.agreed(role, version, joined)
    line.send(sealer().record(bytes(100)), [MAX_BYTES])
    return line.cost


def assert_in_proportion(cost: Cost, usual: Cost, a_record: float) -> None:
    """See that pieces cost what they may, and that neither moving bytes nor a turn is without bound."""
    assert cost.lines <= usual.lines * (A_SEGMENT * cost.segments + a_record * cost.records)
    assert cost.moved <= MOVED * cost.wire
    assert cost.max_records <= RECORDS_A_TURN


@Cases
@settings(max_examples=50, phases=PHASES)
@given(
    pieces=PIECES,
    segments=SEGMENTS,
    joined=st.booleans(),
    stalled=st.booleans(),
    end=st.sampled_from(["", "finish", "reset", "finish, reset"]),
)
@example(pieces=[(1, 32)], segments=[MAX_BYTES], joined=True, stalled=False, end="finish, reset")
@example(pieces=[(1, 32)], segments=[MAX_BYTES], joined=False, stalled=False, end="finish, reset")
def test_data(
    ends: Ends,
    role: Role,
    version: str,
    pieces: Pieces,
    segments: list[int],
    joined: bool,
    stalled: bool,
    end: str,
) -> None:
    line, sealer = ends.agreed(role, version, joined, stalled)
    line.send(stream(sealer(), pieces, segments), segments, end)
    cost = line.cost
    target(cost.lines / cost.wire, label="lines")
    target(cost.moved / cost.wire, label="moved")
    target(float(cost.max_records), label="records")
    usual = plain(ends, role, version, joined)
    assert cost.lines / cost.wire <= TIMES * usual.lines / usual.wire
    assert_in_proportion(cost, usual, WITH_DATA)


@Cases
@settings(max_examples=25, phases=PHASES)
@given(fragments=st.lists(st.integers(1, 600), min_size=1, max_size=2), segments=SEGMENTS)
def test_handshake(ends: Ends, role: Role, version: str, fragments: list[int], segments: list[int]) -> None:
    line, _ = ends.line(role, version)
    line.shake(fragments, segments)
    cost = line.cost
    target(cost.lines / cost.wire, label="lines")
    target(cost.moved / cost.wire, label="moved")
    usual = plain(ends, role, version, joined=False)
    assert_in_proportion(cost, usual, IN_HANDSHAKE)
    assert cost.records <= MAX_IN_HANDSHAKE + 1


@Cases
@settings(max_examples=25, phases=PHASES)
@given(pieces=PIECES, segments=SEGMENTS)
def test_data_in_memory(ends: Ends, role: Role, version: str, pieces: Pieces, segments: list[int]) -> None:
    """On the portable data path, where Twisted has read what came, a segment here."""

    def cost_of(pieces: Pieces, segments: list[int], limit: int) -> Cost:
        ours = ends.ours(role).connection()
        peer, sealer = ends.peer(role, version)
        shake(*((peer, ours) if role == "client" else (ours, peer)))
        return read_in_memory(ours, stream(sealer(), pieces, segments, limit), segments)

    cost, usual = cost_of(pieces, segments, MAX_RECORDS), cost_of([(100, 1)], [MAX_BYTES], 1)
    target(cost.lines / cost.wire, label="lines")
    target(cost.moved / cost.wire, label="moved")
    assert cost.lines / cost.wire <= TIMES * usual.lines / usual.wire
    assert cost.moved <= MOVED * cost.wire


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return Ends(Authority.root().issue(tmp_path_factory.mktemp("tls-budgets"), "web", "web.example"))
