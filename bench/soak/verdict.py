"""What became of each session, and whether it is explained by a fault that was made."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

LATE = 1.0
"""Seconds after a fault within which its effects are seen: the machine is busy."""

ANY_PLACE = -1
"""The place of a process of which it is not known."""


@define
class Side:
    """What one side of a session has seen.

    :ivar received: bytes.
    :ivar is_right: whether all of them were what had been sent, in order.
    :ivar has_all: whether all that was sent has come, and then an end without an error.
    """

    received: int = 0
    is_right: bool = True
    has_all: bool = False


@define(kw_only=True)
class Session:
    """One session, from the connection to the last that either side has seen.

    :ivar number: by which both sides know it.
    :ivar place: the worker that its client belongs to.
    :ivar began: seconds on a clock, when it was connected.
    :ivar ended: when both sides had seen its end; None before that.
    :ivar is_cut_by_plan: whether one of its sides was to reset it.
    :ivar backend: which has served it; None where none has heard of it.
    :ivar error: that the client has seen.
    :ivar backend_ended: whether a backend that has served it has seen its end.
    """

    number: int
    place: int
    began: float
    ended: float | None = None
    is_cut_by_plan: bool = False
    backend: int | None = None
    error: str = ""
    client_side: Side = field(factory=Side)
    backend_side: Side = field(factory=Side)
    backend_ended: asyncio.Event = field(factory=asyncio.Event, repr=False, eq=False)

    @property
    def is_whole(self) -> bool:
        """Whether both sides have all."""
        return self.client_side.has_all and self.backend_side.has_all

    @property
    def is_right(self) -> bool:
        """Whether neither side has had a byte that was not the next one."""
        return self.client_side.is_right and self.backend_side.is_right


@frozen
class Fault:
    """A fault that ends sessions.

    :param what: in the report.
    :param first: seconds, when it began.
    :param last: when it was over.
    :param place: the worker whose sessions it ends, or `ANY_PLACE`; None for those of a backend.
    :param backend: that whose sessions it ends.
    """

    what: str
    first: float
    last: float
    place: int | None = None
    backend: int | None = None

    def ends(self, session: Session) -> bool:
        """Whether it may have ended a session."""
        assert session.ended is not None
        if session.began > self.last + LATE or session.ended < self.first:
            return False
        if self.place is not None:
            return self.place in {ANY_PLACE, session.place}
        return session.backend in (None, self.backend)


def explain(session: Session, faults: Iterable[Fault]) -> str | None:
    """Say why a session is not whole.

    :returns: None where nothing explains it.
    """
    if session.is_cut_by_plan:
        return "reset by plan"
    return next((fault.what for fault in faults if fault.ends(session)), None)


@define
class Account:
    """All sessions, and what became of them.

    :ivar sessions: by their numbers.
    :ivar faults: that were made.
    :ivar strange: what was seen beside the sessions, and must not be.
    """

    sessions: dict[int, Session] = field(factory=dict)
    faults: list[Fault] = field(factory=list)
    strange: list[str] = field(factory=list)

    def counts(self) -> Counter[str]:
        """Count what became of the sessions."""
        return Counter(self._became(session) for session in self.sessions.values())

    def _became(self, session: Session) -> str:
        if session.is_whole:
            return "whole"
        if session.ended is None:
            return "does not end"
        return explain(session, self.faults) or "unexplained"

    def mistakes(self) -> Iterator[str]:
        """Give what must not be: each a line."""
        yield from self.strange
        for session in self.sessions.values():
            if not session.is_right:
                yield f"bytes that are not what was sent: {session}"
            elif session.ended is None:
                yield f"does not end: {session}"
            elif not session.is_whole and explain(session, self.faults) is None:
                yield f"cut, and nothing explains it: {session}"
