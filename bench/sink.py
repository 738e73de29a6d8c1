"""A server that takes the bodies of requests whole, throws them away, and answers then.

    python -m bench.sink PATH

It listens on a unix socket, and prints `ready` once it does.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

_BLOCK = 1 << 18


class Sink(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a body."""
        left, block = int(self.headers["Content-Length"]), bytearray(_BLOCK)
        while left:
            size = self.rfile.readinto1(memoryview(block)[: min(left, _BLOCK)])
            if not size:
                return
            left -= size
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def address_string(self) -> str:
        """Give what stands for the client, which has no address here."""
        return "-"

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class SinkServer(ThreadingMixIn, UnixStreamServer):
    """A thread for each connection."""

    daemon_threads = True


def main(path: str) -> None:
    """Serve until the process is ended."""
    with SinkServer(path, Sink) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
