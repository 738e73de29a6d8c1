"""Work in threads: what blocks, and how long work gives the interpreter's lock away."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

WORK_FOR = 0.0003
"""Seconds that a thread works before it gives the interpreter's lock away."""

GIVE_WAY_FOR = 0.0005
"""Seconds for which it gives the lock away then. From a thread that does not, it is taken after
``TAKE_AFTER``, and the reactor's thread needs it after each system call."""

TAKE_AFTER = 0.00002
"""Seconds for which a thread that does not give the lock away keeps it while another one waits. With the 5 ms
of CPython, a thread that parses a large file for 50 ms delays a connection of 14 system calls until its
end. Of 30 system calls in a row beside a thread that reads a configuration, 99 of 100 took 21 ms with 5 ms,
3.2 ms with 0.2 ms, 1.6 ms with 0.05 ms and 1.2 ms with 0.02 ms; the thread took 3 % longer."""

T = TypeVar("T")


def share_the_lock() -> None:
    """Have the interpreter's lock taken from threads after ``TAKE_AFTER``, in the whole process."""
    sys.setswitchinterval(TAKE_AFTER)


class _Turn(threading.local):
    """When the thread began to work since it last gave way."""

    began = 0.0


_turn = _Turn()


def give_way() -> None:
    """Let other threads go on, in the middle of long work, once this one has worked for ``WORK_FOR``."""
    if time.perf_counter() - _turn.began > WORK_FOR:
        time.sleep(GIVE_WAY_FOR)
        _turn.began = time.perf_counter()


class InThread(Protocol):
    """Calls something in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Begin.

        :returns: what the work returns or raises.
        """
        ...


def in_thread(reactor: Any) -> InThread:
    """Give what calls something in a thread of its own, which does not keep the process from ending.

    The reactor's pool may be busy: its threads hang in names that a name server does not answer for.

    :param reactor: IReactorFromThreads.
    """

    def call(work: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = work()
            except Exception:
                failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
                reactor.callFromThread(done.errback, failure)
            else:
                reactor.callFromThread(done.callback, result)

        try:
            threading.Thread(target=run, name="tcpbalance files", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            done.errback()
        return done

    return call
