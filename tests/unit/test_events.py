"""What has happened lately: numbers that grow, a bound, and streams of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from tcpbalance.control.ban_events import FewerBans
from tcpbalance.control.event_stream import EVENTS_AT_ONCE, KEEP_ALIVE_EVERY, EventStream
from tcpbalance.control.events import MAX_EVENTS, Events

BORN = 1000.0


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(BORN)
    return clock


@pytest.fixture
def events(clock: Clock) -> Events:
    return Events(clock, clock.seconds)


def kinds(events: Events, number: int = 0) -> list[str]:
    return [event.kind for event in events.after(number)[1]]


def contents(events: Events) -> list[dict[str, Any]]:
    return [json.loads(event.encoded) for event in events.after(0)[1]]


def test_events_have_numbers_that_grow_over_restarts(clock: Clock, events: Events) -> None:
    events.add("a", {"pool": "web"})
    events.add("b", {})
    clock.advance(1)
    later = Events(clock, clock.seconds)
    later.add("c", {})
    first, second = contents(events)
    assert first == {"number": 1_000_001, "time": "1970-01-01T00:16:40.000Z", "kind": "a", "pool": "web"}
    assert first["number"] < second["number"] < contents(later)[0]["number"]


def test_those_after_a_number_are_given(events: Events) -> None:
    begin = events.newest
    for kind in "abc":
        events.add(kind, {})
    assert events.after(begin) == events.after(0)
    assert kinds(events, begin + 1) == ["b", "c"]
    assert kinds(events, events.newest) == []
    assert [event.kind for event in events.after(0, limit=2)[1]] == ["a", "b"]


@pytest.mark.parametrize("number", [1, 2_000_000])
def test_after_a_number_from_before_a_restart_all_are_given_and_some_are_missing(
    events: Events, number: int
) -> None:
    events.add("a", {})
    missed, found = events.after(number)
    assert (missed, [event.kind for event in found]) == (True, ["a"])


def test_the_oldest_are_forgotten_and_it_is_said(events: Events) -> None:
    begin = events.newest
    for _ in range(MAX_EVENTS + 1):
        events.add("a", {})
    missed, found = events.after(begin)
    assert (missed, len(found)) == (True, MAX_EVENTS)
    assert events.after(begin + 1)[0] is False
    assert events.after(0)[0] is False


def test_what_a_client_has_ordered_has_its_address(events: Events) -> None:
    ordered = ("backend_state", "backend_weight", "backend_added", "backend_removed")
    found_out = ("backend_down", "backend_ejected")
    with events.ordered_by("127.0.0.1:5"):
        for kind in (*ordered, *found_out):
            events.add(kind, {"pool": "web", "backend": "a"})
    with events.ordered_by("127.0.0.1:6"):
        events.add("backend_state", {})
    events.add("backend_state", {})
    assert [event.get("by") for event in contents(events)] == [
        *["127.0.0.1:5"] * len(ordered),
        *[None] * len(found_out),
        "127.0.0.1:6",
        None,
    ]


class Sink:
    """Takes a stream."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    @property
    def ids(self) -> list[int]:
        lines = b"".join(self.written).split(b"\n")
        return [int(line[4:]) for line in lines if line.startswith(b"id: ")]


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_a_stream_has_what_there_is_and_what_comes(clock: Clock, events: Events, sink: Sink) -> None:
    events.add("a", {})
    stop = EventStream(events, events.newest - 1, sink).begin()
    assert sink.written == [b"retry: 1000\n\n"]
    clock.advance(0)
    events.add("b", {})
    events.add("c", {})
    clock.advance(0)
    newest = events.newest
    assert sink.ids == [newest - 2, newest - 1, newest]
    assert (
        sink.written[1]
        == b'id: 1000001\ndata: {"number":1000001,"time":"1970-01-01T00:16:40.000Z","kind":"a"}\n\n'
    )
    stop()
    events.add("d", {})
    assert not clock.getDelayedCalls()


def test_many_events_are_sent_in_several_turns(clock: Clock, events: Events, sink: Sink) -> None:
    for _ in range(2 * EVENTS_AT_ONCE + 1):
        events.add("a", {})
    EventStream(events, 0, sink).begin()
    clock.advance(0)
    counts = [written.count(b"id: ") for written in sink.written]
    assert counts == [0, EVENTS_AT_ONCE, EVENTS_AT_ONCE, 1]


def test_a_stream_says_what_it_has_missed(clock: Clock, events: Events, sink: Sink) -> None:
    EventStream(events, events.newest, sink).begin()
    for _ in range(MAX_EVENTS + 1):
        events.add("a", {})
    clock.advance(0)
    assert sink.written[1].startswith(b"event: missed\ndata: {}\n\nid: ")


def test_a_silent_stream_is_kept_alive(clock: Clock, events: Events, sink: Sink) -> None:
    EventStream(events, 0, sink).begin()
    clock.advance(KEEP_ALIVE_EVERY - 1)
    events.add("a", {})
    clock.advance(0)
    count = len(sink.written)
    clock.advance(KEEP_ALIVE_EVERY - 1)
    assert len(sink.written) == count
    clock.advance(1)
    assert sink.written[count:] == [b":\n\n"]
    clock.advance(KEEP_ALIVE_EVERY)
    assert sink.written[count:] == [b":\n\n"] * 2


def test_of_many_bans_there_is_one_event_a_second(clock: Clock, events: Events) -> None:
    report = FewerBans(events.add, clock.seconds, clock).report
    for number in range(5):
        report("ban", {"frontend": "web", "client": f"192.0.2.{number}", "seconds": 60.0})
    report("overload_begins", {"state": "memory"})
    clock.advance(1)
    found = [(event["kind"], event.get("client"), event.get("count")) for event in contents(events)]
    assert found == [("ban", "192.0.2.0", 1), ("overload_begins", None, None), ("ban", "192.0.2.4", 4)]
