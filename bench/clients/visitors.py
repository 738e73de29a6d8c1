"""Visitors from many addresses, who come each at their time and ask for one small page, however long it takes
those before.

    python -m bench.clients.visitors PORT

It prints "calm" and in how many milliseconds 99 of 100 visitors had their whole answer, from when they were
due. With a line on standard input they come again until the next line; then it prints "crowded", the same
figure and that of the slowest visitor, and ends. One visitor who is not answered ends all of it.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import sys
import time
from collections.abc import Callable
from statistics import quantiles

from bench.errors import Failed
from bench.web import HOST, length_of

SPACING = 0.005
"""Seconds from one to the next."""

ADDRESSES = 250
"""From which they come by turns."""

CALM = 600
"""Of them, by whom the calm is known."""

_AT_ONCE = 1000
_BLOCK = 1 << 16
_PATIENCE = 20.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Visit:
    """One visitor from the connect to the answer's end."""

    def __init__(self, port: int, source: str, due: float) -> None:
        self.due = due
        self.sock = socket.socket()
        self.sock.bind((source, 0))
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.sock.connect((HOST, port))
        self._asked = False
        self._received = b""

    def go_on(self) -> bool:
        """Ask, or take what came; returns whether it was all that comes.

        :raises Failed: when it was not a good answer.
        :raises OSError: when it was refused.
        """
        if not self._asked:
            self.sock.send(_REQUEST)
            self._asked = True
        elif data := self.sock.recv(_BLOCK):
            self._received += data
        else:
            self._leave()
            return True
        return False

    def _leave(self) -> None:
        self.sock.close()
        head, _, body = self._received.partition(b"\r\n\r\n")
        if length_of(head) != len(body):
            raise Failed(f"not a whole answer: {self._received[:100]!r}")


class Visitors:
    """All visitors of one port.

    :param spacing: seconds from one to the next.
    :ivar taken: in how many milliseconds each had the answer, from when it was due.
    """

    def __init__(self, port: int, spacing: float = SPACING) -> None:
        self._port = port
        self._spacing = spacing
        self._visits: dict[int, Visit] = {}
        self._events = select.epoll()
        self.taken: list[float] = []

    def come_while(self, it_goes_on: Callable[[int], bool]) -> None:
        """Come until told otherwise, and wait for the last to be answered.

        :param it_goes_on: told how many have come.
        :raises Failed: when one gets no answer.
        """
        due, number = time.monotonic(), 0
        while it_goes_on(number):
            self._serve(until=due)
            self._come(f"127.0.1.{number % ADDRESSES + 1}", due)
            due += self._spacing
            number += 1
        self._serve(until=time.monotonic() + _PATIENCE, to_the_last=True)
        if self._visits:
            raise Failed(f"{len(self._visits)} visitors had no answer for {_PATIENCE:g} s")

    def _come(self, source: str, due: float) -> None:
        if len(self._visits) >= _AT_ONCE:
            raise Failed(f"{_AT_ONCE} visitors wait for their answers")
        visit = Visit(self._port, source, due)
        self._visits[visit.sock.fileno()] = visit
        self._events.register(visit.sock, select.EPOLLOUT)

    def _serve(self, until: float, *, to_the_last: bool = False) -> None:
        while (left := until - time.monotonic()) > 0 and not (to_the_last and not self._visits):
            # Which waits in microseconds; epoll does it in whole milliseconds.
            select.select([self._events], [], [], left)
            for number, _ in self._events.poll(0):
                self._go_on(number)

    def _go_on(self, number: int) -> None:
        visit = self._visits[number]
        try:
            ended = visit.go_on()
        except OSError as error:
            raise Failed(f"a visitor was not served: {error}") from None
        if ended:
            del self._visits[number]
            self.taken.append((time.monotonic() - visit.due) * 1e3)
        else:
            self._events.modify(number, select.EPOLLIN)

    @property
    def p99(self) -> float:
        """Milliseconds in which 99 of 100 had their answer."""
        return quantiles(self.taken, n=100)[98]


def _nothing_to_read() -> bool:
    return not select.select([sys.stdin], [], [], 0)[0]


def main(port: int) -> None:
    """Come in the calm, and then during whatever is done between two lines."""
    gc.disable()
    calm, crowded = Visitors(port), Visitors(port)
    calm.come_while(lambda number: number < CALM)
    print("calm", calm.p99, flush=True)
    sys.stdin.readline()
    crowded.come_while(lambda _: _nothing_to_read())
    print("crowded", crowded.p99, max(crowded.taken), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
