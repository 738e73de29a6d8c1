"""Timers that a step of the wall clock does not touch.

Twisted's reactors keep the time of each delayed call on ``time.time()``, the wall clock. Where that is set
back, by an operator or by a time daemon, every timer waits for as long again; where it is set forward, all of
them come at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.base import DelayedCall, ReactorBase

from tcpbalance.errors import SettingError
from tcpbalance.reactor import Reactor


def make_monotonic(reactor: Reactor, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Have a reactor's time go on by the monotonic clock, whatever is done to the wall clock from now on.

    ``reactor.seconds()`` begins at the wall clock's time and is not corrected after that, so that delayed
    calls and loops which exist already keep their times. A clock of the time of day has to ask
    ``time.time()``. Calling this again changes nothing.

    :param reactor: one of Twisted's, running or not; its ``seconds`` is replaced.
    :param monotonic: the clock, in seconds.
    :raises SettingError: it is not made of Twisted's ``ReactorBase``, and keeps its time in another way.
    """
    if not isinstance(reactor, ReactorBase):
        raise SettingError(
            f"reactor {type(reactor).__name__}: its clock cannot be replaced, only that of a "
            "twisted.internet.base.ReactorBase"
        )
    offset = reactor.seconds() - monotonic()

    def seconds() -> float:
        return offset + monotonic()

    reactor.seconds = seconds  # each reactor looks it up anew
    for call in reactor.getDelayedCalls():
        if isinstance(call, DelayedCall):
            call.seconds = seconds
