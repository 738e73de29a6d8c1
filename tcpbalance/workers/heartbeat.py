"""The heartbeat: processes that do not answer for a while are ended, so that others can replace them.

A process that is stopped or hangs keeps its clients waiting, and neither its end nor that of its connection
is seen. So each is asked in regular intervals, and has to answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from tcpbalance.steady_loop import SteadyLoop

DEFAULT_WORKER_TIMEOUT = 10.0
"""Seconds without an answer after which a process is ended."""

START_WITHIN = 60.0
"""Seconds that a process may take until its first answer: it may have large files to read."""

BEATS = 4
"""Beats within the time that a process has. The time is counted in beats and not by the clock: where the
supervisor itself was stopped, answers of that time wait to be read."""


class Pulse:
    """How long one process has not answered.

    :param timeout: seconds without an answer after which it is ended.
    """

    __slots__ = ("_beats", "_interval", "_limit")

    def __init__(self, timeout: float) -> None:
        self._interval = timeout / BEATS
        self._limit = max(BEATS, math.ceil(START_WITHIN / self._interval))
        self._beats = 0

    def beat(self) -> bool:
        """Count one beat.

        :returns: whether the process has had its time.
        """
        self._beats += 1
        return self._beats > self._limit

    def answered(self) -> None:
        """Take note of an answer."""
        self._beats, self._limit = 0, BEATS

    def is_ending(self) -> None:
        """Take note that no answers come any more: what has not ended at the beat after next hangs."""
        self._limit = self._beats + 1

    @property
    def silence(self) -> float:
        """Seconds for which it has not answered."""
        return self._beats * self._interval


class Pulsed(Protocol):
    """A process that the heartbeat asks."""

    def beat(self) -> None:
        """Ask it, or end it where it has not answered for too long."""
        ...


class Heartbeat:
    """Asks all processes, by one timer.

    :param clock: times it.
    :param watched: gives the processes.
    :param timeout: seconds without an answer after which one is ended; a quarter of it may be added to that.
    """

    def __init__(self, clock: IReactorTime, watched: Callable[[], Iterable[Pulsed]], timeout: float) -> None:
        self._watched = watched
        self._interval = timeout / BEATS
        self._loop = SteadyLoop("the heartbeat of the workers", self._beat, clock)

    def start(self) -> None:
        """Ask from now on."""
        self._loop.start(self._interval)

    def stop(self) -> None:
        """Ask no more."""
        self._loop.stop()

    def _beat(self) -> None:
        for one in list(self._watched()):
            one.beat()
