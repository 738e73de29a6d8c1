"""Work of the admin side in pieces, between which the reactor serves others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

MIN_WORK_IN_A_TURN = 0.0003
"""Seconds for which pieces are worked off in one turn of the reactor, all such work together; and for which
one work goes on before another one's turn comes."""

MAX_WORK_IN_A_TURN = 0.001
"""Seconds for which that is done where others have taken as long in their turn. An operator of a busy
balancer would wait too long for an answer otherwise; and the others wait no more than twice as long."""

T = TypeVar("T")


class _Work:
    """One generator.

    :ivar done: fires with what it returns or raises.
    """

    def __init__(self, pieces: Generator[None, None, Any]) -> None:
        self.done: Deferred[Any] = Deferred()
        self._pieces = pieces

    def go_on(self, until: float) -> tuple[Any] | Failure | None:
        """Work some pieces off.

        :returns: what has come of it; None where it is not at its end.
        """
        try:
            while time.perf_counter() < until:
                next(self._pieces)
        except StopIteration as end:
            return (end.value,)
        except Exception:
            return Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        return None


class _WorkInTurns:
    """All such work of one reactor."""

    def __init__(self) -> None:
        self._waiting: deque[_Work] = deque()
        self._is_working = False
        self._ended = 0.0

    def add(self, reactor: Any, work: _Work) -> None:
        """Begin with a work at once, where there is no other one."""
        self._waiting.append(work)
        if len(self._waiting) == 1 and not self._is_working:
            self._go_on(reactor, MIN_WORK_IN_A_TURN)

    def _take_turn(self, reactor: Any) -> None:
        others = time.perf_counter() - self._ended
        self._go_on(reactor, min(max(others, MIN_WORK_IN_A_TURN), MAX_WORK_IN_A_TURN))

    def _go_on(self, reactor: Any, seconds: float) -> None:
        self._is_working = True
        now = time.perf_counter()
        until = now + seconds
        while self._waiting and now < until:
            work = self._waiting.popleft()
            outcome = work.go_on(min(until, now + MIN_WORK_IN_A_TURN))
            if outcome is None:
                self._waiting.append(work)
            else:
                work.done.callback(outcome[0] if isinstance(outcome, tuple) else outcome)
            now = time.perf_counter()
        self._is_working = False
        self._ended = now
        if self._waiting:
            reactor.callLater(0, self._take_turn, reactor)


_of_reactors: WeakKeyDictionary[Any, _WorkInTurns] = WeakKeyDictionary()


def in_pieces(reactor: Any, pieces: Generator[None, None, T]) -> Deferred[T]:
    """Work off a generator, a few of its pieces in each turn.

    :param reactor: IReactorTime.
    :returns: what the generator returns or raises.
    """
    work = _Work(pieces)
    _of_reactors.setdefault(reactor, _WorkInTurns()).add(reactor, work)
    return work.done


def at_once(pieces: Generator[None, None, T]) -> T:
    """Work off a generator without a break."""
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        result: T = end.value
        return result
