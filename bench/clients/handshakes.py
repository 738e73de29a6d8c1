"""Full handshakes of TLS, each with one small request and an orderly end, on many connections at once.

    python -m bench.clients.handshakes PORT SECONDS

It prints how many connections were answered, the seconds they took together, and half of them and 99 of 100
took at most so many milliseconds, from the connect to the server's end.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import sys
import time
from statistics import quantiles

from bench.errors import Failed
from bench.handshake import Client, Offer
from bench.web import HOST

AT_ONCE = 50
"""As many as wrk has."""

_BLOCK = 1 << 16
_PATIENCE = 10.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Visit:
    """One connection from its connect to its end."""

    def __init__(self, port: int, offer: Offer) -> None:
        self.start = time.perf_counter()
        # Without a timeout of its own, which would cost a call more each time; who waits is the loop.
        self.sock = socket.socket()
        self.sock.connect((HOST, port))
        self._client = Client(offer, _REQUEST)
        self.sock.sendall(self._client.start())

    def go_on(self) -> bool:
        """Take what came; returns whether it was all that comes.

        :raises Failed: when it was not a good answer.
        """
        data = self.sock.recv(_BLOCK)
        if not data:
            raise Failed("closed before the end of TLS")
        answer = self._client.feed(data)
        if answer:
            self.sock.sendall(answer)
        if self._client.ended:
            self._leave()
        return self._client.ended

    def _leave(self) -> None:
        if not self._client.received.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"not an answer: {self._client.received[:100]!r}")
        # The server may be gone already.
        with contextlib.suppress(OSError):
            self.sock.sendall(self._client.end())
        self.sock.close()


def make(port: int, seconds: float) -> list[float]:
    """Make as many as can be made.

    :returns: how long each of them took, in seconds.
    """
    offer, taken = Offer(), []
    visits: dict[int, Visit] = {}
    with contextlib.closing(select.epoll()) as events:

        def add() -> None:
            visit = Visit(port, offer)
            visits[visit.sock.fileno()] = visit
            events.register(visit.sock, select.EPOLLIN)

        for _ in range(AT_ONCE):
            add()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            ready = events.poll(_PATIENCE)
            if not ready:
                raise Failed(f"nothing came for {_PATIENCE:g} s")
            for number, _ in ready:
                visit = visits[number]
                if visit.go_on():
                    del visits[number]
                    taken.append(time.perf_counter() - visit.start)
                    add()
    return taken


def main(port: int, seconds: int) -> None:
    """Make them and tell of them."""
    gc.disable()
    start = time.perf_counter()
    taken = make(port, seconds)
    spent = time.perf_counter() - start
    parts = quantiles(taken, n=100)
    print(len(taken), spent, parts[49] * 1e3, parts[98] * 1e3)


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
