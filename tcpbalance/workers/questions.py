"""What the supervisor asks its workers, and what they have counted before they ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import count
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from tcpbalance.config.models import Config
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import (
    BACKEND,
    EVERYTHING,
    FRONTEND,
    LOOP_LAG,
    POOL,
    PROCESS,
    Counters,
    CountersKey,
    Entry,
    Report,
    Scope,
    entries_of,
    loop_lag_of,
    past_of,
    sum_of,
)
from tcpbalance.workers.messages import Message, MessageError
from tcpbalance.workers.shared_state import ToWorker

WORKERS_ANSWER_WITHIN = 2.0
"""Seconds."""

LINES_AT_ONCE = 20
"""Lines of an answer that are read together, in a fifth of a millisecond."""

LINE_BYTES_AT_ONCE = 32 * 1024
"""Of lines that are only taken apart."""

REPORT = "report"
"""What is asked for what a worker has counted, with the ``scope``; see ``report``."""

SESSIONS = "sessions"
"""What is asked for open sessions, with a ``query`` as ``read_sessions_query`` takes it. The answer
consists of ``SessionLine``."""

LOOK_AT_SESSION = "session"
END_SESSION = "end_session"
"""What is asked about the session of an ``id``, and what ends it."""

EXPLAIN = "explain"
"""Asks what would become of a connection, by a ``query`` as ``read_explain_query`` takes it; nothing where
the worker has no such frontend at the time."""

FORGET_AFFINITY = "forget_affinity"
"""Has a worker forget, by a ``query`` as ``read_what_to_forget`` takes it."""

ORDERS = frozenset({END_SESSION, FORGET_AFFINITY})
"""A worker does these also where it is late. It answers everything else only for as long as the supervisor
waits: ``until`` a time of the monotonic clock."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def write_answer(items: Iterable[object]) -> Generator[None, None, int]:
    """Put an answer where the supervisor reads it: it may be longer than a message. Works in pieces.

    :param items: that it consists of; each is a line of JSON, or lines that are written already.
    :returns: a descriptor of memory.
    :raises OSError: the system has no more memory or descriptors.
    """
    descriptor = os.memfd_create("tcpbalance answer")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            for item in items:
                file.write(item if isinstance(item, bytes) else _encode(item).encode() + b"\n")
                yield
    except BaseException:  # It may be given up in the middle as well.
        os.close(descriptor)
        raise
    return descriptor


def _read_answer(written: bytes) -> Generator[None, None, list[Any]]:
    items: list[Any] = []
    lines = written.splitlines()
    for begin in range(0, len(lines), LINES_AT_ONCE):
        items += json.loads(b"[%b]" % b",".join(lines[begin : begin + LINES_AT_ONCE]))
        yield
    return items


def _read_lines(written: bytes) -> Generator[None, None, list[Any]]:
    lines: list[Any] = []
    file = BytesIO(written)
    while some := file.readlines(LINE_BYTES_AT_ONCE):
        lines += some
        yield
    return lines


def _written(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class NoAnswer(ApiError):
    """A worker has not given what it was asked for. What it was asked to do may be done, or be done later.

    :param place: its number.
    """

    may_be_done = True

    def __init__(self, place: int, status: int, code: str, message: str) -> None:
        super().__init__(status, code, f"worker {place} {message}")
        self.place = place


def _silent(place: int) -> NoAnswer:
    within = f"{WORKERS_ANSWER_WITHIN:g} s"
    return NoAnswer(place, 503, "worker_silent", f"has not answered for {within}: ask again")


def _failed(place: int) -> NoAnswer:
    return NoAnswer(place, 500, "worker_failed", "has failed to answer: the reason is in the log")


@frozen
class Answers:
    """What has come of a question.

    :ivar given: each worker that has answered, with the items of its answer: none where it has ended.
    :ivar missing: the others.
    """

    given: list[tuple[ToWorker, Any]]
    missing: list[NoAnswer]

    def complete(self) -> list[tuple[ToWorker, Any]]:
        """Give the answers.

        :raises NoAnswer: one is missing.
        """
        for missing in self.missing:
            raise missing
        return self.given


class _AskedWorker:
    """One question to one worker.

    :param about: what is asked.
    :param scope: of the report that is asked for; None where another thing is.
    """

    def __init__(self, worker: ToWorker, about: str, scope: Scope | None) -> None:
        self.worker = worker
        self.read = _read_lines if about == SESSIONS else _read_answer
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
    :param clock: seconds on a monotonic clock, that of the workers.
    :param known: the keys of what there is; see `keys_of`.
    :ivar past: the sum of what processes have counted that have ended; of one that was killed, what it had
        counted when it was asked last. The lag of their loops is under `LOOP_LAG` and their place. What
        backends have counted that are removed is with their pool, as in each process; what was counted of
        frontends and pools that are gone is forgotten.
    """

    words: Collection[str] = ("answer", "no_answer", "last_report")

    def __init__(self, reactor: Any, clock: Callable[[], float], known: Container[CountersKey]) -> None:
        self.past: Report = {}
        self._known = known
        self._reactor = reactor
        self._clock = clock
        self._numbers = count()
        self._asked: dict[int, _AskedWorker] = {}
        # What each worker has counted, each with the number of the question by which that is known.
        self._latest: dict[ToWorker, dict[CountersKey, tuple[int, Counters]]] = {}

    def go_on_by(self, config: Config) -> None:
        """Take note what there is now."""
        self._known = keys_of(config)
        self.past = at_once(sum_of([self._as_now(self.past.items())]))

    def _as_now(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Have counters under the keys of what there is now."""
        for key, counters in entries:
            if key[0] in (PROCESS, LOOP_LAG) or key in self._known:
                yield key, counters
            elif key[0] == BACKEND and (POOL, key[1]) in self._known:
                yield (POOL, key[1]), counters

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``: from now on it is asked, too."""
        self._latest[worker] = {}

    def ask(self, about: str, more: Mapping[str, Any] = {}, place: int | None = None) -> Deferred[Answers]:
        """Ask all processes, those that drain among them.

        :param about: what is asked.
        :param more: about it.
        :param place: asks only the processes that have, or had, this place; None for all.
        :returns: fires when each has answered or failed to, has ended, or has been silent for too long; fails
            with ApiError where the question is too long for a message.
        """
        asked = [self._ask(worker, about, more) for worker in self._latest if place in (None, worker.place)]
        return DeferredList(asked, consumeErrors=True).addCallback(_answers)

    def find(self, about: str, more: Mapping[str, Any], place: int) -> Deferred[Any]:
        """Ask the processes that have, or had, a place for what one of them has.

        :returns: fires with the item of the first answer that has one, or with None where none has; fails
            with NoAnswer where one that has not answered may have it, and see `ask`.
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
            until = self._clock() + WORKERS_ANSWER_WITHIN
            worker.send({"question": number, "about": about, "until": until, **more})
        except MessageError:
            return fail(ApiError(400, "too_long", "the parameters are too long"))
        question = self._asked[number] = _AskedWorker(
            worker, about, Scope.read(more["scope"]) if about == REPORT else None
        )
        question.timeout = self._reactor.callLater(WORKERS_ANSWER_WITHIN, self._give_up, number)
        return question.answer.addCallback(lambda answer: (worker, answer))

    def _give_up(self, number: int) -> None:
        self._settle(number, _failure(_silent(self._asked[number].worker.place)))

    def _settle(self, number: int, answer: Any) -> None:
        question = self._asked.pop(number, None)
        if question is not None:
            question.settle(answer)

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        match message.content:
            case {"answer": int(number)} if number in self._asked:
                # Its descriptors are closed when this returns.
                read = self._asked[number].read
                items = in_pieces(self._reactor, read(_written(message.descriptors[0])))
                items.addCallback(self._take, worker, number)
            case {"no_answer": int(number)}:
                self._settle(number, _failure(_failed(worker.place)))
            case {"last_report": _} if worker in self._latest:
                items_of_all = at_once(_read_answer(_written(message.descriptors[0])))
                self._keep(worker, EVERYTHING, next(self._numbers), items_of_all)

    def _take(self, items: list[Any], worker: ToWorker, number: int) -> None:
        question = self._asked.get(number)
        if question is not None and question.scope is not None and worker in self._latest:
            items = self._keep(worker, question.scope, number, items)
        self._settle(number, items)

    def _keep(self, worker: ToWorker, scope: Scope, number: int, items: list[Any]) -> list[Entry]:
        """Keep what a worker has counted in the place of what it had counted before.

        :param number: of the question; answers to later ones may have been read before, and stay.
        """
        entries = entries_of(items)
        counted = {key: (number, it) for key, it in (_that_stays(worker, entry) for entry in entries)}
        stay = {
            key: it
            for key, it in self._latest[worker].items()
            if it[0] > number or not (key in counted or scope.has(key))
        }
        self._latest[worker] = {**counted, **stay}
        return entries

    def counted(self, scope: Scope, answers: Answers) -> list[Iterable[Entry]]:
        """Give what all processes have counted by the answers to a question for that: those that answered,
        and those that have ended, each once.

        :raises NoAnswer: one is missing.
        """
        past = self.past.items()
        return [
            ((key, counters) for key, counters in past if scope.has(key)),
            *(
                self._as_now(_of_worker(*answer))
                for answer in answers.complete()
                if answer[0] in self._latest
            ),
        ]

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``: what it has counted stays. What it is asked for is not there any more."""
        latest = self._latest.pop(worker, None)
        if latest:
            report = {key: counters for key, (_, counters) in latest.items()}
            self.past = at_once(sum_of([self.past.items(), self._as_now(past_of(report))]))
        for number in [number for number, asked in self._asked.items() if asked.worker is worker]:
            self._settle(number, [])


def keys_of(config: Config) -> set[CountersKey]:
    """Give the keys of the counters of all that a configuration has."""
    keys: set[CountersKey] = {(FRONTEND, name) for name in config.frontends}
    for name, pool in config.pools.items():
        keys.add((POOL, name))
        keys.update((BACKEND, name, backend.name, str(backend.address)) for backend in pool.backends)
    return keys


def _answers(results: Iterable[tuple[bool, Any]]) -> Answers:
    """Sort what has come of the questions to each worker."""
    given, missing = [], []
    for is_answer, result in results:
        if is_answer:
            given.append(result)
        elif isinstance(result.value, NoAnswer):
            missing.append(result.value)
        else:
            result.raiseException()
    return Answers(given, missing)


def _failure(error: NoAnswer) -> Failure:
    return Failure(error)  # type: ignore[no-untyped-call]  # Twisted's is not annotated


def _that_stays(worker: ToWorker, entry: Entry) -> Entry:
    """Give what stays of an entry after the end of the worker: of what its process takes, the lag."""
    key, counters = entry
    return entry if key[0] != PROCESS else ((LOOP_LAG, str(worker.place)), loop_lag_of(counters))


def _of_worker(worker: ToWorker, entries: Iterable[Entry]) -> Iterator[Entry]:
    for key, counters in entries:
        yield key, {"worker": worker.place, **counters} if key[0] == PROCESS else counters
