"""A flood from one address, in a process of its own: connections that stay, and then others that do not.

    python flooder.py PORT ADDRESS IDLE IDLE_RATE CONNECTS RATE

Both are made at so many a second. Prints one JSON object, how many of those that stay are still open when the
last of the others has been made; then it waits for a signal to end.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator

NO_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""To be closed with a reset, which leaves nothing of the connection here."""


def connections(port: int, address: str, count: int, rate: int) -> Iterator[socket.socket]:
    """Make connections to a port on 127.0.0.1, without waiting for more of each than that it stands."""
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        sock = socket.socket()
        sock.bind((address, 0))
        # A reset may come before the end of the call.
        with contextlib.suppress(ConnectionResetError):
            sock.connect(("127.0.0.1", port))
        yield sock


def count_open(idle: list[socket.socket]) -> int:
    """Tell how many the peer has neither closed nor reset."""
    poll = select.poll()
    for sock in idle:
        poll.register(sock, select.POLLIN)
    return len(idle) - len(poll.poll(0))


def main(port: int, address: str, idle: int, idle_rate: int, connects: int, rate: int) -> None:
    """Flood a port."""
    stay = list(connections(port, address, idle, idle_rate))
    for sock in connections(port, address, connects, rate):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        sock.close()
    print(json.dumps({"open": count_open(stay)}), flush=True)  # noqa: T201
    signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
