"""What is given back comes to one that waits: by lot, without delay, and past workers that do not answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.worker_loads import SharedWorkers
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.wakeups import (
    ANSWERED_WITHIN,
    LOOK_WITHOUT_WAKEUP_AFTER,
    LOOK_WITHOUT_WAKEUP_EVERY,
    WaitingHere,
    draw,
)

pytestmark = pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")

WORKERS = 3
QUEUE = ("queue", "web")


@given(st.lists(st.integers(0, 5), min_size=1).filter(any), st.floats(0, 1, exclude_max=True))
def test_one_is_drawn_that_waits(lines: list[int], lot: float) -> None:
    assert lines[draw(lines, lambda: lot)] > 0


def test_each_that_waits_has_the_same_chance() -> None:
    rng = Random(3)
    drawn = Counter(draw([1, 0, 3], rng.random) for _ in range(4000))
    assert drawn.keys() == {0, 2}
    assert 900 < drawn[0] < 1100


class Here:
    """Clients that wait in one worker for one of a number of things."""

    def __init__(self, things: list[str]) -> None:
        self.things = things
        self.served = 0
        self.looks = 0
        self.waiting: WaitingHere | None = None
        self.lines = 0

    def wait(self, lines: int) -> None:
        assert self.waiting is not None
        self.lines = lines
        self.waiting.say(lines)

    def has_capacity(self) -> bool:
        return bool(self.things)

    def serve_one(self) -> bool:
        self.looks += 1
        if not self.things or not self.lines:
            return False
        self.things.pop()
        self.served += 1
        self.wait(self.lines - 1)
        return True


class Scene:
    """Workers, and what they wait for."""

    def __init__(self) -> None:
        self.shared = SharedWorkers(WORKERS, {QUEUE: None})
        self.things: list[str] = []
        self.here = [Here(self.things) for _ in range(WORKERS)]
        for worker, here in zip(self.shared.workers, self.here, strict=True):
            here.waiting = worker.load.waiting(QUEUE, None, here, None)

    def give(self, column: int) -> None:
        waiting = self.here[column].waiting
        assert waiting is not None
        self.things.append("thing")
        waiting.give()

    def turn(self, column: int, seconds: float = 0.0) -> None:
        self.shared.workers[column].reactor.turn(seconds)

    @property
    def served(self) -> list[int]:
        return [here.served for here in self.here]


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.shared.close()


def settle(scene: Scene) -> None:
    for column in range(WORKERS):
        scene.turn(column)


def test_one_that_waits_here_is_served_at_once(scene: Scene) -> None:
    scene.here[0].wait(1)
    settle(scene)
    scene.give(0)
    assert scene.served == [1, 0, 0]


def test_one_that_waits_in_another_worker_is_served_when_it_handles_its_wakeup(scene: Scene) -> None:
    scene.here[2].wait(1)
    settle(scene)
    scene.give(0)
    assert scene.served == [0, 0, 0]
    scene.turn(1)
    scene.turn(2)
    assert scene.served == [0, 0, 1]


def test_no_worker_is_woken_where_nothing_waits(scene: Scene) -> None:
    scene.give(0)
    settle(scene)
    assert [here.looks for here in scene.here] == [0, 0, 0]
    assert not any(worker.reactor.getDelayedCalls() for worker in scene.shared.workers)


def test_a_worker_that_does_not_answer_is_passed_over(scene: Scene) -> None:
    scene.here[1].wait(1)
    settle(scene)
    scene.give(0)
    scene.here[2].wait(1)
    scene.turn(0, ANSWERED_WITHIN)
    scene.turn(2)
    assert scene.served == [0, 0, 1]


def test_one_that_has_not_handled_its_wakeup_is_not_woken_again_before_it_has(scene: Scene) -> None:
    scene.here[1].wait(5)
    settle(scene)
    scene.give(0)
    scene.here[2].wait(5)
    scene.turn(0, ANSWERED_WITHIN)
    scene.turn(2)
    for _ in range(3):
        scene.give(0)
        scene.turn(2)
    assert scene.served == [0, 0, 4]
    scene.turn(1)
    scene.things.clear()
    for _ in range(40):
        scene.here[2].wait(5)
        scene.here[1].wait(5)
        scene.give(0)
        settle(scene)
    assert scene.served[1] > 5


def test_what_was_taken_is_not_passed_on(scene: Scene) -> None:
    scene.here[1].wait(1)
    settle(scene)
    scene.give(0)
    scene.turn(1)
    scene.here[2].wait(1)
    scene.turn(2)
    looks = scene.here[2].looks
    scene.turn(0, ANSWERED_WITHIN)
    scene.turn(2)
    assert scene.here[2].looks == looks


def test_one_that_waits_looks_now_and_then_without_a_wakeup(scene: Scene) -> None:
    scene.here[1].wait(1)
    settle(scene)
    scene.things.append("of a worker that was killed before it rang")
    scene.turn(1, LOOK_WITHOUT_WAKEUP_EVERY)
    assert scene.served == [0, 1, 0]
    scene.turn(1, LOOK_WITHOUT_WAKEUP_EVERY)
    assert not scene.shared.workers[1].reactor.getDelayedCalls()


def test_one_that_looks_in_vain_looks_less_and_less_often_until_another_waits(scene: Scene) -> None:
    here = scene.here[1]
    here.wait(1)
    settle(scene)
    for _ in range(1000):
        scene.turn(1, 0.01)
    assert 50 <= here.looks <= 60
    here.wait(0)
    here.wait(1)
    settle(scene)
    here.looks = 0
    scene.turn(1, LOOK_WITHOUT_WAKEUP_AFTER)
    assert here.looks == 1


def test_one_that_begins_to_wait_looks_once_more(scene: Scene) -> None:
    scene.things.append("given back after it had looked, and before it said that it waits")
    scene.here[1].wait(1)
    assert scene.served == [0, 0, 0]
    scene.turn(1)
    assert scene.served == [0, 1, 0]


def test_as_many_are_served_as_wakeups_were_written(scene: Scene) -> None:
    scene.here[1].wait(3)
    settle(scene)
    scene.give(0)
    scene.give(2)
    scene.turn(1)
    assert scene.served == [0, 2, 0]


def test_one_that_cannot_be_served_does_not_keep_the_others_from_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise ZeroDivisionError

    scene.here[1].wait(1)
    settle(scene)
    monkeypatch.setattr(scene.here[1], "serve_one", fail)
    scene.give(0)
    scene.turn(1)
    scene.here[2].wait(1)
    settle(scene)
    assert scene.served == [0, 0, 1]


def test_many_givers_share_by_lot(scene: Scene) -> None:
    for column, lines in enumerate((100, 300, 0)):
        scene.here[column].wait(lines)
    settle(scene)
    for _ in range(200):
        scene.give(2)
        settle(scene)
    served = scene.served
    assert sum(served) == 200
    assert 30 <= served[0] <= 75
