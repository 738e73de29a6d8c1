"""The soak finds what is wrong in a stream, and what ended a session."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from hypothesis import given
from hypothesis import strategies as st

from bench.soak.streams import PIECE, Plan, Stream
from bench.soak.verdict import ANY_PLACE, LATE, Account, Fault, Session, Side, explain

WHOLE = Side(received=10, has_all=True)


def bytes_of(number: int, size: int, is_up: bool = True) -> bytes:
    stream, parts = Stream(number, is_up), []
    while stream.position < size:
        parts.append(stream.next(size - stream.position))
    return b"".join(parts)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 3 * PIECE), max_size=5))
def test_a_stream_is_known_however_it_is_cut(number: int, sizes: list[int]) -> None:
    data = bytes_of(number, sum(sizes))
    stream = Stream(number, is_up=True)
    for size in sizes:
        assert stream.follows(data[stream.position : stream.position + size])
    assert stream.position == len(data)


@given(st.integers(100, 200_000), st.data())
def test_what_is_lost_doubled_or_moved_is_found(size: int, data: st.DataObject) -> None:
    sent = bytes_of(1, size)
    first = data.draw(st.integers(0, size - 50))
    last = data.draw(st.integers(first + 8, size - 20))
    wrong = data.draw(
        st.sampled_from(
            [
                sent[:first] + sent[last:],
                sent[:last] + sent[first:],
                sent[:first] + sent[last:] + sent[first:last],
                sent[:first] + bytes([sent[first] ^ 1]) + sent[first + 1 :],
            ]
        )
    )
    assert not Stream(1, is_up=True).follows(wrong)


def test_streams_differ() -> None:
    streams = {bytes_of(number, 100, is_up) for number in range(100) for is_up in (True, False)}
    assert len(streams) == 200


def test_a_plan_is_read_as_it_was_sent() -> None:
    plan = Plan(7, 10**7, 0, 5, 0.25)
    assert Plan.unpacked(plan.packed()) == plan


def session(**keys: object) -> Session:
    made: dict[str, object] = {"number": 1, "place": 0, "began": 10.0, "ended": 12.0, "backend": 3, **keys}
    return Session(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault("killed", 11, 11, place=0), True),
        (Fault("killed", 11, 11, place=1), False),
        (Fault("killed", 11, 11, place=ANY_PLACE), True),
        (Fault("killed", 8, 9.5, place=0), True),
        (Fault("killed", 8, 9.9 - LATE, place=0), False),
        (Fault("killed", 12.1, 13, place=0), False),
        (Fault("ended", 11, 11, backend=3), True),
        (Fault("ended", 11, 11, backend=2), False),
    ],
)
def test_a_fault_explains_the_end_of_its_own_sessions(fault: Fault, explains: bool) -> None:
    assert (explain(session(), [fault]) is not None) == explains


def test_the_end_of_any_backend_explains_that_of_a_session_that_none_has_heard_of() -> None:
    assert explain(session(backend=None), [Fault("ended", 11, 11, backend=2)]) == "ended"


def test_what_must_not_be_is_reported() -> None:
    whole = session(client_side=WHOLE, backend_side=WHOLE)
    by_plan = session(is_cut_by_plan=True)
    killed = session(place=1)
    account = Account(dict(enumerate([whole, by_plan, killed])), [Fault("killed", 11, 11, place=1)])
    assert list(account.mistakes()) == []
    assert account.counts() == {"whole": 1, "reset by plan": 1, "killed": 1}
    wrong = Side(is_right=False)
    account.sessions = dict(
        enumerate([session(), session(ended=None), session(is_cut_by_plan=True, client_side=wrong)])
    )
    account.strange.append("something else")
    found = [mistake.partition(":")[0] for mistake in account.mistakes()]
    assert found == [
        "something else",
        "cut, and nothing explains it",
        "does not end",
        "bytes that are not what was sent",
    ]
    assert account.counts() == {"unexplained": 1, "does not end": 1, "reset by plan": 1}
