"""Open sessions: which are asked for, in pages, and one by its id."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address

from tcpbalance.control.api_request import ApiError
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.session_id import SessionId, key_of
from tcpbalance.control.sessions import (
    LINES_A_RUN,
    SessionsPage,
    end_session,
    list_sessions,
    look_at_session,
    the_session,
)
from tcpbalance.control.sessions_query import read_sessions_query
from tcpbalance.control.timestamps import milliseconds
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.reasons import EndReason

FACTS = SessionFacts(
    started=1000.0,
    client=ClientAddress(IPv4Address("TCP", "203.0.113.7", 5000)),
    proxy=None,
    frontend="web",
    pool="pool",
    backend="a",
    state="relaying",
    age=60.0,
    idle=5.0,
    client_bytes=600,
    backend_bytes=424,
)


@define(eq=False)
class FakeSession:
    """An open session; see ``OpenSession``."""

    its: SessionFacts = FACTS
    over: bool = False
    ended: list[EndReason] = field(factory=list)

    @property
    def started(self) -> float:
        return self.its.started

    def facts(self) -> SessionFacts:
        return self.its

    def end(self, reason: EndReason) -> None:
        self.ended.append(reason)


@define
class FakeRegistry:
    sessions: set[Any]


def registries(*sessions: FakeSession) -> Any:
    return [FakeRegistry(set(sessions))]


def key(session: Any) -> int:
    return key_of(session)


def began(*starts: float) -> list[FakeSession]:
    return [FakeSession(evolve(FACTS, started=start)) for start in starts]


def page(query: dict[str, str], *workers: list[FakeSession]) -> Any:
    asked = read_sessions_query(query)
    found = [at_once(list_sessions(registries(*its), worker, asked)) for worker, its in enumerate(workers)]
    return json.loads(b"".join(at_once(SessionsPage.of(asked, found)).body()))


def test_a_session_shows_what_is_known_of_it() -> None:
    session = FakeSession()
    answer = page({}, [session])
    assert answer["next"] is None
    (entry,) = answer["sessions"]
    assert entry.pop("id") == f"0.{id(session):x}.{1000 * 1000:x}"
    assert entry == {
        "worker": 0,
        "frontend": "web",
        "client": "203.0.113.7:5000",
        "proxy": None,
        "pool": "pool",
        "backend": "a",
        "state": "relaying",
        "start": "1970-01-01T00:16:40.000Z",
        "age": 60.0,
        "idle": 5.0,
        "client_bytes": 600,
        "backend_bytes": 424,
        "server_name": None,
        "tls_version": None,
        "tls_cipher": None,
        "tls_client": None,
    }


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=3),
    st.integers(1, 5),
)
def test_the_pages_together_have_each_session_once_in_the_order_of_their_starts(
    starts: list[list[int]], limit: int
) -> None:
    workers = [began(*times) for times in starts]
    found: list[str] = []
    query = {"limit": str(limit)}
    while True:
        answer = page(query, *workers)
        found += [entry["id"] for entry in answer["sessions"]]
        if answer["next"] is None:
            break
        assert len(answer["sessions"]) == limit
        query["after"] = answer["next"]
    all_of_them = [SessionId(key(session), worker) for worker, its in enumerate(workers) for session in its]
    assert found == [str(one) for one in sorted(all_of_them)]


@pytest.mark.parametrize("limit", [1, LINES_A_RUN - 1, 3 * LINES_A_RUN, 1000, 1500])
def test_the_first_of_many_are_given_in_order_whatever_order_they_are_found_in(limit: int) -> None:
    rng = random.Random(limit)
    sessions = began(*(rng.uniform(1.0, 50.0) for _ in range(1000)))
    answer = page({"limit": str(limit)}, sessions)
    in_order = [str(SessionId(its, 0)) for its in sorted(key(session) for session in sessions)]
    assert [entry["id"] for entry in answer["sessions"]] == in_order[:limit]
    assert answer["next"] == (in_order[limit - 1] if limit < 1000 else None)


def test_what_is_behind_a_whole_page_is_not_looked_into() -> None:
    looked: list[float] = []

    class Seen(FakeSession):
        def facts(self) -> SessionFacts:
            looked.append(self.its.started)
            return self.its

    sessions = [Seen(evolve(FACTS, started=start)) for start in range(1, 2001)]
    registry: Any = FakeRegistry(sessions)  # type: ignore[arg-type]  # in this order
    lines = at_once(list_sessions([registry], 0, read_sessions_query({"limit": "20"})))
    assert (len(lines), len(looked)) == (21, 2 * LINES_A_RUN)


def test_what_is_shown_as_the_start_is_in_the_same_order() -> None:
    """Between two milliseconds, a number may be above or below, depending on how it is rounded."""
    ((first, second),) = [began(1780000578.887 - 3e-7, 1780000578.887)]
    assert milliseconds(first.started) == milliseconds(second.started)
    starts = [entry["start"] for entry in page({}, [first, second])["sessions"]]
    assert starts == ["2026-05-28T20:36:18.887Z"] * 2


def test_sessions_of_two_processes_may_have_one_start_and_one_place_in_memory() -> None:
    shared = FakeSession()
    first = page({"limit": "1"}, [shared], [shared])
    second = page({"limit": "1", "after": first["next"]}, [shared], [shared])
    assert [entry["worker"] for entry in (*first["sessions"], *second["sessions"])] == [0, 1]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"client": "203.0.113.0/24"}, True),
        ({"client": "203.0.113.7"}, True),
        ({"client": "203.0.114.0/24"}, False),
        ({"frontend": "web", "pool": "pool", "backend": "a"}, True),
        ({"frontend": "api"}, False),
        ({"pool": "other"}, False),
        ({"backend": "b"}, False),
        ({"min_age": "1m"}, True),
        ({"min_age": "60.5"}, False),
        ({"min_idle": "5"}, True),
        ({"min_idle": "6s"}, False),
        ({"min_bytes": "1KiB"}, True),
        ({"min_bytes": "1025"}, False),
    ],
)
def test_what_is_given_selects(query: dict[str, str], found: bool) -> None:
    assert bool(page(query, [FakeSession()])["sessions"]) is found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, 'limit must be a whole number from 1 to 5000, got "0"'),
        ({"limit": "5001"}, "limit must be a whole number"),
        ({"limit": "9" * 50}, "limit must be a whole number"),
        ({"min_age": "old"}, "min_age must be a duration such as"),
        ({"min_age": "nan"}, "min_age must be a duration such as"),
        ({"min_idle": "-1"}, "min_idle must be a duration such as"),
        ({"min_bytes": "1.5"}, "min_bytes must be a size such as"),
        ({"min_bytes": "9" * 5000}, "min_bytes must be a size such as"),
        ({"client": "203.0.113.7/8"}, "client "),
        ({"client": "example.com"}, "client "),
        ({"after": "17"}, 'after must be the id of a session, as "next" gives it'),
        ({"fronted": "web"}, 'fronted: unknown key, did you mean "frontend"?'),
    ],
)
def test_what_makes_no_sense_is_refused(query: dict[str, str], message: str) -> None:
    with pytest.raises(ApiError) as error:
        read_sessions_query(query)
    assert error.value.status == 400
    assert str(error.value).startswith(message)


def test_one_is_found_and_ended_by_its_id() -> None:
    one, other = began(1.0, 2.0)
    wanted = SessionId(key(one), 0)
    shown = at_once(look_at_session(registries(one, other), wanted))
    assert shown is not None
    assert shown["id"] == str(wanted)
    assert one.ended == []
    assert at_once(end_session(registries(one, other), wanted)) == shown
    assert (one.ended, other.ended) == ([EndReason.ENDED_BY_OPERATOR], [])


def test_one_that_has_ended_is_not_there() -> None:
    one = FakeSession(over=True)
    wanted = SessionId(key(one), 0)
    assert at_once(end_session(registries(one), wanted)) is None
    with pytest.raises(ApiError, match="no open session has the id 0"):
        the_session(None, wanted)


@pytest.mark.parametrize("text", ["", "0.1", "0.1.2.3", "x.1.2", "0.1.-2", "0.1.2\n", f"0.1.{'f' * 100}"])
def test_what_is_no_id(text: str) -> None:
    assert SessionId.parse(text) is None


@given(st.integers(0, 1023), st.integers(1, 2**64 - 1), st.integers(0, 2**48 - 1))
def test_an_id_is_read_as_it_is_written(worker: int, address: int, start: int) -> None:
    session_id = SessionId(start << 64 | address, worker)
    assert SessionId.parse(str(session_id)) == session_id
