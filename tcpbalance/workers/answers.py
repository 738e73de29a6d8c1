"""What a worker answers when the supervisor asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from math import inf
from typing import Any, TypeAlias

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.balancer import Balancer
from tcpbalance.control.affinity import forget_affinity, read_what_to_forget
from tcpbalance.control.explain import explain
from tcpbalance.control.explain_query import read_explain_query
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import (
    EVERYTHING,
    OF_STATUS,
    Entry,
    Scope,
    process_entry,
    report_items,
    report_of,
)
from tcpbalance.control.session_id import SessionId
from tcpbalance.control.sessions import (
    ShownSession,
    end_session,
    joined,
    list_sessions,
    look_at_session,
)
from tcpbalance.control.sessions_query import read_sessions_query
from tcpbalance.overload.loop_lag import LoopLag
from tcpbalance.workers.messages import Message
from tcpbalance.workers.questions import (
    END_SESSION,
    EXPLAIN,
    FORGET_AFFINITY,
    LOOK_AT_SESSION,
    ORDERS,
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
    :param clock: seconds on a monotonic clock, that of the supervisor.
    :param balancer: that is asked about.
    :param place: the number of this worker.
    :param say: see above.
    """

    words: Collection[str] = ("question",)

    _log = Logger()

    def __init__(
        self, reactor: Any, clock: Callable[[], float], balancer: Balancer, place: int, say: SayWith
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._balancer = balancer
        self._place = place
        self._say = say
        self._lag = LoopLag(reactor)
        self._lag.start()
        self._answers: dict[str, Callable[[Question], Generator[None, None, Iterable[object]]]] = {
            REPORT: self._report,
            SESSIONS: self._sessions,
            **{about: partial(answer, balancer) for about, answer in _ANSWERS.items()},
        }

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"question": int(number), "about": str(about)}:
                written: Generator[None, None, int | None] = self._answer(about, message.content)
                if about not in ORDERS:
                    # A supervisor keeps its code when workers are replaced, and may be of before this word.
                    written = self._while_wanted(message.content.get("until", inf), written)
                answer = in_pieces(self._reactor, written)
                answer.addCallback(self._send_answer, number)
                answer.addErrback(self._has_failed, number)

    def _while_wanted(
        self, until: float, written: Generator[None, None, int | None]
    ) -> Generator[None, None, int | None]:
        """Give an answer up that the supervisor does not wait for any more: the next one would come late as
        well where this one takes a share of the time."""
        try:
            while self._clock() < until:
                next(written)
                yield
        except StopIteration as end:
            descriptor: int | None = end.value
            return descriptor
        written.close()
        return None

    def _send_answer(self, descriptor: int | None, number: int) -> None:
        if descriptor is not None:
            self._send(descriptor, {"answer": number})

    def _has_failed(self, failure: Failure, number: int) -> None:
        self._log.failure("a question has no answer", failure)
        self._say({"no_answer": number}, ())

    def send_last_report(self) -> None:
        """Report once more, at the end."""
        question = {"scope": EVERYTHING.content}
        self._send(at_once(self._answer(REPORT, question)), {"last_report": True})

    def _answer(self, about: str, question: Question) -> Generator[None, None, int]:
        """Write an answer; gives its descriptor."""
        items = yield from self._answers[about](question)
        descriptor = yield from write_answer(items)
        return descriptor

    def _report(self, question: Question) -> Generator[None, None, Iterable[object]]:
        scope = Scope.read(question["scope"])
        balancer = self._balancer
        entries = yield from report_of(scope, balancer.factories, balancer.pools, balancer.registries)
        own = [process_entry(self._lag)] if scope.processes else []
        return report_items(chain(own, _without_status(entries)))

    def _sessions(self, question: Question) -> Generator[None, None, Iterable[bytes]]:
        query = read_sessions_query(question["query"])
        lines = yield from list_sessions(self._balancer.registries, self._place, query)
        return joined(lines)

    def _send(self, descriptor: int, content: Mapping[str, Any]) -> None:
        try:
            self._say(content, [descriptor])
        finally:
            os.close(descriptor)


def _without_status(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Leave out what follows the supervisor here."""
    for key, counters in entries:
        for name in OF_STATUS:
            counters.pop(name, None)
        yield key, counters


def _look_at_session(balancer: Balancer, question: Question) -> Generator[None, None, list[ShownSession]]:
    found = yield from look_at_session(balancer.registries, _session_id(question))
    return [] if found is None else [found]


def _end_session(balancer: Balancer, question: Question) -> Generator[None, None, list[ShownSession]]:
    ended = yield from end_session(balancer.registries, _session_id(question))
    return [] if ended is None else [ended]


def _forget_affinity(balancer: Balancer, question: Question) -> Generator[None, None, list[int]]:
    count = yield from forget_affinity(balancer.pools, read_what_to_forget(question["query"]))
    return [count]


def _explain(balancer: Balancer, question: Question) -> Generator[None, None, list[Any]]:
    query = read_explain_query(question["query"])
    factory = balancer.factories.get(query.frontend)
    # It may have come to have another mode since the supervisor has looked.
    if factory is None or (query.request is not None and not factory.context.reads_requests):
        return []
    parts = yield from explain(factory, query, balancer.waits_for(query.frontend))
    return parts


def _session_id(question: Question) -> SessionId:
    found = SessionId.parse(question["id"])
    assert found is not None
    return found


_ANSWERS: dict[str, Callable[[Balancer, Question], Generator[None, None, Iterable[object]]]] = {
    LOOK_AT_SESSION: _look_at_session,
    END_SESSION: _end_session,
    FORGET_AFFINITY: _forget_affinity,
    EXPLAIN: _explain,
}
"""What gives the items of the answers to all other questions, by what they are about."""
