"""Work of the admin side in pieces: others are served in between, and have at least as much of the time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.control.in_pieces import MAX_WORK_IN_A_TURN, MIN_WORK_IN_A_TURN, in_pieces

PIECE = MIN_WORK_IN_A_TURN / 5


def about(seconds: float) -> Any:
    """Give what a time is equal to that is so long, but for a piece."""
    return pytest.approx(seconds, abs=1.01 * PIECE)


class Scene:
    """A reactor, and a clock of its CPU on which pieces take a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Clock()
        self.now = 0.0
        self.worked: list[str] = []
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def pieces(self, name: str, count: int) -> Generator[None, None, str]:
        for _ in range(count):
            self.now += PIECE
            self.worked.append(name)
            yield
        return name

    def begin(self, name: str, count: int) -> Deferred[str]:
        return in_pieces(self.reactor, self.pieces(name, count))

    def turn(self, others: float = 0.0) -> float:
        """Let others work for a while, and then have a turn; gives how long the work took."""
        call: Any
        (call,) = self.reactor.getDelayedCalls()
        work, arguments = call.func, call.args
        call.cancel()
        self.now += others
        before = self.now
        work(*arguments)
        return self.now - before


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_short_work_is_done_at_once(scene: Scene) -> None:
    assert scene.begin("a", 3).result == "a"
    assert not scene.reactor.getDelayedCalls()


def test_long_work_lets_others_go_on(scene: Scene) -> None:
    done = scene.begin("a", 12)
    assert (scene.now, done.called) == (about(MIN_WORK_IN_A_TURN), False)
    assert scene.turn() == about(MIN_WORK_IN_A_TURN)
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert done.result == "a"
    assert not scene.reactor.getDelayedCalls()


def test_where_others_take_long_it_takes_as_long_up_to_a_bound(scene: Scene) -> None:
    scene.begin("a", 100)
    assert scene.turn(0.5 * MAX_WORK_IN_A_TURN) == about(0.5 * MAX_WORK_IN_A_TURN)
    assert scene.turn(0.050) == about(MAX_WORK_IN_A_TURN)
    assert scene.turn(0.0) == about(MIN_WORK_IN_A_TURN)


def test_much_work_together_takes_no_longer_and_each_has_its_turn(scene: Scene) -> None:
    works = [scene.begin(name, 10) for name in "abc"]
    assert scene.now == about(MIN_WORK_IN_A_TURN)
    for _ in range(3):
        assert scene.turn() <= MIN_WORK_IN_A_TURN + PIECE
    assert set(scene.worked) == {"a", "b", "c"}
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert [work.result for work in works] == ["a", "b", "c"]


def test_what_has_failed_fails_alone(scene: Scene) -> None:
    def failing() -> Generator[None, None, None]:
        yield from scene.pieces("a", 8)
        raise ZeroDivisionError

    failures: list[Failure] = []
    in_pieces(scene.reactor, failing()).addErrback(failures.append)
    other = scene.begin("b", 8)
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert failures[0].check(ZeroDivisionError)
    assert other.result == "b"


def test_work_that_follows_from_work_is_done_too(scene: Scene) -> None:
    found: list[Any] = []

    def follow(name: str) -> None:
        scene.begin("b", 8).addCallback(found.append)

    scene.begin("a", 8).addCallback(follow)
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert found == ["b"]
