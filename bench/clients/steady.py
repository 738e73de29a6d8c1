"""Clients from many addresses, at a steady rate: visitors with a connection each, or requests on connections
that stay open.

    python -m bench.clients.steady connections|requests PORT RATE SECONDS

RATE is in a second, of all together. It prints how many were answered. One that is not ends all of it.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
import time

from bench.clients.visitors import ADDRESSES, Visitors
from bench.errors import Failed
from bench.web import HOST, length_of

OPEN = 100
"""Connections that stay open."""

_BLOCK = 1 << 16
_PATIENCE = 20.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


class Asker:
    """One connection that stays open."""

    def __init__(self, port: int, source: str) -> None:
        self.sock = socket.create_connection((HOST, port), _PATIENCE, (source, 0))
        self.waits = False
        self._received = b""

    def ask(self) -> None:
        """Send a request."""
        self.waits = True
        self.sock.send(_REQUEST)

    def take(self) -> bool:
        """Take what has come of an answer; returns whether it is whole.

        :raises Failed: when the connection has ended.
        """
        data = self.sock.recv(_BLOCK)
        if not data:
            raise Failed("a connection was closed")
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < length_of(head):
            return False
        self._received, self.waits = b"", False
        return True


def ask_often(port: int, rate: int, seconds: int) -> int:
    """Ask on open connections by turns, and give how many answers came.

    :raises Failed: when one is not answered in time.
    """
    askers = [Asker(port, f"127.0.1.{number % ADDRESSES + 1}") for number in range(OPEN)]
    by_number = {asker.sock.fileno(): asker for asker in askers}
    events = select.epoll()
    for number in by_number:
        events.register(number, select.EPOLLIN)
    began, asked, answered = time.monotonic(), 0, 0
    while answered < rate * seconds:
        due = min(rate * seconds, int((time.monotonic() - began) * rate) + 1)
        while asked < due and not askers[asked % OPEN].waits:
            askers[asked % OPEN].ask()
            asked += 1
        ready = events.poll(0.001)
        answered += sum(by_number[number].take() for number, _ in ready)
        if time.monotonic() - began > seconds + _PATIENCE:
            raise Failed(f"{asked - answered} requests had no answer for {_PATIENCE:g} s")
    return answered


def main(kind: str, port: int, rate: int, seconds: int) -> None:
    """Come at that rate for that time."""
    gc.disable()
    if kind == "requests":
        print(ask_often(port, rate, seconds))
        return
    visitors = Visitors(port, 1 / rate)
    visitors.come_while(lambda number: number < rate * seconds)
    print(len(visitors.taken))


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))
