"""Bounds how many long answers are kept at a time that are not written yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any, TypeVar
from weakref import WeakSet

from attrs import define, field
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiError

MAX_LONG_ANSWERS = 8
"""Long answers that are made, or being written: a view of a thousand backends takes 2 MB, and a page of 5000
sessions as much."""

READ_FOR = 5.0
"""Seconds for which clients may read a long answer in any case. After that it is given up where another one
is asked for and there are too many: so clients that read slowly keep others waiting for no longer."""

T = TypeVar("T")


@define(eq=False, weakref_slot=True)
class LongAnswer:
    """What answers are made of, or are to be made of.

    :ivar content: kept for as long as this is.
    :ivar read_since: when the first of them was given to be read; infinite before.
    """

    content: Any = None
    read_since: float = inf
    _bodies: WeakSet[_LongBody] = field(factory=WeakSet, init=False)

    def body(self, pieces: Iterable[bytes], now: float) -> Iterator[bytes]:
        """Give the pieces of an answer, and keep what it is made of until all are read.

        :param now: by the clock of ``LongAnswers``.
        """
        self.read_since = min(self.read_since, now)
        body = _LongBody(self, pieces)
        self._bodies.add(body)
        return body

    def give_up(self) -> None:
        """Keep nothing; what is still read is cut short."""
        for body in list(self._bodies):
            body.give_up()


class _LongBody(Iterator[bytes]):
    """The pieces of an answer.

    :param answer: what it is made of.
    """

    def __init__(self, answer: LongAnswer, pieces: Iterable[bytes]) -> None:
        self._answer: LongAnswer | None = answer
        self._pieces = iter(pieces)

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            self._answer = None
            raise

    def give_up(self) -> None:
        """Keep nothing; raises ApiError when it is read on."""
        self._answer, self._pieces = None, _GivenUp()


class _GivenUp(Iterator[bytes]):
    """Stands for pieces that are not made any more."""

    def __next__(self) -> bytes:
        raise ApiError(503, "read_too_slowly", "the answer was read too slowly: others want long answers")


class LongAnswers:
    """Those that there are.

    :param clock: seconds on a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: WeakSet[LongAnswer] = WeakSet()

    def check(self) -> None:
        """See whether one more may be asked for; the one that is read for longest is given up for it, where
        its time is over.

        :raises ApiError: there are too many.
        """
        if len(self._kept) < MAX_LONG_ANSWERS:
            return
        if self._clock() - min(answer.read_since for answer in self._kept) < READ_FOR:
            raise ApiError(
                503,
                "too_many_unread",
                f"{MAX_LONG_ANSWERS} long answers are being read: ask again, or for one backend or frontend",
            )
        longest = min(self._kept, key=lambda answer: answer.read_since)
        self._kept.discard(longest)
        longest.give_up()

    def keep(self, answer: LongAnswer) -> None:
        """Count an answer for as long as it is kept."""
        self._kept.add(answer)

    def body(self, answer: LongAnswer, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Give the pieces of an answer that is kept to be read; see ``LongAnswer``."""
        return answer.body(pieces, self._clock())

    def answer(
        self, ask: Callable[[], Deferred[T]], make: Callable[[T], Iterable[bytes]]
    ) -> Deferred[ApiAnswer]:
        """Answer by something long that no other answer shares.

        :param ask: asks for it.
        :param make: makes the body of it.
        :raises ApiError: there are too many, and see *ask*.
        """
        self.check()
        kept = LongAnswer()
        self.keep(kept)
        return ask().addCallback(lambda found: ApiAnswer(body=self.body(kept, make(found))))
