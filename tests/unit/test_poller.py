"""The poller calls whom something has happened to, in bounded rounds, and outlives their exceptions."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from support.network import no_logged_failure
from support.turning_clock import TurningClock
from tcpbalance.net.poller import (
    ENDS_A_MESSAGE,
    ENDS_A_ROUND,
    ERROR,
    EVENTS_A_ROUND,
    HANG_UP,
    PEER_ENDED,
    READABLE,
    ROUNDS_A_TURN,
    TIME_A_TURN,
    URGENT,
    WRITABLE,
    Poller,
)

IN = select.EPOLLIN


class Reactor(TurningClock):
    """A clock that knows who is read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


@define
class Events:
    """An epoll that reports what it is given.

    :ivar rounds: what each poll brings.
    :ivar batches: what each poll brings before those.
    :ivar polls: how many there were.
    """

    rounds: list[list[int]] = field(factory=list)
    batches: list[list[tuple[int, int]]] = field(factory=list)
    registered: list[int] = field(factory=list)
    polls: int = 0
    closed: bool = False
    fails: bool = False

    def fileno(self) -> int:
        return 3

    def register(self, fd: int, eventmask: int) -> None:
        self.registered.append(fd)

    def modify(self, fd: int, eventmask: int) -> None:
        assert fd in self.registered

    def unregister(self, fd: int) -> None:
        self.registered.remove(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        assert (timeout, maxevents) == (0, EVENTS_A_ROUND)
        self.polls += 1
        if self.fails:
            raise OSError("no more")
        if self.batches:
            return self.batches.pop(0)
        return [(number, IN) for number in self.rounds.pop(0)] if self.rounds else []

    def batch(self, events: int, numbers: Iterable[int]) -> None:
        """Report the same of many, as many in each poll as there may be; of none, find nothing in one."""
        found = [(number, events) for number in numbers]
        for start in range(0, len(found) or 1, EVENTS_A_ROUND):
            self.batches.append(found[start : start + EVENTS_A_ROUND])

    def close(self) -> None:
        self.closed = True


@define(eq=False)
class Heard:
    """A handler that writes down what it hears, and does as it is told.

    :param name: what it calls itself.
    :param diary: where it is written down.
    :param then: what it does on an event.
    """

    name: str
    diary: list[str]
    then: Callable[[], None] = lambda: None
    on_its_end: Callable[[], None] = lambda: None

    def on_events(self, events: int) -> None:
        self.diary.append(self.name)
        self.then()

    def on_failure(self, failure: Failure) -> None:
        self.diary.append(f"{self.name} failed: {failure.value}")
        self.on_its_end()

    def on_teardown(self) -> None:
        self.diary.append(f"{self.name} torn down")


class Stage:
    """A poller, what it polls, and what its handlers have heard."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.events = Events()
        self.diary: list[str] = []
        self.poller = Poller(self.reactor, lambda: self.events)
        self.poller.open()

    def handler(self, number: int, name: str = "", **does: Any) -> Heard:
        handler = Heard(name or str(number), self.diary, **does)
        self.poller.watch(number, handler.on_events)
        return handler


def void(_: object) -> None:
    """Give nothing."""


def raise_error() -> None:
    raise LookupError("broken")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_each_hears_of_its_own(stage: Stage) -> None:
    for number in (5, 6, 7):
        stage.handler(number)
    stage.events.rounds = [[7, 5], [5]]
    stage.poller.doRead()
    assert stage.diary == ["7", "5", "5"]
    assert stage.events.polls == 3, "the last found nothing"


def test_a_turn_is_a_bounded_number_of_rounds(stage: Stage) -> None:
    stage.handler(5)
    stage.events.rounds = [[5]] * 100
    stage.poller.doRead()
    assert stage.events.polls == ROUNDS_A_TURN
    assert stage.reactor.getDelayedCalls() == [], "the epoll can still be read, and the reactor comes back"


def test_who_has_more_work_has_it_in_the_next_turn_after_its_events(stage: Stage) -> None:
    def work() -> None:
        stage.diary.append("work")

    busy: Heard = stage.handler(5, then=lambda: stage.poller.again(busy, work))
    stage.handler(6)
    stage.events.rounds = [[5, 6], []]
    stage.poller.doRead()
    assert stage.diary == ["5", "6"]
    stage.events.rounds = [[6]]
    stage.reactor.turn()
    assert stage.diary == ["5", "6", "6", "work"]


def test_who_always_has_more_work_has_it_once_a_turn(stage: Stage) -> None:
    def work() -> None:
        stage.diary.append("work")
        stage.poller.again(busy, work)

    busy = stage.handler(5, then=work)
    stage.handler(6)
    stage.events.rounds = [[5], *[[6]] * (ROUNDS_A_TURN - 1)]
    stage.poller.doRead()
    assert stage.diary == ["5", "work", *["6"] * (ROUNDS_A_TURN - 1)]
    for turns in (1, 2):
        (call,) = stage.reactor.getDelayedCalls()
        assert call.getTime() == stage.reactor.seconds()
        stage.poller.doRead()
        assert stage.diary.count("work") == 1 + turns


def test_of_many_who_have_more_work_a_few_have_it_in_one_turn_with_a_look_between(stage: Stage) -> None:
    handler = stage.handler(5)
    for number in range(3 * ROUNDS_A_TURN):
        stage.poller.again(handler, lambda name=f"work {number}": stage.diary.append(name))  # type: ignore[misc]
    stage.events.rounds = [[5]] * ROUNDS_A_TURN
    stage.poller.doRead()
    expected = [entry for number in range(ROUNDS_A_TURN) for entry in ("5", f"work {number}")]
    assert stage.diary == expected
    while stage.reactor.getDelayedCalls():
        stage.reactor.turn()
    assert stage.diary[-1] == f"work {3 * ROUNDS_A_TURN - 1}", "in the order in which they asked"


def test_work_for_a_closed_board_is_never_done(stage: Stage) -> None:
    handler = stage.handler(5)
    stage.poller.close()
    stage.poller.again(handler, lambda: stage.diary.append("too late"))
    assert stage.reactor.getDelayedCalls() == []
    stage.poller.doRead()
    assert stage.diary == []


def test_a_poll_that_fails_leaves_the_next_turn_as_it_should_be(stage: Stage) -> None:
    handler = stage.handler(5)
    stage.events.fails = True
    with pytest.raises(OSError, match="no more"):
        stage.poller.doRead()
    stage.events.fails = False
    stage.poller.again(handler, lambda: stage.diary.append("work"))
    stage.reactor.turn()
    assert stage.diary == ["work"]


def test_when_the_reactor_is_no_more_everybody_hears_of_it(stage: Stage) -> None:
    for number in (5, 6):
        stage.handler(number)
    stage.poller.connectionLost(Failure(ConnectionLost()))
    assert sorted(stage.diary) == ["5 torn down", "6 torn down"]
    assert stage.events.closed


def test_one_that_raises_when_the_reactor_is_no_more_keeps_no_other_from_hearing_of_it(stage: Stage) -> None:
    class Stubborn(Heard):
        def on_teardown(self) -> None:
            raise_error()

    for number in (5, 6):
        stage.poller.watch(number, Stubborn(str(number), stage.diary).on_events)
    with pytest.raises(AssertionError, match="could not be ended"), no_logged_failure():
        stage.poller.connectionLost(Failure(ConnectionLost()))
    assert stage.events.closed


def test_work_asked_for_outside_of_a_turn_is_done_though_no_event_comes(stage: Stage) -> None:
    handler = stage.handler(5)
    for name in ("one", "two"):
        stage.poller.again(handler, lambda name=name: stage.diary.append(name))  # type: ignore[misc]
    assert stage.diary == []
    assert len(stage.reactor.getDelayedCalls()) == 1
    stage.reactor.turn()
    assert stage.diary == ["one", "two"]
    assert stage.reactor.getDelayedCalls() == []


def test_a_handler_that_raises_is_logged_and_told_and_others_are_served(stage: Stage) -> None:
    stage.handler(5, then=raise_error)
    stage.handler(6)
    stage.events.rounds = [[5, 6]]
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        stage.poller.doRead()
    assert stage.diary == ["5", "5 failed: broken", "6"]


def test_work_that_raises_is_told_to_whom_it_was_for(stage: Stage) -> None:
    handler = stage.handler(5)
    stage.poller.again(handler, raise_error)
    stage.poller.again(handler, lambda: stage.diary.append("others"))
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        stage.poller.doRead()
    assert stage.diary == ["5 failed: broken", "others"]


def test_a_handler_that_cannot_even_be_ended_is_logged(stage: Stage) -> None:
    stage.handler(5, then=raise_error, on_its_end=raise_error)
    stage.handler(6)
    stage.events.rounds = [[5, 6]]
    with pytest.raises(AssertionError, match="could not be ended"), no_logged_failure():
        stage.poller.doRead()
    assert stage.diary[-1] == "6"


def test_an_event_of_a_descriptor_closed_meanwhile_is_nobodys(stage: Stage) -> None:
    stage.handler(5, then=lambda: stage.poller.forget(6))
    stage.handler(6)
    stage.events.rounds = [[5, 6]]
    stage.poller.doRead()
    assert stage.diary == ["5"]


def test_a_number_given_to_another_socket_is_registered_for_that(stage: Stage) -> None:
    """The kernel has forgotten the one that was closed; the event it had reported says nothing of the new."""

    def replace() -> None:
        stage.poller.forget(6)
        stage.handler(6, "new six")

    stage.handler(5, then=replace)
    stage.handler(6)
    stage.events.rounds = [[5, 6]]
    stage.poller.doRead()
    assert stage.diary == ["5"]
    assert stage.events.registered == [5, 6, 6]
    stage.events.rounds = [[6]]
    stage.poller.doRead()
    assert stage.diary == ["5", "new six"]


def test_of_two_handlers_of_a_socket_the_later_is_called(stage: Stage) -> None:
    stage.handler(5, "first")
    stage.handler(5, "second")
    stage.events.rounds = [[5]]
    stage.poller.doRead()
    assert stage.diary == ["second"]
    assert stage.events.registered == [5], "registered once"


def test_a_descriptor_that_stays_open_is_unregistered(stage: Stage) -> None:
    stage.handler(5)
    stage.poller.unwatch(5)
    stage.poller.unwatch(5)
    stage.events.rounds = [[5]]
    stage.poller.doRead()
    assert (stage.diary, stage.events.registered) == ([], [])


def test_opening_and_closing_again_does_nothing(stage: Stage) -> None:
    stage.poller.open()
    assert stage.reactor.readers == [stage.poller]
    stage.poller.again(stage.handler(5), lambda: stage.diary.append("too late"))
    for _ in range(2):
        stage.poller.close()
    assert (stage.reactor.readers, stage.reactor.getDelayedCalls(), stage.poller.fileno()) == ([], [], -1)
    assert stage.events.closed
    stage.poller.doRead()
    assert stage.diary == []


def test_closing_in_the_middle_of_a_round(stage: Stage) -> None:
    stage.handler(5, then=stage.poller.close)
    stage.handler(6)
    stage.events.rounds = [[5, 6], [6]]
    stage.poller.doRead()
    assert stage.diary == ["5"]
    assert stage.reactor.getDelayedCalls() == []


END = select.EPOLLIN | select.EPOLLRDHUP


@pytest.mark.parametrize("ends", [200, 2000])
def test_a_message_does_not_wait_for_the_ends_that_were_reported_before_it(stage: Stage, ends: int) -> None:
    """As when a client leaves with all its connections at once."""
    for number in range(100, 100 + ends):
        stage.handler(number, "end")
    stage.handler(5)
    stage.events.batch(END, range(100, 100 + ends))
    stage.events.batch(IN, [5])
    stage.poller.doRead()
    assert "5" in stage.diary
    assert stage.diary.index("5") <= 2 * ENDS_A_ROUND
    while stage.reactor.getDelayedCalls():
        stage.reactor.turn()
    assert stage.diary.count("end") == ends
    assert stage.events.polls <= 3 * ends / ENDS_A_ROUND


def test_of_many_ends_a_bounded_number_is_told_in_a_turn(stage: Stage) -> None:
    for number in range(100, 2100):
        stage.handler(number)
    stage.events.batch(END, range(100, 2100))
    stage.poller.doRead()
    told = [0, len(stage.diary)]
    while stage.reactor.getDelayedCalls():
        stage.reactor.turn()
        told.append(len(stage.diary))
    assert told[-1] == 2000
    assert max(after - before for before, after in pairwise(told)) <= 2 * ENDS_A_ROUND * ROUNDS_A_TURN


def test_a_few_ends_are_told_as_they_are_found(stage: Stage) -> None:
    numbers = range(100, 100 + ENDS_A_ROUND)
    for number in numbers:
        stage.handler(number)
    stage.events.batch(END, numbers)
    stage.poller._report()
    assert stage.diary == [str(number) for number in numbers]


def test_connections_of_one_message_do_not_wait_for_those_that_came_after_them(stage: Stage) -> None:
    """Each has two ends, and its answer comes with one of them: under a steady load of these, an end that
    waited would be told after those of connections that came later."""
    numbers = range(100, 100 + EVENTS_A_ROUND // 3 * 3)
    for number in numbers:
        stage.handler(number)
    ends = [(number, END) for number in numbers if number % 3]
    messages = [(number, IN) for number in numbers if number % 3 == 0]
    stage.events.batches = [ends + messages]
    stage.poller._report()
    assert stage.diary == [str(number) for number, _ in ends + messages]


def test_messages_among_many_ends_give_those_no_more_than_their_share(stage: Stage) -> None:
    for number in range(100, 100 + EVENTS_A_ROUND):
        stage.handler(number, "end")
    stage.events.batch(END, range(100, 100 + EVENTS_A_ROUND - 10))
    stage.events.batches[0] += [
        (number, IN) for number in range(100 + EVENTS_A_ROUND - 10, 100 + EVENTS_A_ROUND)
    ]
    stage.poller._report()
    assert len(stage.diary) == 10 + 10 * ENDS_A_MESSAGE
    assert stage.events.polls == 1


@pytest.mark.parametrize("events", range((READABLE | WRITABLE | URGENT) + 1))
@pytest.mark.parametrize("end", [ERROR, HANG_UP, PEER_ENDED, PEER_ENDED | HANG_UP | ERROR])
def test_an_event_is_an_end_whatever_else_it_reports(stage: Stage, events: int, end: int) -> None:
    numbers = range(100, 100 + EVENTS_A_ROUND)
    for number in numbers:
        stage.handler(number)
    stage.events.batch(events | end, numbers)
    stage.poller._report()
    assert len(stage.diary) == ENDS_A_ROUND


@pytest.mark.parametrize("events", range(1, (READABLE | WRITABLE | URGENT) + 1))
def test_what_has_no_end_does_not_wait(stage: Stage, events: int) -> None:
    numbers = range(100, 100 + EVENTS_A_ROUND)
    for number in numbers:
        stage.handler(number)
    stage.events.batch(events, numbers)
    stage.poller._report()
    assert len(stage.diary) == EVENTS_A_ROUND


def test_where_ends_come_faster_than_they_are_told_the_first_and_the_last_have_the_same_share(
    stage: Stage,
) -> None:
    """Neither does an end wait for ever, nor each that comes now for all before it."""
    turns = 10
    come = range(100, 100 + turns * ROUNDS_A_TURN * EVENTS_A_ROUND)
    for number in come:
        stage.handler(number)
    for first in come[::EVENTS_A_ROUND]:
        stage.events.batch(END, range(first, first + EVENTS_A_ROUND))
        stage.events.batch(IN, [])  # the end of the round
    for _ in range(turns):
        stage.poller.doRead()
    share = turns * ROUNDS_A_TURN * ENDS_A_ROUND // 2
    assert {str(number) for number in come[:share]} <= set(stage.diary)
    last = {str(number) for number in come[-EVENTS_A_ROUND:]}
    assert len(last.intersection(stage.diary)) == ENDS_A_ROUND + ENDS_A_ROUND // 2


def test_a_few_hundred_ends_are_told_in_their_order_though_others_come(stage: Stage) -> None:
    """The answers of connections with one message come with ends: none waits for those that came later."""
    first = range(100, 100 + 3 * EVENTS_A_ROUND)
    later = range(1000, 1000 + 20 * 2 * ENDS_A_ROUND)
    for number in [*first, *later]:
        stage.handler(number)
    stage.events.batch(END, first)
    stage.events.batch(IN, [])
    for start in later[:: 2 * ENDS_A_ROUND]:
        stage.events.batch(END, range(start, start + 2 * ENDS_A_ROUND))
    stage.reactor.run_out()
    stage.poller.doRead()
    stage.reactor.run_out()
    told = [number for number in map(int, stage.diary) if number in first]
    assert told == list(first)


def test_an_end_that_waits_is_forgotten_with_its_descriptor(stage: Stage) -> None:
    """Its number may be another connection's by the time it would be told."""
    many = range(100, 100 + 2 * EVENTS_A_ROUND)
    for number in many:
        stage.handler(number, "end")
    stage.events.batch(END, many)
    stage.events.batch(IN, [])
    stage.poller._report()
    waiting = list(stage.poller._ends)
    assert len(waiting) == len(many) - ENDS_A_ROUND
    stage.poller.forget(waiting[0])
    stage.poller.unwatch(waiting[1])
    for number in waiting[:2]:
        stage.handler(number, "new")
    stage.poller.doRead()
    stage.reactor.run_out()
    assert stage.diary.count("new") == 0
    assert stage.diary.count("end") == len(many) - 2


def test_an_end_that_waits_and_raises_ends_its_own(stage: Stage) -> None:
    many = range(100, 100 + 2 * EVENTS_A_ROUND)
    for number in many:
        stage.handler(number, "end", then=raise_error)
    stage.events.batch(END, many)
    stage.poller.again(stage.handler(5), lambda: None)
    with pytest.raises(AssertionError, match="LookupError: broken"), no_logged_failure():
        stage.reactor.run_out()
    assert stage.diary.count("end failed: broken") == len(many)


def test_ends_that_wait_are_no_more_once_the_board_is_closed(stage: Stage) -> None:
    many = range(100, 100 + 20 * EVENTS_A_ROUND)
    for number in many:
        stage.handler(number)
    stage.events.batch(END, many)
    stage.poller.doRead()
    told = len(stage.diary)
    assert told < len(many)
    stage.poller.close()
    assert stage.reactor.getDelayedCalls() == []
    stage.poller.doRead()
    assert len(stage.diary) == told


def test_no_round_begins_once_the_time_of_a_turn_is_over(stage: Stage) -> None:
    """As in a storm of handshakes, of which each takes half a millisecond."""
    stage.handler(5, then=lambda: stage.reactor.advance(TIME_A_TURN / 2))
    stage.events.rounds = [[5]] * 100
    stage.poller.doRead()
    assert stage.diary == ["5"] * 2


def test_one_that_came_before_the_look_past_many_ends_is_not_passed_over(stage: Stage) -> None:
    """Its events are its own: they were collected after it had been registered."""
    numbers = range(100, 100 + EVENTS_A_ROUND)
    for number in numbers:
        stage.handler(number)
    stage.handler(100, then=lambda: void(stage.handler(5)))
    stage.events.batch(select.EPOLLRDHUP, numbers)
    stage.events.batch(IN, [5])
    stage.poller.doRead()
    assert "5" in stage.diary


def test_when_the_reactor_is_no_more_those_that_have_just_come_hear_of_it_too(stage: Stage) -> None:
    stage.handler(5)
    stage.poller.doRead()
    stage.handler(6)
    stage.poller.connectionLost(Failure(ConnectionLost()))
    assert sorted(stage.diary) == ["5 torn down", "6 torn down"]


def test_the_later_handler_of_a_socket_is_called_whenever_it_comes(stage: Stage) -> None:
    stage.handler(5, "first")
    stage.poller.doRead()
    stage.handler(5, "second")
    stage.events.rounds = [[5]]
    stage.poller.doRead()
    assert stage.diary == ["second"]
    assert stage.events.registered == [5], "registered once"


@pytest.mark.parametrize("is_new", [True, False])
def test_one_that_is_forgotten_hears_of_nothing(stage: Stage, is_new: bool) -> None:
    stage.handler(5)
    if not is_new:
        stage.poller.doRead()
    stage.poller.forget(5)
    stage.events.rounds = [[5]]
    stage.poller.doRead()
    assert stage.diary == []


@pytest.mark.parametrize("is_new", [True, False])
def test_one_that_is_not_watched_any_more_is_unregistered(stage: Stage, is_new: bool) -> None:
    stage.handler(5)
    if not is_new:
        stage.poller.doRead()
    stage.poller.unwatch(5)
    stage.events.rounds = [[5]]
    stage.poller.doRead()
    assert (stage.diary, stage.events.registered) == ([], [])


def test_of_many_ends_that_of_a_descriptor_closed_meanwhile_is_not_reported(stage: Stage) -> None:
    numbers = range(100, 100 + EVENTS_A_ROUND)
    for number in numbers:
        stage.handler(number)
    stage.handler(100, then=lambda: stage.poller.forget(101))
    stage.events.batch(select.EPOLLRDHUP, numbers)
    stage.poller.doRead()
    assert "100" in stage.diary
    assert "101" not in stage.diary
