"""An HTTP server of the standard library, as a backend that says what it has got."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.ports import accepts, free_port
from support.process import Process
from support.waiting import until

PIECE = 64 * 1024
LONG_PIECE = 7_000_000


def content(size: int) -> bytes:
    """Give the bytes of a download."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpBackend

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1
        self.connection.settimeout(self.server.idle)

    def do_GET(self) -> None:
        """``/bytes/N``: so many bytes; ``/chunks/N``: the same in chunks; ``/long-chunks/N``: in long ones;
        ``/slow``: what came, once it may; all else: what came."""
        _, kind, *rest = self.path.partition("?")[0].split("/")
        if kind == "bytes":
            self._answer(content(int(rest[0])))
        elif kind == "chunks":
            self._answer_in_chunks(content(int(rest[0])), PIECE)
        elif kind == "long-chunks":
            self._answer_in_chunks(content(int(rest[0])), LONG_PIECE)
        else:
            if kind == "slow":
                self.server.slow_requests += 1
                self.server.go_on.wait(20)
            self._answer(json.dumps({"path": self.path, **dict(self.headers)}).encode())

    def do_POST(self) -> None:
        """The hash of the body."""
        found = hashlib.sha256()
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                found.update(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, PIECE))
                found.update(piece)
                left -= len(piece)
        self._answer(found.hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer_in_chunks(self, body: bytes, size: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class HttpBackend(ThreadingHTTPServer):
    """A server on a port of its own, each connection in a thread.

    :param idle: seconds after which it closes a connection without a request; None for never.
    :ivar connections: how many it has accepted.
    :ivar go_on: lets slow requests be answered.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, idle: float | None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.idle = idle
        self.connections = self.slow_requests = 0
        self.go_on = threading.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


@contextmanager
def http_backend_process(folder: Path) -> Iterator[str]:
    """Run one in a process of its own, and give its address."""
    port = free_port()
    command = [sys.executable, "-m", "support.http_backend", str(port)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with Process(command, folder, folder / "backend.log", environment=environment) as process:
        until(lambda: accepts(port), lambda: f"the backend\n{process.output}")
        yield f"127.0.0.1:{port}"


@contextmanager
def http_backend(idle: float | None = None) -> Iterator[HttpBackend]:
    """Run one."""
    server = HttpBackend(idle)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    HttpBackend(None, int(sys.argv[1])).serve_forever()
