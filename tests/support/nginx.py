"""nginx as an HTTP backend that answers with its name."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.ports import accepts, free_port
from support.process import Process, folder_of
from support.programs import require
from support.waiting import until

_CONFIG = """
daemon off;
master_process off;
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} backlog=4096 {how};
        {more}
        location / {{ return 200 "{answer}\\n"; }}
        location /health {{ return 200 "ok {name}\\n"; }}
        location /status {{ stub_status; }}
    }}
}}
"""


class Nginx:
    """One nginx of one process, which can be killed and started again on the same port.

    :param name: what it answers with.
    :param folder: its own.
    :param how: further parameters of its ``listen``.
    :param more: further directives of its server.
    :param answer: what it answers with instead; nginx's variables are filled in.
    """

    def __init__(self, name: str, folder: Path, how: str = "", more: str = "", answer: str = "") -> None:
        (self._program,) = require("nginx")
        self.name = name
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = folder
        self._config = folder / "nginx.conf"
        self._config.write_text(
            _CONFIG.format(
                folder=folder, port=self.port, name=name, how=how, more=more, answer=answer or name
            )
        )
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and wait until it accepts."""
        places = ["-p", f"{self._folder}", "-c", f"{self._config}", "-e", f"{self._folder}/error.log"]
        process = self._process = Process([self._program, *places], self._folder, self._folder / "output.log")

        def ready() -> bool:
            assert process.exit_code is None, f"nginx ended\n{process.output}"
            return accepts(self.port)

        until(ready, lambda: f"nginx {self.name}\n{process.output}")

    @property
    def requests(self) -> int:
        """How many requests it has had since it started."""
        with urllib.request.urlopen(f"http://{self.address}/status", timeout=5) as answer:
            # The third line of stub_status: accepted and handled connections, and requests.
            return int(answer.read().splitlines()[2].split()[2])

    def kill(self) -> None:
        """End it without a chance to say close_notify."""
        assert self._process is not None
        self._process.stop(signal.SIGKILL)

    def end(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.end()


@contextmanager
def nginx(*names: str, **parameters: str) -> Iterator[list[Nginx]]:
    """Run one nginx for each name.

    :param parameters: further parameters of ``Nginx``.
    """
    with ExitStack() as stack:
        servers = [Nginx(name, stack.enter_context(folder_of()), **parameters) for name in names]
        for server in servers:
            stack.callback(server.end)
            server.start()
        yield servers
