"""A server that answers each connection with the bytes that a test gives it, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.waiting import until

CLOSE = b""
"""An answer of no byte."""


def http_answer(status: str, content: object) -> bytes:
    """Make an answer with JSON."""
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


class HttpAnswers:
    """See above.

    :ivar address: as an option of the command line takes it.
    :ivar asked: each request, its head and its body.
    """

    def __init__(self, sock: socket.socket, address: str, answers: Sequence[bytes]) -> None:
        self.address = address
        self.asked: list[str] = []
        self._sock = sock
        self._answers = list(answers)

    def serve(self) -> None:
        """Serve as many connections as there are answers."""
        for answer in self._answers:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            with connection:
                self.asked.append(_request(connection))
                connection.sendall(answer)


def _request(connection: socket.socket) -> str:
    connection.settimeout(20)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return f"{head.decode()}\r\n\r\n{body.decode()}"


@contextmanager
def http_answers(*answers: bytes, path: Path | None = None) -> Iterator[HttpAnswers]:
    """Serve on a port of 127.0.0.1.

    :param path: of a unix socket to serve on instead.
    """
    with socket.socket(socket.AF_INET if path is None else socket.AF_UNIX) as sock:
        sock.bind(("127.0.0.1", 0) if path is None else str(path))
        sock.listen()
        address = f"127.0.0.1:{sock.getsockname()[1]}" if path is None else f"unix:{path}"
        server = HttpAnswers(sock, address, answers)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            # Wakes the thread where it waits for a connection.
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            until(lambda: not thread.is_alive(), "the end of the server")
