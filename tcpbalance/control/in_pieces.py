"""Work of the admin side in pieces, between which the reactor serves others.

Where it is known whether others wait, as on the native data path, such work gives way as soon as they do, and
leaves the processor to them for a while; it pauses now and then in any case, for other processes. Where it is
not known, it goes on for some time in each turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakMethod

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

LOOKS_EVERY = 0.00005
"""Seconds for which one work goes on before another one's turn comes, and it is looked whether others wait:
so long they wait for it at most."""

PAUSES_FOR = 0.001
"""Seconds for which work pauses where it is known whether others wait, the shortest time of the reactor: a
short connection has several events in that time."""

WORK_BEFORE_PAUSE = 0.0015
"""Seconds for which work goes on before it pauses while others do not wait. Other workers and backends may
be on the same processors, and would wait for it without a pause."""

GIVES_WAY_FOR = 0.002
"""Seconds for which work gives way to others that wait all the time."""

SHARE = 0.25
"""Of the time since it has last worked, for which work goes on after that, even though others wait."""

WORK_IN_A_TURN = 0.0003
"""Seconds for which work goes on in one turn of the reactor where it is not known whether others wait."""

MAX_WORK_IN_A_TURN = 0.001
"""Seconds for which it goes on in any case: where it is not known, as long as others have taken in their
turn. An operator of a busy balancer would wait too long for an answer otherwise; and the others wait no more
than twice as long."""

T = TypeVar("T")

OthersWait = Callable[[], bool | None]
"""Whether others wait for their turn; None where that is not known."""


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
        clock, pieces = time.perf_counter, self._pieces
        try:
            while clock() < until:
                next(pieces)
        except StopIteration as end:
            return (end.value,)
        except Exception:
            return Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        return None


class _WorkInTurns:
    """All such work of one reactor.

    :ivar look: gives what says whether others wait, or None.
    """

    def __init__(self) -> None:
        self.look: Callable[[], OthersWait | None] = lambda: None
        self._waiting: deque[_Work] = deque()
        self._is_working = False
        self._ended = 0.0

    def add(self, reactor: Any, work: _Work) -> None:
        """Begin with a work at once, where there is no other one, and others do not wait."""
        self._waiting.append(work)
        if len(self._waiting) == 1 and not self._is_working:
            self._ended = time.perf_counter()
            self._take_turn(reactor)

    def _take_turn(self, reactor: Any) -> None:
        now = time.perf_counter()
        paused = now - self._ended
        look = self.look()
        others_wait = None if look is None else look()
        if look is None or others_wait is None:
            self._work(now + min(max(paused, WORK_IN_A_TURN), MAX_WORK_IN_A_TURN))
        elif not others_wait:
            self._work_until_others_wait(now + WORK_BEFORE_PAUSE, look)
        elif paused >= GIVES_WAY_FOR:
            self._work(now + min(paused * SHARE, MAX_WORK_IN_A_TURN))
        if self._waiting:
            reactor.callLater(0 if others_wait is None else PAUSES_FOR, self._take_turn, reactor)

    def _work_until_others_wait(self, until: float, look: OthersWait) -> None:
        """Work for some time at most."""
        while self._waiting and (now := time.perf_counter()) < until:
            self._work(min(until, now + LOOKS_EVERY))
            if look():
                break

    def _work(self, until: float) -> None:
        """Work for some time, on each in its turn."""
        self._is_working = True
        while self._waiting and (now := time.perf_counter()) < until:
            work = self._waiting.popleft()
            outcome = work.go_on(min(until, now + LOOKS_EVERY))
            if outcome is None:
                self._waiting.append(work)
            else:
                work.done.callback(outcome[0] if isinstance(outcome, tuple) else outcome)
        self._is_working = False
        self._ended = time.perf_counter()


_of_reactors: WeakKeyDictionary[Any, _WorkInTurns] = WeakKeyDictionary()


def give_way_to(reactor: Any, others_wait: OthersWait) -> None:
    """Have all such work of a reactor give way.

    :param others_wait: a method, whose object is not kept for this; see above.
    """
    _of_reactors.setdefault(reactor, _WorkInTurns()).look = WeakMethod(others_wait)


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
