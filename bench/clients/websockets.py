"""Chats over WebSockets: on each connection one message goes there and back, and then the next.

    python -m bench.clients.websockets SECONDS PORT...

They go through the ports by turns, so short that all meet the same drift of the machine. For each port it
prints how many messages a second came back.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from itertools import cycle

from bench.errors import Failed
from bench.web import HOST

OPEN = 50
"""Connections through each port."""

SLICE = 0.05
"""Seconds of one turn."""

MESSAGE = b"\x82\xc0\x00\x00\x00\x00" + bytes(64)
"""64 bytes in a masked frame: RFC 6455, section 5.2."""

_PATIENCE = 20.0
_HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _open(port: int) -> socket.socket:
    """Connect, and switch to WebSocket.

    :raises Failed: when the server does not.
    """
    sock = socket.create_connection((HOST, port), _PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_HANDSHAKE)
    answer = sock.recv(4096)
    if not (answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\n\r\n")):
        raise Failed(f"not a WebSocket: {answer[:100]!r}")
    return sock


class Chat:
    """The connections through one port.

    :ivar rate: messages a second that came back so far.
    """

    def __init__(self, port: int) -> None:
        self._socks = {sock.fileno(): sock for sock in (_open(port) for _ in range(OPEN))}
        self._events = select.epoll()
        for number in self._socks:
            self._events.register(number, select.EPOLLIN)
        self._count, self._seconds = 0, 0.0

    @property
    def rate(self) -> float:
        return self._count / self._seconds

    def go_on(self) -> None:
        """Chat for one turn, and take the last messages back.

        :raises Failed: when one does not come back.
        """
        began = time.perf_counter()
        end = began + SLICE
        for sock in self._socks.values():
            sock.send(MESSAGE)
        under_way = OPEN
        while under_way:
            ready = self._events.poll(_PATIENCE)
            if not ready:
                raise Failed(f"no message came back for {_PATIENCE:g} s")
            is_over = time.perf_counter() >= end
            for number, _ in ready:
                sock = self._socks[number]
                # So small that it comes whole.
                if sock.recv(4096) != MESSAGE:
                    raise Failed("another message came back")
                if is_over:
                    under_way -= 1
                else:
                    sock.send(MESSAGE)
            self._count += len(ready)
        self._seconds += time.perf_counter() - began


def main(seconds: float, *ports: int) -> None:
    """Chat through all of them."""
    chats = [Chat(port) for port in ports]
    end = time.perf_counter() + seconds
    for chat in cycle(chats):
        chat.go_on()
        if chat is chats[-1] and time.perf_counter() >= end:
            break
    print(*(chat.rate for chat in chats))


if __name__ == "__main__":
    main(float(sys.argv[1]), *map(int, sys.argv[2:]))
