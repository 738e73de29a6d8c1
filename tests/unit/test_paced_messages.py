"""One message of a kind is under way, and what changes meanwhile is in the next one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.workers.paced_messages import Content, PacedMessages


class Bench:
    """Numbers that are to be sent, three in a message at most."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.waiting: list[int] = []
        self.sent: list[list[int]] = []
        self.under_way = 0
        self.paced = PacedMessages(self.clock, self.send, self.take)

    def send(self, content: Content) -> None:
        self.sent.append(content["numbers"])
        self.under_way += 1

    def take(self) -> Content | None:
        taken, self.waiting = self.waiting[:3], self.waiting[3:]
        return {"numbers": taken} if taken else None

    def add(self, number: int) -> None:
        self.waiting.append(number)
        self.paced.wake()

    def turn(self) -> None:
        self.clock.advance(0)

    def is_taken(self) -> None:
        if self.under_way:
            self.under_way -= 1
            self.paced.taken()


def test_what_comes_in_one_turn_is_one_message() -> None:
    bench = Bench()
    bench.add(1)
    bench.add(2)
    assert bench.sent == []
    bench.turn()
    assert bench.sent == [[1, 2]]


def test_the_next_one_waits_until_the_one_before_is_taken() -> None:
    bench = Bench()
    bench.add(1)
    bench.turn()
    for number in range(2, 6):
        bench.add(number)
        bench.turn()
    assert bench.sent == [[1]]
    bench.is_taken()
    assert bench.sent == [[1], [2, 3, 4]]
    bench.is_taken()
    assert bench.sent == [[1], [2, 3, 4], [5]]
    bench.is_taken()
    assert bench.paced.is_idle


def test_all_goes_at_once_where_that_is_asked_for() -> None:
    bench = Bench()
    bench.waiting = list(range(7))
    bench.paced.send_all()
    assert bench.sent == [[0, 1, 2], [3, 4, 5], [6]]
    bench.add(7)
    bench.turn()
    for _ in range(2):
        bench.is_taken()
    assert len(bench.sent) == 3
    bench.is_taken()
    assert bench.sent[3] == [7]


def test_once_it_is_closed_nothing_is_sent() -> None:
    bench = Bench()
    bench.add(1)
    bench.paced.close()
    bench.add(2)
    bench.turn()
    bench.paced.taken()
    bench.paced.send_all()
    assert bench.sent == []
    assert bench.clock.getDelayedCalls() == []


steps = st.lists(st.sampled_from(("add", "turn", "taken", "all")), max_size=60)


@given(steps)
def test_all_is_sent_once_and_in_order(given_steps: list[str]) -> None:
    bench = Bench()
    count = 0
    at_once = 0
    for step in given_steps:
        if step == "add":
            bench.add(count)
            count += 1
        elif step == "turn":
            bench.turn()
        elif step == "taken":
            bench.is_taken()
        else:
            bench.paced.send_all()
            at_once = bench.under_way
        at_once = min(at_once, bench.under_way)
        assert bench.under_way <= max(1, at_once)
    bench.turn()
    while bench.under_way:
        bench.is_taken()
        bench.turn()
    assert [number for numbers in bench.sent for number in numbers] == list(range(count))
    assert bench.paced.is_idle
