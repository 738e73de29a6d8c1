"""Looks host names up off the reactor's thread: anew for every dial, once for all that wait at one time."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

Target = tuple[int, Any]
"""An address family and a socket address of it."""


def numeric_target(host: str, port: int) -> Target:
    """Turn a literal IP address into a target, asking nobody.

    :raises OSError: the system has no such zone (``%eth0``).
    """
    if ":" not in host:
        return socket.AF_INET, (host, port)
    return _targets(host, port, socket.AI_NUMERICHOST)[0]


class Names:
    """Answers what addresses a host name has.

    Dials that ask for a name while it is being looked up share the answer: a slow name server then holds one
    thread for each name, however many clients come.

    :param reactor: its thread pool does the waiting (IReactorThreads).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: dict[tuple[str, int], list[Deferred[list[Target]]]] = {}

    def look_up(self, host: str, port: int) -> Deferred[list[Target]]:
        """Ask the system's resolver.

        :returns: fires with the targets in the order to be tried, at least one; fails with OSError
            (``socket.gaierror`` when the name has no address).
        """
        answer: Deferred[list[Target]] = Deferred()
        name = (host, port)
        if name in self._waiting:
            self._waiting[name].append(answer)
            return answer
        self._waiting[name] = [answer]
        pool = self._reactor.getThreadPool()
        deferToThreadPool(self._reactor, pool, _targets, host, port, 0).addBoth(self._answer, name)
        return answer

    def _answer(self, outcome: Any, name: tuple[str, int]) -> None:
        for waiting in self._waiting.pop(name):
            waiting.callback(outcome)


def _targets(host: str, port: int, flags: int) -> list[Target]:
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
    return [(family, address) for family, _, _, _, address in found]
