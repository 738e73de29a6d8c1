"""What has happened lately, in the order in which it did."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from time import time
from typing import Any

from attrs import frozen

from tcpbalance.control.timestamps import timestamp

MAX_EVENTS = 1000
"""Events that are kept."""


ORDERED_KINDS = frozenset({"backend_state", "backend_weight", "backend_added", "backend_removed"})
"""Events that a client of the admin side may have ordered; others are found out."""


@frozen
class NumberedEvent:
    """Something that has happened.

    :ivar number: greater than that of each event before it, those before a restart among them.
    :ivar kind: a word for what it is.
    :ivar encoded: the whole, in JSON.
    """

    number: int
    kind: str
    encoded: bytes


class Events:
    """The last events; those that follow them are called with each one.

    :param reactor: IReactorTime, for those that follow.
    :param wall_clock: seconds since the epoch.
    :ivar newest: the number of the last event; where there is none, one that is smaller than all to come.
    """

    def __init__(self, reactor: Any, wall_clock: Callable[[], float] = time) -> None:
        self.reactor = reactor
        self._wall_clock = wall_clock
        self._events: deque[NumberedEvent] = deque(maxlen=MAX_EVENTS)
        # Those that come after a restart have greater numbers, while there are fewer than 1000 a second.
        self.newest = self._forgotten = int(wall_clock() * 1000)
        self._followers: dict[object, Callable[[], object]] = {}
        self._by: str | None = None

    def add(self, kind: str, about: Mapping[str, Any]) -> None:
        """Take note of an event.

        :param about: what JSON takes; an event that comes of an order gets ``by``.
        """
        self.newest += 1
        content = {"number": self.newest, "time": timestamp(self._wall_clock()), "kind": kind, **about}
        if self._by is not None and kind in ORDERED_KINDS:
            content["by"] = self._by
        if len(self._events) == MAX_EVENTS:
            self._forgotten = self._events[0].number
        self._events.append(
            NumberedEvent(self.newest, kind, json.dumps(content, separators=(",", ":")).encode())
        )
        for follow in list(self._followers.values()):
            follow()

    def after(self, number: int, limit: int = MAX_EVENTS) -> tuple[bool, list[NumberedEvent]]:
        """Give the events after one, the oldest first.

        :param number: of that event; 0 for all that there are, which is also what there is after a number
            that is none of these: it is from before a restart.
        :param limit: how many at most.
        :returns: whether some are missing, which are not known any more; and the events.
        """
        missed = number != 0 and not self._forgotten <= number <= self.newest
        if missed:
            number = 0
        begin = bisect_right(self._events, number, key=lambda event: event.number)
        found = list(islice(self._events, begin, begin + limit))
        return missed, found

    def follow(self, on_news: Callable[[], object]) -> Callable[[], object]:
        """Have a callable called with each event from now on, which is there then.

        :returns: ends that.
        """
        key = object()
        self._followers[key] = on_news
        return lambda: self._followers.pop(key, None)

    @contextmanager
    def ordered_by(self, peer: str) -> Iterator[None]:
        """Have events say by which client of the admin side they were ordered; for no longer than a turn, as
        other things happen in the next one."""
        self._by = peer
        try:
            yield
        finally:
            self._by = None
