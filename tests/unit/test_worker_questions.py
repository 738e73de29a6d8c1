"""The supervisor asks its workers: all answer, or it is said which one does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.report import EVERYTHING, CountersKey, Report, Scope, report_items, sum_of
from tcpbalance.workers.messages import MAX_MESSAGE, Message, encode
from tcpbalance.workers.questions import (
    REPORT,
    WORKERS_ANSWER_WITHIN,
    Answers,
    Questions,
    keys_of,
    write_answer,
)

FRONT = {"connections_total": 3, "connections_active": 1}


class Worker:
    """One that is asked; see ``ToWorker``.

    :ivar is_read_whole: whether all pieces of an answer are read before anything else happens.
    """

    is_read_whole = True

    def __init__(self, place: int, questions: Questions) -> None:
        self.place = self.column = place
        self.asked: list[Mapping[str, Any]] = []
        self._questions = questions
        questions.greet(self)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        encode(content)
        self.asked.append(content)

    def say(self, content: Mapping[str, Any], *items: object) -> None:
        message = Message(content, (at_once(write_answer(items)),))
        try:
            self._questions.note(self, message)
        finally:
            message.close()
        if self.is_read_whole:
            clock: Any = self._questions._reactor
            clock.pump([0] * 1000)

    def answer(self, *items: object) -> None:
        self.say({"answer": self.next_question()}, *items)

    def next_question(self) -> int:
        number = self.asked.pop(0)["question"]
        assert isinstance(number, int)
        return number

    def fail(self) -> None:
        self._questions.note(self, Message({"no_answer": self.next_question()}, ()))


WEB = ("frontend", "web")
API = ("pool", "api")
LAG_OF_0 = ("loop_lag", "0")


def report(key: CountersKey = WEB, lag: int = 0, **counters: int) -> list[Any]:
    return [*report_items([(("process", "1"), {"pid": 1, "loop_lag_us": lag}), (key, counters)])]


def ask_for_report(questions: Questions, scope: Scope = EVERYTHING) -> Deferred[Answers]:
    return questions.ask(REPORT, {"scope": scope.content})


class Everything:
    """The keys of all that there can be."""

    def __contains__(self, key: object) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def questions(clock: Clock) -> Questions:
    return Questions(clock, clock.seconds, Everything())


def given(asked: Deferred[Answers]) -> list[Any]:
    assert isinstance(asked.result, Answers)
    return asked.result.given


def counted(questions: Questions, asked: Deferred[Answers]) -> Report:
    assert isinstance(asked.result, Answers)
    return at_once(sum_of(questions.counted(EVERYTHING, asked.result)))


def failure_of(asked: Deferred[Any]) -> ApiError:
    found: list[Failure] = []
    asked.addErrback(found.append)
    error = found[0].value
    assert isinstance(error, ApiError)
    return error


def test_all_are_asked_and_each_answer_comes_with_its_worker(clock: Clock, questions: Questions) -> None:
    workers = [Worker(place, questions) for place in (0, 1)]
    asked = questions.ask("anything", {"more": 1})
    assert workers[0].asked[0]["more"] == 1
    assert workers[0].asked[0]["until"] == clock.seconds() + WORKERS_ANSWER_WITHIN
    workers[1].answer("b")
    assert not asked.called
    workers[0].answer("a" * 100_000)
    assert asked.result == Answers([(workers[0], ["a" * 100_000]), (workers[1], ["b"])], [])
    assert not clock.getDelayedCalls()


def test_without_workers_there_is_nothing_to_wait_for(questions: Questions) -> None:
    assert questions.ask("anything").result == Answers([], [])
    assert questions.find("anything", {}, 0).result is None


def test_one_that_does_not_answer_in_time_is_named(clock: Clock, questions: Questions) -> None:
    workers = [Worker(place, questions) for place in (0, 1)]
    asked = questions.ask("anything")
    workers[0].answer("a")
    clock.advance(WORKERS_ANSWER_WITHIN)
    assert given(asked) == [(workers[0], ["a"])]
    error = failure_of(asked.addCallback(Answers.complete))
    assert (error.status, str(error)) == (503, "worker 1 has not answered for 2 s: ask again")
    assert error.may_be_done
    workers[1].answer("late")
    assert questions.ask("anything").called is False


def test_one_that_fails_to_answer_is_named_at_once(clock: Clock, questions: Questions) -> None:
    workers = [Worker(place, questions) for place in (0, 1)]
    asked = questions.ask("anything")
    workers[0].answer("a")
    workers[1].fail()
    assert given(asked) == [(workers[0], ["a"])]
    error = failure_of(asked.addCallback(Answers.complete))
    assert (error.status, error.code) == (500, "worker_failed")
    assert str(error) == "worker 1 has failed to answer: the reason is in the log"
    assert error.may_be_done
    assert not clock.getDelayedCalls()


def test_one_that_ends_meanwhile_has_nothing(clock: Clock, questions: Questions) -> None:
    worker = Worker(3, questions)
    asked, found = questions.ask("anything"), questions.find("anything", {}, 3)
    questions.has_ended(worker)
    assert asked.result == Answers([(worker, [])], [])
    assert found.result is None
    assert not clock.getDelayedCalls()
    assert questions.ask("anything").result == Answers([], [])


def test_the_first_that_has_it_answers_for_all(clock: Clock, questions: Questions) -> None:
    draining, present, _ = (Worker(place, questions) for place in (1, 1, 0))
    found = questions.find("anything", {}, 1)
    draining.answer()
    assert not found.called
    present.answer("a")
    assert found.result == "a"
    assert not clock.getDelayedCalls()


def test_what_one_has_is_known_before_another_one_answers(clock: Clock, questions: Questions) -> None:
    _, present = (Worker(1, questions) for _ in range(2))
    found = questions.find("anything", {}, 1)
    present.answer("a")
    assert found.result == "a"
    clock.advance(WORKERS_ANSWER_WITHIN)
    assert found.result == "a"


def test_what_none_has_is_not_there(questions: Questions) -> None:
    workers = [Worker(1, questions) for _ in range(2)]
    found = questions.find("anything", {}, 1)
    for worker in workers:
        worker.answer()
    assert found.result is None


def test_where_one_is_silent_that_may_have_it_nothing_is_said(clock: Clock, questions: Questions) -> None:
    workers = [Worker(1, questions) for _ in range(2)]
    found = questions.find("anything", {}, 1)
    workers[0].answer()
    clock.advance(WORKERS_ANSWER_WITHIN)
    assert str(failure_of(found)) == "worker 1 has not answered for 2 s: ask again"


def test_one_that_is_too_long_to_be_found_is_refused(questions: Questions) -> None:
    Worker(1, questions)
    assert failure_of(questions.find("anything", {"id": "x" * MAX_MESSAGE}, 1)).code == "too_long"


def test_a_question_that_is_too_long_is_refused_and_leaves_nothing(
    clock: Clock, questions: Questions
) -> None:
    workers = [Worker(place, questions) for place in (0, 1)]
    error = failure_of(questions.ask("anything", {"more": "x" * MAX_MESSAGE}))
    assert (error.status, error.code, str(error)) == (400, "too_long", "the parameters are too long")
    assert not clock.getDelayedCalls()
    assert [worker.asked for worker in workers] == [[], []]


def test_what_a_worker_has_counted_stays_after_its_end(questions: Questions) -> None:
    worker = Worker(0, questions)
    ask_for_report(questions)
    worker.answer(*report(connections_total=1, connections_active=1))
    worker.say({"last_report": True}, *report(connections_total=3, connections_active=0))
    questions.has_ended(worker)
    assert questions.past == {WEB: {"connections_total": 3}, LAG_OF_0: {"loop_lag_us": 0}}


def test_of_a_worker_that_was_killed_the_latest_answer_stays(questions: Questions) -> None:
    for _ in range(2):
        worker = Worker(0, questions)
        ask_for_report(questions)
        worker.answer(*report(WEB, **FRONT))
        questions.has_ended(worker)
    assert questions.past == {WEB: {"connections_total": 6}, LAG_OF_0: {"loop_lag_us": 0}}


def test_what_was_asked_for_in_parts_stays_together(questions: Questions) -> None:
    worker = Worker(0, questions)
    ask_for_report(questions)
    worker.answer(*report(connections_total=1), *report(API, queue_total=2))
    ask_for_report(questions, Scope(frontends=(), pools=("api",)))
    worker.answer(*report(API, queue_total=3))
    ask_for_report(questions, Scope(frontends=("web",), pools=()))
    worker.answer(*report(connections_total=4))
    questions.has_ended(worker)
    assert questions.past == {
        WEB: {"connections_total": 4},
        API: {"queue_total": 3},
        LAG_OF_0: {"loop_lag_us": 0},
    }


def test_what_a_worker_has_no_more_is_forgotten(questions: Questions) -> None:
    worker = Worker(0, questions)
    ask_for_report(questions)
    worker.answer(*report(connections_total=1), *report(API, queue_total=2))
    ask_for_report(questions, Scope(frontends=(), processes=False))
    worker.answer()
    questions.has_ended(worker)
    assert questions.past == {WEB: {"connections_total": 1}, LAG_OF_0: {"loop_lag_us": 0}}


def config_of(**pools: tuple[str, ...]) -> Config:
    made = {
        name: PoolConfig(backends=tuple(BackendConfig(address=f"{it}:80", name=it) for it in backends))
        for name, backends in pools.items()
    }
    return Config(frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="api")}, pools=made)


def test_the_past_of_removed_backends_is_that_of_their_pool_and_what_is_gone_is_forgotten(
    clock: Clock,
) -> None:
    both = config_of(api=("10.0.0.1", "10.0.0.2"), other=("10.0.0.3",))
    questions = Questions(clock, clock.seconds, keys_of(both))
    worker, draining = (Worker(0, questions) for _ in range(2))

    keys = [WEB, API, ("pool", "other"), *sorted(key for key in keys_of(both) if key[0] == "backend")]
    items = [*report_items((key, {"bytes_in": 1, "connections_active": 1}) for key in keys)]
    for each in (worker, draining):
        each.say({"last_report": True}, *items)
    questions.has_ended(worker)
    assert {key: it["bytes_in"] for key, it in questions.past.items()} == dict.fromkeys(keys, 1)

    questions.go_on_by(config_of(api=("10.0.0.1",)))
    kept = ("backend", "api", "10.0.0.1", "10.0.0.1:80")
    assert {key: it["bytes_in"] for key, it in questions.past.items()} == {WEB: 1, API: 2, kept: 1}

    # One that serves by what was before has them still.
    asked = ask_for_report(questions)
    draining.answer(*items)
    total = counted(questions, asked)
    assert {key: it["bytes_in"] for key, it in total.items()} == {WEB: 2, API: 4, kept: 2}
    questions.has_ended(draining)
    assert {key: it["bytes_in"] for key, it in questions.past.items()} == {WEB: 2, API: 4, kept: 2}


def test_one_that_ends_after_it_answered_is_counted_once(questions: Questions) -> None:
    ending, other = Worker(0, questions), Worker(1, questions)
    asked = ask_for_report(questions)
    ending.answer(*report(connections_total=100))
    ending.say({"last_report": True}, *report(connections_total=101))
    questions.has_ended(ending)
    other.answer(*report(connections_total=10))
    assert counted(questions, asked)[WEB] == {"connections_total": 111}


def test_nothing_that_a_worker_said_before_follows_its_last_report(
    clock: Clock, questions: Questions
) -> None:
    worker = Worker(0, questions)
    worker.is_read_whole = False
    ask_for_report(questions)
    keys = [("frontend", f"f{number}") for number in range(10_000)]
    worker.answer(*report_items((key, {"bytes_in": 100}) for key in keys))
    worker.say({"last_report": True}, *report_items((key, {"bytes_in": 105}) for key in keys))
    clock.pump([0] * 1000)
    questions.has_ended(worker)
    assert {it["bytes_in"] for it in questions.past.values()} == {105}


def test_an_answer_that_is_read_late_is_not_taken_for_a_later_one(clock: Clock, questions: Questions) -> None:
    worker = Worker(0, questions)
    worker.is_read_whole = False
    asked = [ask_for_report(questions), ask_for_report(questions, Scope(frontends=("web",), pools=()))]
    worker.answer(*report(connections_total=1), *report_items(10_000 * [(API, {"queue_total": 2})]))
    worker.answer(*report(connections_total=3))
    clock.pump([0] * 1000)
    assert all(question.called for question in asked)
    questions.has_ended(worker)
    assert (questions.past[WEB], questions.past[API]) == ({"connections_total": 3}, {"queue_total": 2})


def test_the_lag_of_processes_that_have_ended_stays_with_their_place(questions: Questions) -> None:
    for lag in (5, 6):
        worker = Worker(0, questions)
        ask_for_report(questions)
        worker.answer(*report(lag=lag))
        questions.has_ended(worker)
    assert questions.past[LAG_OF_0] == {"loop_lag_us": 11}
    asked = ask_for_report(questions, Scope(processes=False))
    assert isinstance(asked.result, Answers)
    assert LAG_OF_0 not in at_once(sum_of(questions.counted(Scope(processes=False), asked.result)))


def test_a_long_answer_is_read_in_pieces(clock: Clock, questions: Questions) -> None:
    worker = Worker(0, questions)
    worker.is_read_whole = False
    asked = questions.ask("anything")
    worker.answer(*(["x" * 100] * 20_000))
    assert not asked.called
    clock.pump([0] * 1000)
    assert len(given(asked)[0][1]) == 20_000


def test_one_that_ends_while_its_answer_is_read_has_nothing(clock: Clock, questions: Questions) -> None:
    worker = Worker(0, questions)
    worker.is_read_whole = False
    asked = ask_for_report(questions)
    worker.answer(*report_items(20_000 * [(WEB, {"bytes_in": 1})]))
    questions.has_ended(worker)
    clock.pump([0] * 1000)
    assert given(asked) == [(worker, [])]
    assert questions.past == {}


def test_one_that_was_never_asked_leaves_nothing(questions: Questions) -> None:
    questions.has_ended(Worker(0, questions))
    assert questions.past == {}


def test_one_that_ends_before_it_was_greeted_leaves_nothing(questions: Questions) -> None:
    worker = Worker(0, questions)
    questions.has_ended(worker)
    questions.has_ended(worker)
    assert questions.past == {}


def test_no_descriptor_is_left(questions: Questions) -> None:
    before = set(os.listdir("/proc/self/fd"))
    worker = Worker(0, questions)
    questions.ask("anything")
    worker.answer({})
    worker.say({"last_report": True})
    assert set(os.listdir("/proc/self/fd")) == before
