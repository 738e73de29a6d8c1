"""HTTP backends that answer with what they got, as JSON, and with whatever is sent after an upgrade."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.process import Process, folder_of
from support.waiting import until


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpEcho

    def _echo(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        facts = {
            "name": self.server.name,
            "method": self.command,
            "target": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": len(body),
        }
        answer = json.dumps(facts).encode()
        self.send_response(int(self.headers.get("X-Status", 200)))
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Powered-By", "tests")
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        """Switch to an echo of bytes where that is asked for."""
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self._echo()
            return
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(1 << 16):
            self.wfile.write(data)
        self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_OPTIONS = _echo

    def log_message(self, *_: object) -> None:
        """Leave the log out."""


class HttpEcho(ThreadingHTTPServer):
    """One such backend, on a free port.

    :param name: what it calls itself.
    """

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name


@contextmanager
def http_echoes(*names: str) -> Iterator[list[str]]:
    """Run one for each name, in a process of their own, and give their addresses."""
    with folder_of() as folder:
        output = folder / "output.log"
        with Process([sys.executable, __file__, *names], folder, output) as process:
            until(lambda: process.output.count("\n") == len(names), lambda: f"backends\n{process.output}")
            yield process.output.split()


def _serve(names: list[str]) -> None:
    servers = [HttpEcho(name) for name in names]
    for server in servers:
        print(f"127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1:])
