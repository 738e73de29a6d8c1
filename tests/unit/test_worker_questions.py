"""The supervisor asks its workers: all answer, or it is said which one does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.control.api_request import ApiError
from tcpbalance.workers.messages import MAX_MESSAGE, Message, encode
from tcpbalance.workers.questions import REPORT, WORKERS_ANSWER_WITHIN, Answers, Questions, write_answer

FRONT = {"connections_total": 3, "connections_active": 1}


class Worker:
    """One that is asked; see ``ToWorker``."""

    def __init__(self, place: int, questions: Questions) -> None:
        self.place = self.column = place
        self.asked: list[Mapping[str, Any]] = []
        self._questions = questions
        questions.greet(self)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        encode(content)
        self.asked.append(content)

    def say(self, content: Mapping[str, Any], answer: object) -> None:
        message = Message(content, (write_answer(answer),))
        try:
            self._questions.note(self, message)
        finally:
            message.close()

    def answer(self, answer: object) -> None:
        question = self.asked.pop(0)
        self.say({"answer": question["question"], "about": question["about"]}, answer)


def report(**counters: int) -> dict[str, Any]:
    return {"processes": [{"pid": 1}], "frontends": {"web": counters}, "pools": {}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def questions(clock: Clock) -> Questions:
    return Questions(clock)


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
    workers[1].answer("b")
    assert not asked.called
    workers[0].answer("a" * 100_000)
    assert asked.result == Answers([(workers[0], "a" * 100_000), (workers[1], "b")], [])
    assert not clock.getDelayedCalls()


def test_without_workers_there_is_nothing_to_wait_for(questions: Questions) -> None:
    assert questions.ask("anything").result == Answers([], [])
    assert questions.find("anything", {}, 0).result is None


def test_one_that_does_not_answer_in_time_is_named(clock: Clock, questions: Questions) -> None:
    workers = [Worker(place, questions) for place in (0, 1)]
    asked = questions.ask("anything")
    workers[0].answer("a")
    clock.advance(WORKERS_ANSWER_WITHIN)
    assert asked.result.given == [(workers[0], "a")]
    error = failure_of(asked.addCallback(Answers.complete))
    assert (error.status, str(error)) == (503, "worker 1 has not answered for 2 s: ask again")
    assert error.may_be_done
    workers[1].answer("late")
    assert questions.ask("anything").called is False


def test_one_that_ends_meanwhile_is_named(clock: Clock, questions: Questions) -> None:
    worker = Worker(3, questions)
    asked = questions.ask("anything")
    questions.has_ended(worker)
    (missing,) = asked.result.missing
    assert str(missing) == "worker 3 has ended meanwhile: ask again"
    assert not clock.getDelayedCalls()
    assert questions.ask("anything").result == Answers([], [])


def test_the_first_that_has_it_answers_for_all(clock: Clock, questions: Questions) -> None:
    draining, present, _ = (Worker(place, questions) for place in (1, 1, 0))
    found = questions.find("anything", {}, 1)
    draining.answer(None)
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
        worker.answer(None)
    assert found.result is None


def test_where_one_is_silent_that_may_have_it_nothing_is_said(clock: Clock, questions: Questions) -> None:
    workers = [Worker(1, questions) for _ in range(2)]
    found = questions.find("anything", {}, 1)
    workers[0].answer(None)
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
    questions.ask(REPORT)
    worker.answer(report(connections_total=1, connections_active=1))
    worker.say({"last_report": True}, report(connections_total=3, connections_active=0))
    questions.has_ended(worker)
    assert questions.past["frontends"] == {"web": {"connections_total": 3}}


def test_of_a_worker_that_was_killed_the_latest_answer_stays(questions: Questions) -> None:
    for _ in range(2):
        worker = Worker(0, questions)
        questions.ask(REPORT)
        worker.answer(report(**FRONT))
        questions.has_ended(worker)
    assert questions.past["frontends"] == {"web": {"connections_total": 6}}
    assert questions.past["processes"] == []


def test_one_that_was_never_asked_leaves_nothing(questions: Questions) -> None:
    questions.has_ended(Worker(0, questions))
    assert questions.past["frontends"] == {}


def test_one_that_ends_before_it_was_greeted_leaves_nothing(questions: Questions) -> None:
    worker = Worker(0, questions)
    questions.has_ended(worker)
    questions.has_ended(worker)
    assert questions.past["frontends"] == {}


def test_no_descriptor_is_left(questions: Questions) -> None:
    before = set(os.listdir("/proc/self/fd"))
    worker = Worker(0, questions)
    questions.ask("anything")
    worker.answer({})
    assert set(os.listdir("/proc/self/fd")) == before
