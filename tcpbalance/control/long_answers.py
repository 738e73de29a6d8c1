"""Bounds how many long answers are kept at a time that are not written yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from weakref import WeakSet

from attrs import define
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiError

MAX_LONG_ANSWERS = 8
"""Long answers that are made, or being written. A client that reads slowly keeps one for as long as its
answer may take; a view of a thousand backends takes 2 MB, and a page of 5000 sessions as much."""

T = TypeVar("T")


@define(eq=False, weakref_slot=True)
class LongAnswer:
    """What an answer is made of, or is to be made of.

    :ivar content: kept for as long as this is.
    """

    content: Any = None


class LongAnswers:
    """Those that there are."""

    def __init__(self) -> None:
        self._kept: WeakSet[LongAnswer] = WeakSet()

    def check(self) -> None:
        """See whether one more may be asked for.

        :raises ApiError: there are too many.
        """
        if len(self._kept) >= MAX_LONG_ANSWERS:
            raise ApiError(
                503,
                "too_many_unread",
                f"{MAX_LONG_ANSWERS} long answers are being read: ask again, or for one backend or frontend",
            )

    def keep(self, answer: LongAnswer) -> None:
        """Count an answer for as long as it is kept."""
        self._kept.add(answer)

    def answer(
        self, ask: Callable[[], Deferred[T]], make: Callable[[T], Iterable[bytes]]
    ) -> Deferred[ApiAnswer]:
        """Answer by something long that no other answer shares.

        :param ask: asks for it.
        :param make: makes the body of it.
        :raises ApiError: there are too many, and see *ask*.
        """
        self.check()
        place = LongAnswer()
        self.keep(place)
        return ask().addCallback(lambda found: ApiAnswer(body=body_of(place, make(found))))


def body_of(answer: LongAnswer, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the pieces, and keep what they are made of until then."""
    yield from pieces
