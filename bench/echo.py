"""A server that sends all bytes back once a connection has switched to WebSocket, and answers other requests.

    python -m bench.echo PORT

It prints `ready` once it listens. It looks at no frame, which leaves more of the processor to the proxy.
"""

from __future__ import annotations

import select
import socket
import sys

from bench.web import HOST

_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def serve(port: int) -> None:
    """Serve until the process is ended."""
    listener = socket.create_server((HOST, port), backlog=128)
    print("ready", flush=True)
    events = select.epoll()
    events.register(listener, select.EPOLLIN)
    socks: dict[int, socket.socket] = {}
    switched: set[int] = set()
    while True:
        for number, _ in events.poll():
            if number == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                socks[sock.fileno()] = sock
                events.register(sock, select.EPOLLIN)
                continue
            sock = socks[number]
            try:
                data = sock.recv(1 << 16)
                if data and number not in switched:
                    data = _begin(data, number, switched)
                if data:
                    sock.send(data)
            except ConnectionError:
                data = b""
            if not data:
                switched.discard(number)
                socks.pop(number).close()


def _begin(data: bytes, number: int, switched: set[int]) -> bytes:
    """Give the answer to a request, which is so small that it comes whole."""
    if b"\r\nUpgrade: websocket\r\n" not in data:
        return _ANSWER
    switched.add(number)
    return _SWITCH


if __name__ == "__main__":
    serve(int(sys.argv[1]))
