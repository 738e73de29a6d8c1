"""Wakeups: how a worker learns that something was given back for which its clients wait.

The wakeup of a worker is an eventfd, which the others have, too. In shared memory each worker says how many
clients wait in it for what. A worker that gives something back draws one of those clients by lot, and wakes
the worker where it waits, or serves it itself.

A worker may be busy or stopped, and one that was killed wakes no other. So a worker that has woken another
looks again a moment later, and wakes a third where what was given back has not been taken. One that has not
handled its wakeup by then is not woken again before it has. And one in which clients wait looks without a
wakeup, too, less and less often while it finds nothing.

What waits says so first and looks once more then, and what is given back is given back first and then it is
looked at what waits: of the two, one sees the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.pool.shared_load import WaitsHere
from tcpbalance.workers.shared_counts import SharedCount

ANSWERED_WITHIN = 0.005
"""Seconds in which a worker takes what was given back, before it is passed over."""

LOOK_WITHOUT_WAKEUP_AFTER = 0.02
"""Seconds after which a worker in which something waits looks without a wakeup; doubled after each look that
finds nothing."""

LOOK_WITHOUT_WAKEUP_EVERY = 0.2
"""Seconds between two of these looks at most."""

WAKE_ALL = 1000
"""What is written to the wakeup of a worker that is to take as much as it can use."""


def make_wakeups(count: int) -> list[int]:
    """Make a wakeup for each column.

    :returns: descriptors; the caller's.
    :raises OSError: the system has no more.
    """
    wakeups: list[int] = []
    with ExitStack() as undo:
        for _ in range(count):
            wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undo.callback(os.close, wakeup)
            wakeups.append(wakeup)
        undo.pop_all()
    return wakeups


def wake(wakeup: int, times: int = 1) -> None:
    """Wake a worker; where its wakeup is full, it stays as it is."""
    with suppress(BlockingIOError):
        os.eventfd_write(wakeup, times)


def draw(lines: Sequence[int], rng: Callable[[], float]) -> int:
    """Draw one of those that wait, each with the same chance.

    :param lines: how many wait in each column; some do.
    :param rng: gives numbers from 0 up to 1.
    :returns: the column.
    """
    lot = int(rng() * sum(lines))
    for column, count in enumerate(lines):
        lot -= count
        if lot < 0:
            return column
    raise AssertionError("a lot is less than the sum")


class WaitingHere:
    """What waits in this worker for one thing, such as a slot of a pool.

    :param wakeups: of the workers.
    :param row: where it is counted how many clients wait.
    :param lines: how many wait in each of the workers.
    :param able: the same, of the workers in which one of them may be able to use what is free.
    :param here: serves those that wait in this one.
    """

    __slots__ = ("_able_here", "_lines_here", "_wakeups", "able", "here", "lines", "row")

    def __init__(
        self, wakeups: Wakeups, row: int, lines: SharedCount, able: SharedCount, here: WaitsHere
    ) -> None:
        self._wakeups = wakeups
        self._lines_here = self._able_here = 0
        self.lines = lines
        self.able = able
        self.row = row
        self.here = here

    @property
    def comes_first(self) -> bool:
        """Whether one that waits may take what is free: none does in a worker that is unresponsive."""
        unresponsive = self._wakeups.unresponsive()
        if not unresponsive:
            return self.able.total > 0
        return any(lines for column, lines in enumerate(self.able.parts) if column not in unresponsive)

    def say(self, lines: int, able: bool = True) -> None:
        """Say how many clients wait in this worker; where there are more than before, look once more soon.

        :param able: whether one of them may be able to use what is free.
        """
        # Two queues of this worker may wait for the same thing: that of a pool which is gone, and of one that
        # has come in its place.
        before, able_before = self._lines_here, self._able_here
        self._lines_here, self._able_here = lines, lines if able else 0
        self.lines.store(self.lines.own + lines - before)
        if self.able is not self.lines:
            self.able.store(self.able.own + self._able_here - able_before)
        if lines and not before:
            self._wakeups.watch(self)
        elif before and not lines:
            self._wakeups.leave(self)
        if lines > before:
            self._wakeups.look_soon(self)

    def look_soon(self) -> None:
        """Look in the next turn of the reactor whether there is something for what waits."""
        self._wakeups.look_soon(self)

    def look(self) -> None:
        """Have one that waits take what is free, if something is."""
        lines = self.lines
        lines.barrier.acquire()
        lines.barrier.release()
        if self.here.has_capacity():
            self.give_to_able()

    def give(self) -> None:
        """Have one of those that wait take what was given back, maybe what none was able to use before."""
        lines = self.lines
        lines.barrier.acquire()
        lines.barrier.release()
        if lines.total:
            self._draw((self.able if self.able.total else lines).parts, ())

    def give_to_able(self, passed_over: Sequence[int] = ()) -> None:
        """Have one of those take what is free that may be able to use it.

        :param passed_over: columns that do not take part.
        """
        self._draw(self.able.parts, passed_over)

    def _draw(self, lines: list[int], passed_over: Sequence[int]) -> None:
        for column in (*passed_over, *self._wakeups.unresponsive()):
            if column < len(lines):
                lines[column] = 0
        if any(lines):
            self._wakeups.call(self, draw(lines, self._wakeups.rng))


@implementer(IReadDescriptor)
class Wakeups:
    """The wakeups of all workers, as one of them has them.

    :param reactor: watches its own, and times the looks.
    :param wakeups: descriptors by column; they belong to this from now on.
    :param column: of this worker.
    :param handled: how often each worker has handled its wakeup.
    :param rng: gives numbers from 0 up to 1.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        wakeups: Sequence[int],
        column: int,
        handled: SharedCount,
        rng: Callable[[], float],
    ) -> None:
        self.rng = rng
        self._handled = handled
        # Not what the process before it began with.
        handled.store(int(rng() * 2**31))
        self._woken: dict[int, int] = {}
        self._unresponsive: dict[int, int] = {}
        self._reactor = reactor
        self._wakeups = list(wakeups)
        self._column = column
        self._watched: dict[WaitingHere, None] = {}
        self._soon: dict[WaitingHere, None] = {}
        self._called: dict[WaitingHere, set[int]] = {}
        self._next_look: IDelayedCall | None = None
        self._until_look = LOOK_WITHOUT_WAKEUP_AFTER
        self._soon_call: IDelayedCall | None = None
        self._pass_over_call: IDelayedCall | None = None
        reactor.addReader(self)

    def close(self) -> None:
        """Wake no other worker and look no more; calling it again does nothing."""
        self._reactor.removeReader(self)
        for call in (self._next_look, self._soon_call, self._pass_over_call):
            if call is not None:
                call.cancel()
        self._next_look = self._soon_call = self._pass_over_call = None
        for wakeup in self._wakeups:
            os.close(wakeup)
        self._wakeups = []
        self._watched = {}

    # For what waits

    def watch(self, waiting: WaitingHere) -> None:
        """Look now and then, as long as clients wait."""
        self._watched[waiting] = None
        self._until_look = LOOK_WITHOUT_WAKEUP_AFTER
        if self._next_look is None:
            self._next_look = self._reactor.callLater(self._until_look, self._look_at_all)
        elif self._next_look.getTime() > self._reactor.seconds() + self._until_look:
            self._next_look.reset(self._until_look)

    def leave(self, waiting: WaitingHere) -> None:
        """Do not look any more."""
        self._watched.pop(waiting, None)

    def look_soon(self, waiting: WaitingHere) -> None:
        """Look in the next turn of the reactor."""
        self._soon[waiting] = None
        if self._soon_call is None:
            self._soon_call = self._reactor.callLater(0, self._look_at_some)

    def call(self, waiting: WaitingHere, column: int) -> None:
        """Have a worker take what was given back; where it does not, another one a little later."""
        if column == self._column:
            self._safely(waiting.here.serve_one)
        elif column < len(self._wakeups):
            self._woken.setdefault(column, self._handled.part(column))
            wake(self._wakeups[column])
        self._called.setdefault(waiting, set()).add(column)
        if self._pass_over_call is None and self._wakeups:
            self._pass_over_call = self._reactor.callLater(ANSWERED_WITHIN, self._pass_over)

    def _pass_over(self) -> None:
        """Look whether those that were called have taken what there was."""
        self._pass_over_call = None
        called, self._called = self._called, {}
        woken, self._woken = self._woken, {}
        self._unresponsive.update({c: times for c, times in woken.items() if self._handled.part(c) == times})
        for waiting, columns in called.items():
            if self._safely(waiting.here.has_capacity):
                waiting.give_to_able(tuple(columns))

    def unresponsive(self) -> Collection[int]:
        """Give the columns of workers that have not handled their wakeup in time."""
        if self._unresponsive:
            self._unresponsive = {
                c: times for c, times in self._unresponsive.items() if self._handled.part(c) == times
            }
        return self._unresponsive

    def _look_at_some(self) -> None:
        self._soon_call = None
        soon, self._soon = self._soon, {}
        for waiting in soon:
            self._safely(waiting.look)

    def _look_at_all(self) -> None:
        self._next_look = None
        found = [self._serve(waiting, WAKE_ALL) for waiting in list(self._watched)]
        if self._watched and self._next_look is None:
            longer = min(2 * self._until_look, LOOK_WITHOUT_WAKEUP_EVERY)
            self._until_look = LOOK_WITHOUT_WAKEUP_AFTER if any(found) else longer
            self._next_look = self._reactor.callLater(self._until_look, self._look_at_all)

    def _serve(self, waiting: WaitingHere, times: int) -> bool:
        """Serve at most so many; give whether there was something for one."""
        for served in range(times):
            if not self._safely(waiting.here.serve_one):
                return served > 0
        return True

    def _safely(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception:
            self._log.failure("what waits could not be served")
            return False

    # For the reactor

    def doRead(self) -> None:
        """The reactor's call: another worker has written to the wakeup of this one."""
        try:
            times = os.eventfd_read(self._wakeups[self._column])
        except BlockingIOError:
            return
        self._handled.store(self._handled.own + 1)
        for waiting in list(self._watched):
            self._serve(waiting, times)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self.close()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._wakeups[self._column] if self._wakeups else -1

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "wakeups"
