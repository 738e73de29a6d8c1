"""A worker answers each question, also where it fails to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tcpbalance.workers.answers import WorkerAnswers
from tcpbalance.workers.messages import Message
from tcpbalance.workers.questions import EXPLAIN


class BrokenBalancer:
    """Fails when it is asked."""

    @property
    def factories(self) -> object:
        raise ValueError("broken")


def test_a_worker_that_fails_to_answer_says_so_at_once() -> None:
    clock: Any = Clock()
    balancer: Any = BrokenBalancer()
    said: list[Mapping[str, Any]] = []

    def say(content: Mapping[str, Any], descriptors: Iterable[int]) -> None:
        assert not list(descriptors)
        said.append(content)

    answers = WorkerAnswers(clock, balancer, 0, say)
    query = {"frontend": "web", "client": "192.0.2.1"}
    with capturedLogs() as logged:
        answers.note(Message({"question": 7, "about": EXPLAIN, "query": query}, ()))
    assert said == [{"no_answer": 7}]
    assert [str(event["log_failure"].value) for event in logged] == ["broken"]
