"""The supervisor has the worker explain a connection that its client belongs to, and that serves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.explain_query import read_explain_query
from tcpbalance.workers.fleet_controls import FleetControls
from tcpbalance.workers.owner import owner
from tcpbalance.workers.questions import EXPLAIN, Answers

CLIENT = "203.0.113.7"
PLACE = owner(bytes((203, 0, 113, 7)), 4)
QUERY = read_explain_query({"frontend": "web", "client": CLIENT})


class Questions:
    """Has the answers of the processes of a place."""

    def __init__(self, *given: tuple[Any, list[Any]]) -> None:
        self.answers = Answers(list(given), [])
        self.asked: list[Any] = []

    def ask(self, *question: Any) -> Deferred[Any]:
        self.asked.append(question)
        return succeed(self.answers)


def controls(questions: Questions, serving: Any) -> FleetControls:
    made = FleetControls.__new__(FleetControls)
    supervisor: Any = SimpleNamespace(
        config=SimpleNamespace(
            frontends={"web": FrontendConfig(listen="127.0.0.1:80", pool="web")}, workers=4
        ),
        questions=questions,
        serves=lambda worker: worker is serving,
    )
    made._supervisor = supervisor
    return made


def error_of(asked: Deferred[Any]) -> ApiError:
    found: list[Failure] = []
    asked.addErrback(found.append)
    error = found[0].value
    assert isinstance(error, ApiError)
    return error


def test_the_process_answers_that_accepts_the_clients_of_the_place() -> None:
    draining, serving = object(), object()
    questions = Questions((draining, [{"outcome": "refused"}]), (serving, [{"outcome": "connects"}]))
    asked = controls(questions, serving).explain(QUERY)
    assert asked.result == {"outcome": "connects", "worker": PLACE}
    assert questions.asked == [(EXPLAIN, {"query": QUERY.parameters}, PLACE)]


@pytest.mark.parametrize("answer", [[], [{"outcome": "connects"}]])
def test_while_none_serves_it_is_to_be_asked_again(answer: Any) -> None:
    worker = object()
    serving = None if answer else worker
    error = error_of(controls(Questions((worker, answer)), serving).explain(QUERY))
    assert (error.status, error.code) == (503, "not_serving")


def test_a_frontend_that_there_is_not() -> None:
    questions = Questions()
    query = read_explain_query({"frontend": "wep", "client": CLIENT})
    assert error_of(controls(questions, None).explain(query)).status == 404
    assert questions.asked == []
