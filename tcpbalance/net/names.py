"""Looks host names up off the reactor's thread: anew for every dial, once for all that wait at one time."""

from __future__ import annotations

import contextlib
import errno
import socket
from queue import SimpleQueue
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary, ref

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Target = tuple[int, Any]
"""An address family and a socket address of it."""

AT_ONCE = 64
"""Names that are looked up at one time.

One whose name server does not answer holds a thread for as long as the system tries: 10 s for each server,
as resolv.conf(5) has it. So as many may hang before others have to wait; a pool seldom has more. Each lookup
takes descriptors, two at worst, and a thread that waits 50 KiB of memory: more would cost more than it helps.
"""


def numeric_target(host: str, port: int) -> Target:
    """Turn a literal IP address into a target, asking nobody.

    :raises OSError: the system has no such zone (``%eth0``).
    """
    if ":" not in host:
        return socket.AF_INET, (host, port)
    return _targets(host, port, socket.AI_NUMERICHOST)[0]


class Names:
    """Answers what addresses a host name has.

    Those that ask for a name while it is being looked up share the answer: a slow name server then holds one
    thread for each name, however many clients come.

    The threads are not the reactor's, which it waits for when it ends: a lookup can take longer than anybody
    wants to wait, and cannot be cancelled. Nobody waits for ours. They stay, since starting one for each
    lookup takes four times as long.

    :param reactor: is told the answers (IReactorThreads); it is not kept alive.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = ref(reactor)
        self._waiting: dict[tuple[str, int], list[Deferred[list[Target]]]] = {}
        self._questions: SimpleQueue[tuple[Any, str, int]] = SimpleQueue()
        self._threads = 0

    def look_up(self, host: str, port: int) -> Deferred[list[Target]]:
        """Ask the system's resolver.

        :returns: fires with the targets in the order to be tried, at least one; fails with OSError
            (``socket.gaierror`` when the name has no address), or ValueError when it cannot be a name.
        """
        answer: Deferred[list[Target]] = Deferred()
        name = (host, port)
        if name in self._waiting:
            self._waiting[name].append(answer)
            return answer
        self._waiting[name] = [answer]
        self._have_a_thread()
        if self._threads:
            self._questions.put((self._reactor(), host, port))
        else:
            self._take(name, _failure(OSError(errno.ENOMEM, "no room for another thread")))
        return answer

    def _have_a_thread(self) -> None:
        """Start one more unless one is free, or there are enough."""
        if len(self._waiting) > self._threads < AT_ONCE:
            # Where the system has no room for more, the others have to do.
            with contextlib.suppress(RuntimeError):
                Thread(target=self._answer_questions, name="names", daemon=True).start()
                self._threads += 1

    def _answer_questions(self) -> None:
        while True:
            reactor, host, port = self._questions.get()
            try:
                outcome: Any = _targets(host, port, 0)
            except Exception as error:
                outcome = _failure(error)
            # A reactor that has ended in the meantime may say so; nobody waits for the answer any more.
            with contextlib.suppress(RuntimeError):
                reactor.callFromThread(self._take, (host, port), outcome)

    def _take(self, name: tuple[str, int], outcome: Any) -> None:
        for waiting in self._waiting.pop(name):
            waiting.callback(outcome)


_names: WeakKeyDictionary[Any, Names] = WeakKeyDictionary()


def names_of(reactor: Any) -> Names:
    """The one ``Names`` of a reactor, so that dials and checks of all pools share lookups and the bound."""
    names = _names.get(reactor)
    if names is None:
        names = _names[reactor] = Names(reactor)
    return names


def _targets(host: str, port: int, flags: int) -> list[Target]:
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
    return [(family, address) for family, _, _, _, address in found]


def _failure(error: Exception) -> Failure:
    return Failure(error)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
