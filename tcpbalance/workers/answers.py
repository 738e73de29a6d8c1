"""What a worker answers when the supervisor asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any, TypeAlias

from twisted.logger import Logger

from tcpbalance.balancer import Balancer
from tcpbalance.control.affinity import forget_affinity, read_what_to_forget
from tcpbalance.control.explain import explain, read_explain_query
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import Report, report_of
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import (
    ListedSession,
    ShownSession,
    end_session,
    list_sessions,
    look_at_session,
)
from tcpbalance.control.sessions_query import read_sessions_query
from tcpbalance.workers.messages import Message
from tcpbalance.workers.questions import (
    END_SESSION,
    EXPLAIN,
    FORGET_AFFINITY,
    LOOK_AT_SESSION,
    REPORT,
    SESSIONS,
    write_answer,
)

SayWith = Callable[[Mapping[str, Any], Iterable[int]], object]
"""Sends the supervisor a message, with descriptors."""

Question: TypeAlias = Mapping[str, Any]
"""The content of the message that asks."""


class WorkerAnswers:
    """See ``WorkerSharedState``.

    :param reactor: IReactorTime.
    :param balancer: that is asked about.
    :param say: see above.
    """

    words: Collection[str] = ("question",)

    _log = Logger()

    def __init__(self, reactor: Any, balancer: Balancer, say: SayWith) -> None:
        self._reactor = reactor
        self._balancer = balancer
        self._say = say

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"question": int(number), "about": str(about)}:
                pieces = _ANSWERS[about](self._balancer, message.content)
                answer = in_pieces(self._reactor, pieces)
                answer.addCallback(lambda content: self._send({"answer": number, "about": about}, content))
                answer.addErrback(lambda failure: self._log.failure("a question has no answer", failure))

    def send_last_report(self) -> None:
        """Report once more, at the end."""
        self._send({"last_report": True}, at_once(_report(self._balancer, {})))

    def _send(self, content: Mapping[str, Any], answer: object) -> None:
        descriptor = write_answer(answer)
        try:
            self._say(content, [descriptor])
        finally:
            os.close(descriptor)


def _report(balancer: Balancer, _: Question) -> Generator[None, None, Report]:
    return report_of(balancer.factories, balancer.pools)


def _sessions(balancer: Balancer, question: Question) -> Generator[None, None, list[ListedSession]]:
    return list_sessions(balancer.registries, read_sessions_query(question["query"]))


def _look_at_session(balancer: Balancer, question: Question) -> Generator[None, None, ShownSession | None]:
    return look_at_session(balancer.registries, _session_id(question))


def _end_session(balancer: Balancer, question: Question) -> Generator[None, None, ShownSession | None]:
    return end_session(balancer.registries, _session_id(question))


def _forget_affinity(balancer: Balancer, question: Question) -> Generator[None, None, int]:
    return forget_affinity(balancer.pools, read_what_to_forget(question["query"]))


def _explain(balancer: Balancer, question: Question) -> Generator[None, None, dict[str, Any] | None]:
    query = read_explain_query(question["query"])
    factory = balancer.factories.get(query.frontend)
    yield from ()
    return None if factory is None else explain(factory, query, balancer.waits_for(query.frontend))


def _session_id(question: Question) -> SessionId:
    found = SessionId.parse(question["id"])
    assert found is not None
    return found


_ANSWERS: dict[str, Callable[[Balancer, Question], Generator[None, None, Any]]] = {
    REPORT: _report,
    SESSIONS: _sessions,
    LOOK_AT_SESSION: _look_at_session,
    END_SESSION: _end_session,
    FORGET_AFFINITY: _forget_affinity,
    EXPLAIN: _explain,
}
"""What is done for a question, by what it is about."""
