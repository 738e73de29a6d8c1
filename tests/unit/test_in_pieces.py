"""Work of the admin side in pieces: others are served in between, and it gives way where they are known to
wait."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.control.in_pieces import (
    GIVES_WAY_FOR,
    MAX_WORK_IN_A_TURN,
    PAUSES_FOR,
    SHARE,
    WORK_BEFORE_PAUSE,
    WORK_IN_A_TURN,
    give_way_to,
    in_pieces,
)

PIECE = WORK_IN_A_TURN / 5


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
        self.paused: float = call.getTime() - self.reactor.seconds()
        work, arguments = call.func, call.args
        call.cancel()
        self.now += self.paused + others
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
    assert (scene.now, done.called) == (about(WORK_IN_A_TURN), False)
    assert scene.turn() == about(WORK_IN_A_TURN)
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert done.result == "a"
    assert not scene.reactor.getDelayedCalls()


def test_where_others_take_long_it_takes_as_long_up_to_a_bound(scene: Scene) -> None:
    scene.begin("a", 100)
    assert scene.turn(0.5 * MAX_WORK_IN_A_TURN) == about(0.5 * MAX_WORK_IN_A_TURN)
    assert scene.turn(0.050) == about(MAX_WORK_IN_A_TURN)
    assert scene.turn(0.0) == about(WORK_IN_A_TURN)


def test_much_work_together_takes_no_longer_and_each_has_its_turn(scene: Scene) -> None:
    works = [scene.begin(name, 10) for name in "abc"]
    assert scene.now == about(WORK_IN_A_TURN)
    for _ in range(3):
        assert scene.turn() <= WORK_IN_A_TURN + PIECE
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


class Others:
    """What is served beside the work, and known to wait or not.

    :ivar come_at: when something of theirs comes that waits from then on.
    """

    come_at = float("inf")

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        give_way_to(scene.reactor, self.wait)

    def wait(self) -> bool:
        return self._scene.now >= self.come_at


@pytest.fixture
def others(scene: Scene) -> Others:
    return Others(scene)


def test_while_no_others_wait_it_pauses_after_some_time(scene: Scene, others: Others) -> None:
    done = scene.begin("a", 100)
    assert scene.now == about(WORK_BEFORE_PAUSE)
    assert (scene.turn(), scene.paused) == (about(WORK_BEFORE_PAUSE), PAUSES_FOR)
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert done.result == "a"


def test_short_work_is_done_without_a_pause_while_no_others_wait(scene: Scene, others: Others) -> None:
    assert scene.begin("a", 20).result == "a"
    assert not scene.reactor.getDelayedCalls()


def test_others_wait_for_a_piece_and_then_it_leaves_them_the_processor(scene: Scene, others: Others) -> None:
    others.come_at = 2.5 * PIECE
    scene.begin("a", 100)
    assert scene.now == about(others.come_at)
    assert (scene.turn(), scene.paused) == (0, PAUSES_FOR)
    others.come_at = float("inf")
    assert scene.turn() == about(WORK_BEFORE_PAUSE)


def test_it_does_not_begin_while_others_wait(scene: Scene, others: Others) -> None:
    others.come_at = 0
    done = scene.begin("a", 3)
    assert (scene.worked, done.called) == ([], False)
    others.come_at = float("inf")
    scene.turn()
    assert done.result == "a"


def test_where_others_wait_all_the_time_it_has_a_share(scene: Scene, others: Others) -> None:
    others.come_at = 0
    scene.begin("a", 1000)
    for _ in range(5):
        worked = 0.0
        paused = 0.0
        while not worked:
            worked = scene.turn(0.0001)
            paused += PAUSES_FOR + 0.0001
        assert GIVES_WAY_FOR <= paused <= GIVES_WAY_FOR + PAUSES_FOR
        assert worked == about(SHARE * paused)
    assert scene.turn(0.1) == about(MAX_WORK_IN_A_TURN)


def test_several_works_give_way_together(scene: Scene, others: Others) -> None:
    works = [scene.begin(name, 30) for name in "ab"]
    others.come_at = scene.now
    assert scene.turn() == 0
    others.come_at = scene.now + PAUSES_FOR + 1.5 * PIECE
    assert scene.turn() == about(2 * PIECE)
    others.come_at = float("inf")
    while scene.reactor.getDelayedCalls():
        scene.turn()
    assert [work.result for work in works] == ["a", "b"]


def test_what_is_known_of_others_ends_with_them(scene: Scene) -> None:
    Others(scene).come_at = 0
    gc.collect()
    assert scene.begin("a", 3).result == "a"
