"""A worker answers each question, also where it fails to, as long as the answer is waited for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from support.descriptors import open_descriptors, opened_since
from tcpbalance.workers.answers import WorkerAnswers
from tcpbalance.workers.messages import Message
from tcpbalance.workers.questions import EXPLAIN, FORGET_AFFINITY, SESSIONS, write_answer

UNTIL = 100.0
QUERY = {"frontend": "web", "client": "192.0.2.1"}


class BrokenBalancer:
    """Fails when it is asked."""

    @property
    def factories(self) -> object:
        raise ValueError("broken")


class Asked:
    """A worker that is asked until a certain time, and what it has said."""

    def __init__(self, balancer: Any) -> None:
        self.clock: Any = Clock()
        self.said: list[Mapping[str, Any]] = []
        self._answers = WorkerAnswers(self.clock, self.clock.seconds, balancer, 0, self._say)

    def _say(self, content: Mapping[str, Any], descriptors: Iterable[int]) -> None:
        self.said.append({**content, "descriptors": len(list(descriptors))})

    def ask(self, about: str, query: Mapping[str, str]) -> None:
        self.note({"question": 7, "about": about, "until": UNTIL, "query": query})

    def note(self, content: Mapping[str, Any]) -> None:
        self._answers.note(Message(content, ()))
        self.clock.pump([0] * 1000)


def test_a_worker_that_fails_to_answer_says_so_at_once() -> None:
    worker = Asked(BrokenBalancer())
    with capturedLogs() as logged:
        worker.ask(EXPLAIN, QUERY)
    assert worker.said == [{"no_answer": 7, "descriptors": 0}]
    assert [str(event["log_failure"].value) for event in logged] == ["broken"]


def test_a_question_that_has_been_given_up_is_not_begun_with() -> None:
    worker = Asked(BrokenBalancer())
    worker.clock.advance(UNTIL)
    worker.ask(EXPLAIN, QUERY)
    assert worker.said == []


def test_a_supervisor_that_does_not_say_how_long_it_waits_gets_its_answer() -> None:
    worker = Asked(SimpleNamespace(registries=[]))
    worker.clock.advance(UNTIL)
    worker.note({"question": 7, "about": SESSIONS, "query": {}})
    assert worker.said == [{"answer": 7, "descriptors": 1}]


def test_an_order_is_carried_out_however_late() -> None:
    worker = Asked(SimpleNamespace(pools=[]))
    worker.clock.advance(UNTIL)
    worker.ask(FORGET_AFFINITY, {"pool": "web"})
    assert worker.said == [{"answer": 7, "descriptors": 1}]


@pytest.mark.parametrize("seconds", [0.0, 1.0, UNTIL / 10])
def test_an_answer_is_made_as_long_as_it_is_waited_for(seconds: float) -> None:
    class Session:
        started = 0.0

        def facts(self) -> Any:
            worker.clock.advance(seconds)
            return SimpleNamespace(age=1.0, idle=1.0, client_bytes=0, backend_bytes=0, frontend="web")

    sessions = [Session() for _ in range(20)]
    worker = Asked(SimpleNamespace(registries=[SimpleNamespace(sessions=sessions)]))
    worker.ask(SESSIONS, {"frontend": "other"})
    assert [said["answer"] for said in worker.said] == ([7] if 20 * seconds < UNTIL else [])
    assert worker.clock.seconds() <= UNTIL + 10 * seconds


def test_what_was_written_of_an_answer_that_is_given_up_is_not_kept() -> None:
    before = open_descriptors()
    writing = write_answer(["a", "b"])
    next(writing)
    assert opened_since(before)
    writing.close()
    assert not opened_since(before)
