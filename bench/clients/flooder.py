"""A flood from one address: connections that stay, and then others that break off as soon as they stand.

    python -m bench.clients.flooder PORT

Both are made at a rate, since as much as a processor can make would be about the processors, of which the
flood here takes what its victims need. It prints "open" and how many of those that stay are still open when
the last of the others has been made, and ends with a line on standard input.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections.abc import Iterator

from bench.web import HOST

ADDRESS = "127.0.0.66"
"""Where it comes from."""

IDLE, IDLE_RATE = 2000, 800
"""Connections that stay, and how many of them come a second."""

CONNECTS, RATE = 4000, 2000
"""Those that come then and break off."""

NO_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""To be closed with a reset, which leaves nothing of the connection here."""


def connections(port: int, count: int, rate: int) -> Iterator[socket.socket]:
    """Make connections, without waiting for more of each than that it stands.

    :param rate: how many come a second.
    """
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        sock = socket.socket()
        sock.bind((ADDRESS, 0))
        # A reset may come before the end of the call.
        with contextlib.suppress(ConnectionResetError):
            sock.connect((HOST, port))
        yield sock


def count_open(idle: list[socket.socket]) -> int:
    """Tell how many the peer has neither closed nor reset."""
    poll = select.poll()
    for sock in idle:
        poll.register(sock, select.POLLIN)
    return len(idle) - len(poll.poll(0))


def main(port: int) -> None:
    """Flood a port."""
    stay = list(connections(port, IDLE, IDLE_RATE))
    for sock in connections(port, CONNECTS, RATE):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        sock.close()
    print("open", count_open(stay), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(int(sys.argv[1]))
