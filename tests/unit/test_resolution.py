"""One name: when it is asked for, who waits, and what is written in the log."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from support.names import OpenEngine, found
from support.sockets import fired
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver import resolver as resolver_module
from tcpbalance.net.resolver.answer import Reply, Verdict
from tcpbalance.net.resolver.resolver import Resolver

ONE, TWO = "10.0.0.1", "10.0.0.2"
FAILED = Reply.failed(Verdict.SERVER_FAILURE)


def told(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


class Scene:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.engine = OpenEngine()
        self.resolver = Resolver(self.clock, ResolverConfig(**settings), self.engine, Random(1))

    @property
    def name(self) -> Any:
        return self.resolver.resolution("db.internal")

    def addresses(self) -> list[str]:
        targets = self.name.targets(1)
        return [] if targets is None else sorted(place[0] for _, place in targets.order())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_those_that_wait_share_one_question(scene: Scene) -> None:
    waiting = [fired(scene.name.look_up()) for _ in range(20)]
    assert scene.engine.asked == ["db.internal"]
    scene.engine.answer(found(ONE))
    assert waiting == [[None]] * 20
    assert scene.addresses() == ["10.0.0.1"]


def test_a_followed_name_is_asked_for_in_the_background(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    for turn in range(2, 6):
        scene.clock.advance(61.0)
        assert len(scene.engine.asked) == turn
        # Nobody waits although the answer is out of date and the next one is not there.
        scene.clock.advance(5.0)
        assert scene.name.look_up() is None
        assert scene.addresses() == ["10.0.0.1"]
        scene.engine.answer(found(ONE))


def test_a_name_is_asked_for_in_the_background_until_its_last_follower_has_gone(scene: Scene) -> None:
    for _ in range(2):
        scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    scene.resolver.unfollow(["db.internal", "db.internal", "never.followed"])
    scene.clock.advance(61.0)
    assert len(scene.engine.asked) == 2
    scene.resolver.unfollow(["db.internal"])
    scene.engine.answer(found(TWO))
    assert scene.addresses() == ["10.0.0.2"]
    scene.clock.advance(600.0)
    assert len(scene.engine.asked) == 2
    assert scene.clock.getDelayedCalls() == []
    assert scene.name.may_be_dropped
    scene.resolver.follow(["db.internal"], 5.0)
    assert len(scene.engine.asked) == 3


def test_a_name_that_is_not_followed_any_more_has_no_call_for_later(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    scene.resolver.unfollow(["db.internal"])
    assert scene.clock.getDelayedCalls() == []


def test_a_new_answer_counts_at_once(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    assert scene.addresses() == ["10.0.0.1"]
    scene.clock.advance(61.0)
    scene.engine.answer(found(ONE, TWO))
    assert scene.addresses() == ["10.0.0.1", "10.0.0.2"]


def test_no_dial_waits_while_the_servers_fail(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    for _ in range(10):
        scene.clock.advance(61.0)
        assert scene.name.look_up() is None
        scene.engine.answer(FAILED)
        assert scene.name.look_up() is None
    assert scene.addresses() == ["10.0.0.1"]


def test_a_name_that_nobody_follows_is_asked_for_when_its_time_is_over(scene: Scene) -> None:
    scene.name.look_up()
    scene.engine.answer(found(ONE))
    assert scene.name.look_up() is None
    assert scene.clock.getDelayedCalls() == []
    scene.clock.advance(61.0)
    waiting = fired(scene.name.look_up())
    assert (waiting, len(scene.engine.asked)) == ([], 2)
    scene.engine.answer(FAILED)
    assert waiting == [None]
    assert scene.addresses() == ["10.0.0.1"]
    # From now on nobody waits for a server that fails.
    assert scene.name.look_up() is None
    scene.clock.advance(1.0)
    assert scene.name.look_up() is None
    assert len(scene.engine.asked) == 3


def test_a_name_that_is_not_known_fails_at_once_between_two_questions(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    assert fired(scene.name.look_up()) == []
    scene.engine.answer(FAILED)
    for _ in range(100):
        assert scene.name.look_up() is None
    assert len(scene.engine.asked) == 1
    assert scene.name.is_open
    scene.clock.advance(1.0)
    waiting = fired(scene.name.look_up())
    assert waiting == []
    scene.engine.answer(found(ONE))
    assert waiting == [None]
    assert not scene.name.is_open


def test_the_start_waits_for_all_names_but_not_for_ever(scene: Scene) -> None:
    started = fired(scene.resolver.follow(["a.internal", "b.internal", "a.internal"], 5.0))
    assert scene.engine.asked == ["a.internal", "b.internal"]
    scene.engine.open.pop(0).callback(found(ONE))
    assert started == []
    scene.clock.advance(5.0)
    assert started == [["b.internal"]]
    scene.engine.answer(found(ONE))
    assert fired(scene.resolver.follow(["a.internal", "b.internal"], 5.0)) == [[]]
    assert fired(scene.resolver.follow([], 5.0)) == [[]]


def test_the_log_tells_a_flip_once(scene: Scene) -> None:
    with capturedLogs() as log:
        scene.resolver.follow(["db.internal"], 5.0)
        scene.engine.answer(found(ONE, TWO))
        scene.clock.advance(61.0)
        for _ in range(10):
            scene.engine.answer(FAILED)
            scene.clock.advance(30.0)
        scene.engine.answer(found(ONE, TWO))
        scene.clock.advance(61.0)
        scene.engine.answer(found(ONE))
    assert told(log) == [
        "db.internal: server failure (keeping 2 addresses, 1 m old)",
        "db.internal: good answer again (2 addresses, after 5 m)",
    ]


def test_a_dial_that_began_before_a_new_answer_tells_what_it_has_met(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE, TWO))
    dial = scene.name.targets(1)
    scene.clock.advance(61.0)
    scene.engine.answer(found(TWO, ONE))
    dial.failed((socket.AF_INET, (ONE, 1)))
    assert {scene.name.targets(1).order()[-1] for _ in range(20)} == {(socket.AF_INET, (ONE, 1))}


def test_an_engine_that_raises_is_asked_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    works = scene.engine.ask

    def ask(host: str) -> Any:
        if not asked:
            asked.append(host)
            raise RuntimeError("broken on purpose")
        return works(host)

    asked: list[str] = []
    monkeypatch.setattr(scene.engine, "ask", ask)
    with capturedLogs() as log:
        assert fired(scene.resolver.follow(["db.internal"], 5.0)) == [[]]
    assert "db.internal: the lookup failed" in told(log)[0]
    scene.clock.advance(1.0)
    scene.engine.answer(found(ONE))
    assert scene.addresses() == [ONE]


def names(count: int) -> list[str]:
    return [f"{number}.internal" for number in range(count)]


def test_many_names_that_change_at_one_time_are_few_lines_and_all_named(scene: Scene) -> None:
    scene.resolver.follow(names(1000), 5.0)
    scene.engine.answer(found(ONE))
    scene.clock.advance(61.0)
    with capturedLogs() as log:
        scene.engine.open[-1].callback(Reply.failed(Verdict.TIMED_OUT))
        scene.engine.open.pop()
        scene.engine.answer(FAILED)
        scene.clock.advance(1.0)
    first, *rest = told(log)
    *others, last = scene.engine.asked[1000:2000]
    assert first == f"{last}: name server timed out (keeping 1 address, 1 m old)"
    assert len(rest) == 20
    kept = "(keeping 1 address, 1 m old)"
    assert rest[0].startswith(f"server failure: {others[0]} {kept}, {others[1]} {kept}, ")
    named = [part.strip(" :").rpartition(" ")[2] for line in rest for part in line.split("(")[:-1]]
    assert named == others


def test_what_is_held_back_is_written_at_the_end(scene: Scene) -> None:
    scene.resolver.follow(names(3), 5.0)
    with capturedLogs() as log:
        scene.engine.answer(FAILED)
        scene.resolver.stop()
    assert told(log) == [
        "0.internal: server failure (no address of it is known)",
        "server failure: 1.internal (no address of it is known), 2.internal (no address of it is known)",
    ]
    assert scene.clock.getDelayedCalls() == []


def test_names_that_nobody_follows_leave_no_line_and_no_call_for_later(scene: Scene) -> None:
    with capturedLogs() as log:
        for host in names(3):
            scene.resolver.resolution(host).look_up()
        scene.engine.answer(FAILED)
    assert len(log) == 3
    assert scene.clock.getDelayedCalls() == []


def test_an_engine_that_raises_is_our_own_trouble(scene: Scene) -> None:
    waiting = fired(scene.name.look_up())
    with capturedLogs() as log:
        scene.engine.open.pop().errback(RuntimeError("broken on purpose"))
    assert waiting == [None]
    assert scene.name.verdict is Verdict.UNKNOWN
    assert "db.internal: the lookup failed" in told(log)[0]


def test_stopped_it_leaves_nothing_behind(scene: Scene) -> None:
    started = fired(scene.resolver.follow(["a.internal", "db.internal"], 5.0))
    scene.engine.open.pop(0).callback(found(ONE))
    waiting = fired(scene.name.look_up())
    open_question = scene.engine.open[0]
    with capturedLogs() as log:
        scene.resolver.stop()
    assert (started, waiting, told(log)) == ([["db.internal"]], [None], [])
    assert scene.clock.getDelayedCalls() == []
    assert scene.engine.stopped == 1
    assert open_question.called  # It is cancelled.
    open_question.callback(found(ONE))  # An answer that comes late is nobody's.
    assert scene.clock.getDelayedCalls() == []
    assert scene.addresses() == []


def test_it_can_be_started_again(scene: Scene) -> None:
    scene.resolver.follow(["db.internal"], 5.0)
    scene.resolver.stop()
    scene.engine.open.clear()
    scene.resolver.follow(["db.internal"], 5.0)
    scene.engine.answer(found(ONE))
    assert scene.addresses() == ["10.0.0.1"]


def test_names_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_NAMES", 3)
    scene.resolver.follow(["kept.internal"], 5.0)
    scene.engine.answer(found(ONE))
    for number in range(10):
        scene.resolver.resolution(f"{number}.internal").look_up()
        scene.engine.answer(found(ONE))
    assert len(scene.resolver._names) == 3
    assert "kept.internal" in scene.resolver._names


def test_an_engine_that_answers_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.engine, "ask", lambda _: succeed(found(ONE, ttl=0.0)))
    fresh = Resolver(scene.clock, ResolverConfig(), scene.engine, Random(1))
    assert fired(fresh.follow(["db.internal"], 5.0)) == [[]]
    assert fresh.resolution("db.internal").look_up() is None
    assert len(scene.clock.getDelayedCalls()) == 1
    assert 1.0 <= scene.clock.getDelayedCalls()[0].getTime() <= 1.1
