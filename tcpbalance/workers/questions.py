"""What the supervisor asks its workers, and what they have counted before they ended."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Generator, Iterable, Mapping
from itertools import count
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tcpbalance.control.api_request import ApiError
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import EVERYTHING, PROCESS, Entry, Report, Scope, past_of, sum_of
from tcpbalance.workers.messages import Message, MessageError
from tcpbalance.workers.shared_state import ToWorker

WORKERS_ANSWER_WITHIN = 2.0
"""Seconds."""

REPORT = "report"
"""What is asked for what a worker has counted, with the ``scope``; see ``report``."""

SESSIONS = "sessions"
"""What is asked for open sessions, with a ``query`` as ``read_sessions_query`` takes it."""

LOOK_AT_SESSION = "session"
END_SESSION = "end_session"
"""What is asked about the session of an ``id``, and what ends it."""

EXPLAIN = "explain"
"""Asks what would become of a connection, by a ``query`` as ``read_explain_query`` takes it; None where the
worker has no such frontend at the time."""

FORGET_AFFINITY = "forget_affinity"
"""Has a worker forget, by a ``query`` as ``read_what_to_forget`` takes it."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def write_answer(items: Iterable[object]) -> Generator[None, None, int]:
    """Put an answer where the supervisor reads it: it may be longer than a message. Works in pieces.

    :param items: that it consists of; each is a line of JSON.
    :returns: a descriptor of memory.
    :raises OSError: the system has no more memory or descriptors.
    """
    descriptor = os.memfd_create("tcpbalance answer")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        for item in items:
            file.write(_encode(item).encode() + b"\n")
            yield
    return descriptor


def _read_answer(written: bytes) -> Generator[None, None, list[Any]]:
    items: list[Any] = []
    for line in written.splitlines():
        items.append(json.loads(line))
        yield
    return items


def _written(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class WorkerSilent(ApiError):
    """A worker has not answered. What it was asked to do it does as soon as it goes on.

    :param place: its number.
    :param why: it has not, such as ``has ended meanwhile``.
    """

    may_be_done = True

    def __init__(self, place: int, why: str) -> None:
        super().__init__(503, "worker_silent", f"worker {place} {why}: ask again")
        self.place = place


@frozen
class Answers:
    """What has come of a question.

    :ivar given: each worker that has answered, with the items of its answer.
    :ivar missing: the others.
    """

    given: list[tuple[ToWorker, Any]]
    missing: list[WorkerSilent]

    def complete(self) -> list[tuple[ToWorker, Any]]:
        """Give the answers.

        :raises WorkerSilent: one is missing.
        """
        for silent in self.missing:
            raise silent
        return self.given


class _AskedWorker:
    """One question to one worker.

    :param scope: of the report that is asked for; None where another thing is.
    """

    def __init__(self, worker: ToWorker, scope: Scope | None) -> None:
        self.worker = worker
        self.scope = scope
        self.answer: Deferred[Any] = Deferred()
        self.timeout: IDelayedCall | None = None

    def settle(self, answer: Any) -> None:
        """Take the answer, or the failure that there is none."""
        if self.timeout is not None and self.timeout.active():
            self.timeout.cancel()
        self.answer.callback(answer)


class Questions:
    """See ``SharedState``.

    :param reactor: IReactorTime.
    :ivar past: the sum of what processes have counted that have ended; of one that was killed, what it had
        counted when it was asked last.
    """

    words: Collection[str] = ("answer", "last_report")

    def __init__(self, reactor: Any) -> None:
        self.past: Report = {}
        self._reactor = reactor
        self._numbers = count()
        self._asked: dict[int, _AskedWorker] = {}
        self._latest: dict[ToWorker, Report] = {}

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``: from now on it is asked, too."""
        self._latest[worker] = {}

    def ask(self, about: str, more: Mapping[str, Any] = {}, place: int | None = None) -> Deferred[Answers]:
        """Ask all processes, those that drain among them.

        :param about: what is asked.
        :param more: about it.
        :param place: asks only the processes that have, or had, this place; None for all.
        :returns: fires when each has answered, has ended, or has been silent for too long; fails with
            ApiError where the question is too long for a message.
        """
        asked = [self._ask(worker, about, more) for worker in self._latest if place in (None, worker.place)]
        return DeferredList(asked, consumeErrors=True).addCallback(_answers)

    def find(self, about: str, more: Mapping[str, Any], place: int) -> Deferred[Any]:
        """Ask the processes that have, or had, a place for what one of them has.

        :returns: fires with the item of the first answer that has one, or with None where none has; fails
            with WorkerSilent where one that has not answered may have it, and see `ask`.
        """
        found: Deferred[Any] = Deferred()

        def look(answer: tuple[ToWorker, Any]) -> tuple[ToWorker, Any]:
            if answer[1] and not found.called:
                found.callback(answer[1][0])
            return answer

        def conclude(results: Any) -> None:
            if not found.called:
                try:
                    _answers(results).complete()
                except ApiError:
                    found.errback()
                else:
                    found.callback(None)

        asked = [self._ask(worker, about, more) for worker in self._latest if worker.place == place]
        for answer in asked:
            answer.addCallback(look)
        DeferredList(asked, consumeErrors=True).addCallback(conclude)
        return found

    def _ask(self, worker: ToWorker, about: str, more: Mapping[str, Any]) -> Deferred[tuple[ToWorker, Any]]:
        number = next(self._numbers)
        try:
            worker.send({"question": number, "about": about, **more})
        except MessageError:
            return fail(ApiError(400, "too_long", "the parameters are too long"))
        question = self._asked[number] = _AskedWorker(
            worker, Scope.read(more["scope"]) if about == REPORT else None
        )
        question.timeout = self._reactor.callLater(WORKERS_ANSWER_WITHIN, self._give_up, number)
        return question.answer.addCallback(lambda answer: (worker, answer))

    def _give_up(self, number: int) -> None:
        worker = self._asked[number].worker
        self._settle(number, _no_answer(worker, f"has not answered for {WORKERS_ANSWER_WITHIN:g} s"))

    def _settle(self, number: int, answer: Any) -> None:
        question = self._asked.pop(number, None)
        if question is not None:
            question.settle(answer)

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        match message.content:
            case {"answer": int(number)}:
                # Its descriptors are closed when this returns.
                items = in_pieces(self._reactor, _read_answer(_written(message.descriptors[0])))
                items.addCallback(self._take, worker, number)
            case {"last_report": _} if worker in self._latest:
                self._keep(worker, EVERYTHING, at_once(_read_answer(_written(message.descriptors[0]))))

    def _take(self, items: list[Any], worker: ToWorker, number: int) -> None:
        question = self._asked.get(number)
        if question is not None and question.scope is not None and worker in self._latest:
            items = self._keep(worker, question.scope, items)
        self._settle(number, items)

    def _keep(self, worker: ToWorker, scope: Scope, items: list[Any]) -> list[Entry]:
        """Keep what a worker has counted in the place of what it had counted before."""
        entries = [(tuple(key), counters) for key, counters in items]
        others = {key: it for key, it in self._latest[worker].items() if not scope.has(key)}
        self._latest[worker] = {**others, **{key: it for key, it in entries if key[0] != PROCESS}}
        return entries

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``: what it has counted stays."""
        latest = self._latest.pop(worker, None)
        if latest:
            self.past = at_once(sum_of([self.past.items(), past_of(latest)]))
        for number in [number for number, asked in self._asked.items() if asked.worker is worker]:
            self._settle(number, _no_answer(worker, "has ended meanwhile"))


def _answers(results: Iterable[tuple[bool, Any]]) -> Answers:
    """Sort what has come of the questions to each worker."""
    given, missing = [], []
    for is_answer, result in results:
        if is_answer:
            given.append(result)
        elif isinstance(result.value, WorkerSilent):
            missing.append(result.value)
        else:
            result.raiseException()
    return Answers(given, missing)


def _no_answer(worker: ToWorker, why: str) -> Failure:
    error = WorkerSilent(worker.place, why)
    return Failure(error)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
