"""Work of the admin side in pieces, between which the reactor serves others."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

WORK_IN_A_TURN = 0.001
"""Seconds for which pieces are worked off in one turn of the reactor."""

T = TypeVar("T")


def in_pieces(reactor: Any, pieces: Generator[None, None, T]) -> Deferred[T]:
    """Work off a generator, a few of its pieces in each turn.

    :param reactor: IReactorTime.
    :returns: what the generator returns or raises.
    """
    done: Deferred[T] = Deferred()

    def work() -> None:
        until = time.perf_counter() + WORK_IN_A_TURN
        try:
            while time.perf_counter() < until:
                next(pieces)
        except StopIteration as end:
            done.callback(end.value)
        except Exception:
            done.errback(Failure())  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        else:
            reactor.callLater(0, work)

    work()
    return done


def at_once(pieces: Generator[None, None, T]) -> T:
    """Work off a generator without a break."""
    try:
        while True:
            next(pieces)
    except StopIteration as end:
        result: T = end.value
        return result
