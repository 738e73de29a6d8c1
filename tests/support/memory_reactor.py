"""A reactor of which tests turn the crank: Twisted's own dispatch over memory sockets and a ``Clock``.

Which method of a descriptor is called for which event, and what its answer does, is Twisted's code
(``_PollLikeMixin`` and ``_DisconnectSelectableMixin``, from the epoll reactor); only the waiting is replaced.
"""

from __future__ import annotations

import random
import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.posixbase import _DisconnectSelectableMixin, _PollLikeMixin
from twisted.internet.task import Clock
from twisted.python import log
from zope.interface import implementer

Events = Callable[[], int]

_ALWAYS = select.EPOLLHUP | select.EPOLLERR


@implementer(IReactorFDSet, IReactorTime)
class MemoryReactor(_PollLikeMixin, _DisconnectSelectableMixin):
    """Level-triggered, like the epoll reactor; one ``turn`` is one iteration of it.

    :param clock: tells the time and keeps delayed calls.
    :param shuffle: draws the order in which descriptors that are ready together are served; None = by number.
    :ivar running: whether there will be another turn.
    """

    _POLL_DISCONNECTED = _ALWAYS
    _POLL_IN = select.EPOLLIN
    _POLL_OUT = select.EPOLLOUT

    def __init__(self, clock: Clock, shuffle: random.Random | None = None) -> None:
        self.running = True
        self._clock = clock
        self._shuffle = shuffle
        self._reads: set[int] = set()
        self._writes: set[int] = set()
        self._selectables: dict[int, Any] = {}
        self._events: dict[int, Events] = {}

    # IReactorTime

    def seconds(self) -> float:
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> Any:  # noqa: A002 - Twisted's
        return self._clock.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Any:
        return self._clock.getDelayedCalls()

    # IReactorFDSet

    def addReader(self, reader: Any) -> None:
        self._add(reader, self._reads)

    def addWriter(self, writer: Any) -> None:
        self._add(writer, self._writes)

    def removeReader(self, reader: Any) -> None:
        self._remove(reader, self._reads)

    def removeWriter(self, writer: Any) -> None:
        self._remove(writer, self._writes)

    def getReaders(self) -> list[Any]:
        return [self._selectables[number] for number in sorted(self._reads)]

    def getWriters(self) -> list[Any]:
        return [self._selectables[number] for number in sorted(self._writes)]

    def removeAll(self) -> list[Any]:
        removed = list(self._selectables.values())
        for selectable in removed:
            self.removeReader(selectable)
            self.removeWriter(selectable)
        return removed

    # The crank

    def know(self, number: int, events: Events) -> None:
        """Ask *events* what holds for the descriptor *number*."""
        self._events[number] = events

    def turn(self) -> bool:
        """One iteration: the delayed calls that are due, then the descriptors that are ready.

        :returns: whether there was anything to do.
        """
        called = self._run_due_calls()
        ready = self._ready()
        for number, events in ready:
            selectable = self._selectables.get(number)
            if selectable is not None:
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, number, events)
        return called or bool(ready)

    def _run_due_calls(self) -> bool:
        # Calls that these make for now wait for the next turn, as in ReactorBase.runUntilCurrent.
        due = [call for call in self._clock.calls if call.getTime() <= self._clock.seconds()]
        for call in due:
            if call.active():
                self._clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        return bool(due)

    def _ready(self) -> list[tuple[int, int]]:
        ready = [(number, mask) for number in sorted(self._selectables) if (mask := self._mask(number))]
        if self._shuffle is not None:
            self._shuffle.shuffle(ready)
        return ready

    def _mask(self, number: int) -> int:
        wanted = _ALWAYS
        if number in self._reads:
            wanted |= select.EPOLLIN
        if number in self._writes:
            wanted |= select.EPOLLOUT
        return self._events[number]() & wanted

    def _add(self, selectable: Any, interested: set[int]) -> None:
        number = selectable.fileno()
        assert number in self._events, f"{selectable} has no open descriptor"
        interested.add(number)
        self._selectables[number] = selectable

    def _remove(self, selectable: Any, interested: set[int]) -> None:
        number = selectable.fileno()
        interested.discard(number)
        if number not in self._reads and number not in self._writes:
            self._selectables.pop(number, None)
