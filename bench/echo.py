"""A server that sends all bytes back once a connection has switched to WebSocket, and answers other requests.

    python -m bench.echo PORT [ADDRESSES]

It listens on the port at 127.0.0.1, or at each of the first so many of `addresses`, and prints `ready` once
it does. It looks at no frame, which leaves more of the processor to the proxy.
"""

from __future__ import annotations

import select
import socket
import sys

_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def addresses(count: int) -> list[str]:
    """Give the first so many addresses of this machine that backends may have; one is 127.0.0.1."""
    return [f"127.{number >> 8}.{number & 255}.1" for number in range(count)]


def serve(port: int, count: int = 1) -> None:
    """Serve until the process is ended."""
    events = select.epoll()
    listeners = _listen(events, port, count)
    print("ready", flush=True)
    socks: dict[int, socket.socket] = {}
    switched: set[int] = set()
    while True:
        for number, _ in events.poll():
            if number in listeners:
                sock, _ = listeners[number].accept()
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


def _listen(events: select.epoll, port: int, count: int) -> dict[int, socket.socket]:
    servers = [socket.create_server((address, port), backlog=128) for address in addresses(count)]
    for server in servers:
        events.register(server, select.EPOLLIN)
    return {server.fileno(): server for server in servers}


def _begin(data: bytes, number: int, switched: set[int]) -> bytes:
    """Give the answer to a request, which is so small that it comes whole."""
    if b"\r\nUpgrade: websocket\r\n" not in data:
        return _ANSWER
    switched.add(number)
    return _SWITCH


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
