"""Clients with long-lived connections that connect anew when these are closed."""

from __future__ import annotations

import socket
from collections import Counter


class Reconnecting:
    """Clients of servers that say their name first; each connects anew at the end of its connection.

    :param port: where the balancer listens.
    :param count: how many.
    :ivar sockets: their connections, which do not block.
    :ivar servers: the name, a byte, of the server of each; nothing while it is not known.
    :ivar closed: how many connections were closed in order.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self.sockets = [self._connect() for _ in range(count)]
        self.servers = [b""] * count
        self.closed = 0

    def _connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port))
        client.setblocking(False)
        return client

    def hear(self, number: int) -> bytes:
        """Give what a client has received since it was last asked.

        :raises ConnectionResetError: it was reset.
        """
        try:
            data = self.sockets[number].recv(1 << 16)
        except BlockingIOError:
            return b""
        if not data:
            self.closed += 1
            self.sockets[number].close()
            self.sockets[number] = self._connect()
            self.servers[number] = b""
        elif not self.servers[number]:
            self.servers[number], data = data[:1], data[1:]
        return data

    def hear_all(self) -> Counter[bytes]:
        """Let all of them receive what there is, and count them by server."""
        for number in range(len(self.sockets)):
            self.hear(number)
        return Counter(self.servers)

    def close(self) -> None:
        """Close all connections."""
        for client in self.sockets:
            client.close()
