"""Checks of passwords: few at once, one for all that ask the same, and remembered for a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from support.users import PASSWORD, users_file
from tcpbalance.admission.password_checks import (
    CHECKS_AT_ONCE,
    MAX_CHECKS_OF_CLIENT,
    MAX_WAITING_CHECKS,
    MAX_WRONG,
    RIGHT_FOR,
    WRONG_FOR,
    PasswordChecks,
    TooManyChecks,
)
from tcpbalance.admission.users_file import Users, UsersFile

ONE, OTHER = b"\x0a\0\0\1", b"\x0a\0\0\2"


class _Known(Users):
    """Users whose passwords are compared at once."""

    def has(self, name: bytes, password: bytes) -> bool:
        return name in self and password == b"right"


class _File(UsersFile):
    def __init__(self) -> None:
        self.users = _Known({b"alice": b"", b"bob": b""})

    def change(self) -> None:
        self.users = _Known({b"alice": b""})


class Scene:
    """Checks whose threads end when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.file = _File()
        self.work: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.begun = 0
        self.checks = PasswordChecks(self.file, self.in_thread, self.clock.seconds)

    def in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((work, done))
        self.begun += 1
        return done

    def ask(
        self, name: bytes = b"alice", password: bytes = b"right", client: bytes | None = ONE
    ) -> list[Any]:
        """Give a list that gets the answer."""
        answers: list[Any] = []
        answer = self.checks.check(name, password, client)
        if isinstance(answer, Deferred):
            answer.addCallback(answers.append)
        else:
            answers.append(answer)
        return answers

    def run(self) -> None:
        """Let all threads end, one after the other."""
        while self.work:
            work, done = self.work.pop(0)
            done.callback(work())


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_answer_is_found_out_in_a_thread_and_remembered(scene: Scene) -> None:
    answers = scene.ask()
    assert answers == []
    scene.run()
    assert (answers, scene.ask(), scene.begun) == ([True], [True], 1)
    scene.clock.advance(RIGHT_FOR)
    assert (scene.ask(), scene.begun) == ([], 2)


def test_a_wrong_one_is_remembered_for_less_time(scene: Scene) -> None:
    answers = scene.ask(password=b"wrong")
    scene.run()
    assert (answers, scene.ask(password=b"wrong"), scene.begun) == ([False], [False], 1)
    scene.clock.advance(WRONG_FOR)
    assert (scene.ask(password=b"wrong"), scene.begun) == ([], 2)


def test_neither_the_name_nor_the_password_alone_is_what_is_remembered(scene: Scene) -> None:
    scene.ask(b"alice", b"right")
    scene.run()
    others = ((b"bob", b"right"), (b"alice", b"other"), (b"alicer", b"ight"), (b"", b"aliceright"))
    for name, password in others:
        assert scene.ask(name, password) == []


def test_one_check_serves_all_that_ask_the_same(scene: Scene) -> None:
    answers = [scene.ask(client=client) for client in (ONE, ONE, OTHER, None) for _ in range(10)]
    assert scene.begun == 1
    scene.run()
    assert answers == [[True]] * 40


def test_few_run_at_once_and_the_others_in_turn(scene: Scene) -> None:
    answers = [scene.ask(password=b"%d" % number, client=bytes((1, 1, 1, number))) for number in range(6)]
    assert scene.begun == CHECKS_AT_ONCE
    work, done = scene.work.pop(0)
    done.callback(work())
    assert (answers[0], scene.begun) == ([False], CHECKS_AT_ONCE + 1)
    scene.run()
    assert answers == [[False]] * 6


def test_a_bounded_number_waits(scene: Scene) -> None:
    for number in range(CHECKS_AT_ONCE + MAX_WAITING_CHECKS):
        scene.ask(password=b"%d" % number, client=number.to_bytes(4))
    with pytest.raises(TooManyChecks):
        scene.ask(password=b"one more", client=OTHER)
    scene.run()
    assert scene.ask(client=OTHER) == []


def test_of_one_client_fewer_wait(scene: Scene) -> None:
    six = bytes.fromhex("20010db8000000000000000000000001")
    for number in range(MAX_CHECKS_OF_CLIENT):
        scene.ask(password=b"%d" % number, client=six[:15] + bytes((number,)))
    with pytest.raises(TooManyChecks):
        scene.ask(password=b"one more", client=six)
    scene.ask(password=b"one more", client=OTHER)
    scene.run()
    assert scene.ask(password=b"again", client=six) == []


def test_one_whose_askers_are_gone_does_not_run(scene: Scene) -> None:
    for number in range(CHECKS_AT_ONCE):
        scene.ask(password=b"%d" % number, client=OTHER)
    answer = scene.checks.check(b"alice", b"right", ONE)
    assert isinstance(answer, Deferred)
    gone: list[Any] = []
    answer.addErrback(gone.append)
    answer.cancel()
    scene.run()
    assert (len(gone), scene.begun) == (1, CHECKS_AT_ONCE)
    assert scene.ask() == []


def test_another_reading_of_the_file_counts_at_once(scene: Scene) -> None:
    answers = scene.ask(b"bob")
    scene.file.change()
    assert not scene.checks.has_user(b"bob")
    again = scene.ask(b"bob")
    scene.run()
    # What was asked before is decided by what held then, and not remembered.
    assert (answers, again, scene.ask(b"bob")) == ([True], [False], [False])


def test_a_check_that_breaks_is_a_wrong_password_and_not_remembered(scene: Scene, lines: list[str]) -> None:
    answers = scene.ask()
    _, done = scene.work.pop(0)
    done.errback(ValueError("no memory"))
    assert answers == [False]
    assert (scene.ask(), scene.begun) == ([], 2)


def test_wrong_ones_are_remembered_up_to_a_bound(scene: Scene) -> None:
    for number in range(MAX_WRONG + 1):
        scene.ask(password=b"%d" % number)
        scene.run()
    begun = scene.begun
    assert scene.ask(password=b"1") == [False]
    assert scene.ask(password=b"0") == []
    assert scene.begun == begun + 1


def test_it_keeps_no_password(scene: Scene) -> None:
    scene.ask(password=b"a secret that nobody knows")
    assert "secret" not in repr(vars(scene.checks))
    scene.run()
    assert b"a secret that nobody knows" not in repr(vars(scene.checks)).encode()


def test_a_real_file_answers(tmp_path: Path) -> None:
    file = UsersFile(str(users_file(tmp_path)))
    scene = Scene()
    checks = PasswordChecks(file, scene.in_thread, scene.clock.seconds)
    answers: list[bool] = []
    for password in (PASSWORD, b"another"):
        answer = checks.check(b"alice", password, ONE)
        assert isinstance(answer, Deferred)
        answer.addCallback(answers.append)
    scene.run()
    assert answers == [True, False]


class Machine(RuleBasedStateMachine):
    """Any order of questions, ends and cancelled questions leaves nothing behind."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.open: list[tuple[Deferred[bool], bool]] = []

    @rule(password=st.sampled_from([b"right", b"a", b"b", b"c"]), client=st.sampled_from([ONE, OTHER, None]))
    def ask(self, password: bytes, client: bytes | None) -> None:
        try:
            answer = self.scene.checks.check(b"alice", password, client)
        except TooManyChecks:
            return
        if isinstance(answer, Deferred):
            self.open.append((answer, password == b"right"))
        else:
            assert answer is (password == b"right")

    @rule(place=st.integers(0, 20))
    def cancel(self, place: int) -> None:
        if place < len(self.open):
            answer, _ = self.open.pop(place)
            answer.addErrback(lambda _: None)
            answer.cancel()

    @rule()
    def end_one(self) -> None:
        if self.scene.work:
            work, done = self.scene.work.pop(0)
            done.callback(work())

    @rule(seconds=st.sampled_from([1.0, WRONG_FOR, RIGHT_FOR]))
    def pass_time(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)

    @rule()
    def change_the_file(self) -> None:
        self.scene.file.change()

    @invariant()
    def few_run(self) -> None:
        assert len(self.scene.work) <= CHECKS_AT_ONCE

    def teardown(self) -> None:
        self.scene.run()
        for answer, expected in self.open:
            assert answer.called
            assert answer.result is expected
        checks: Any = self.scene.checks
        assert (list(checks._queue), checks._running, checks._checks, checks._of_client) == ([], 0, {}, {})


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
