"""An epoll over memory sockets, edge-triggered and no more generous than the kernel's (fs/eventpoll.c).

A socket is on the list of those to be reported from an edge until it is reported; many edges make one report.
What is reported is what holds at that moment, and a socket at which nothing holds any more is passed over.
"""

from __future__ import annotations

import errno
import os
import random
import select
from collections.abc import Mapping

from support.memory_socket import MemorySocket

ALWAYS = select.EPOLLERR | select.EPOLLHUP
"""Reported, asked for or not."""


class MemoryPoller:
    """The part of ``select.epoll`` that a poller uses.

    :param number: its own descriptor.
    :param sockets: what can be registered, by descriptor.
    :param shuffle: draws the order of what is reported together; None = in the order of the edges.
    """

    def __init__(
        self, number: int, sockets: Mapping[int, MemorySocket], shuffle: random.Random | None = None
    ) -> None:
        self._number = number
        self._sockets = sockets
        self._shuffle = shuffle
        self._masks: dict[int, int] = {}
        self._woken: dict[int, None] = {}
        self._closed = False

    def fileno(self) -> int:
        return self._number

    def register(self, fd: int, eventmask: int) -> None:
        assert eventmask & select.EPOLLET, "only edges are told here"
        if fd in self._masks:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        sock = self._sockets[fd]
        if sock.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        sock.watcher = self
        self._masks[fd] = eventmask | ALWAYS
        self.woken(fd)

    def modify(self, fd: int, eventmask: int) -> None:
        assert eventmask & select.EPOLLET, "only edges are told here"
        if fd not in self._masks:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._masks[fd] = eventmask | ALWAYS
        self.woken(fd)

    def unregister(self, fd: int) -> None:
        if fd not in self._masks:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._sockets[fd].watcher = None
        self.closed(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        assert not self._closed, "closed, and still polled"
        assert timeout == 0, "nothing here can wait"
        reported: list[tuple[int, int]] = []
        for number in self._in_order():
            if len(reported) == maxevents:
                break
            del self._woken[number]
            if events := self._look(number):
                reported.append((number, events))
        return reported

    def close(self) -> None:
        self._closed = True
        for number in self._masks:
            self._sockets[number].watcher = None

    def events(self) -> int:
        """What holds for the epoll itself: it can be read while there is something to report."""
        return select.EPOLLIN if any(self._look(number) for number in self._woken) else 0

    def reported(self, number: int) -> None:
        """Report what has happened at a descriptor no more."""
        self._woken.pop(number, None)

    # See ``Watcher``

    def woken(self, number: int) -> None:
        self._woken[number] = None

    def closed(self, number: int) -> None:
        del self._masks[number]
        self._woken.pop(number, None)

    # How it is done

    def _look(self, number: int) -> int:
        return self._sockets[number].look() & self._masks[number]

    def _in_order(self) -> list[int]:
        numbers = list(self._woken)
        if self._shuffle is not None:
            self._shuffle.shuffle(numbers)
        return numbers
