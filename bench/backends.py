"""The servers behind every contestant: one nginx that listens on several ports, so that none of them gains by
spreading its connections. Behind it is a program that takes uploads whole: nginx answers before it has read
them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import programs
from bench.contestants.proxy import BACKLOG, DESCRIPTORS
from bench.ports import free_port
from bench.process import TREE, Child
from bench.web import connect, get, wait_for_answer

COUNT = 3
GIB = 1 << 30
"""Size of `/gib`, which is what a download fetches."""

_PATIENCE = 20.0

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
{listen}
        root {folder}/files;
        location = / {{ return 200 "hello\\n"; }}
        location = /health {{ return 200 "ok\\n"; }}
        location = /upload {{
            client_max_body_size 0;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_pass http://unix:{folder}/sink:/;
        }}
    }}
}}
"""


@contextmanager
def backends(folder: Path) -> Iterator[tuple[int, ...]]:
    """Run the servers.

    :param folder: theirs.
    :returns: the ports they listen on.
    :raises Failed: when there is no nginx, or it does not start.
    """
    ports = tuple(free_port() for _ in range(COUNT))
    path = programs.path_of("nginx")
    _make_files(folder / "files")
    config = folder / "nginx.conf"
    listen = "\n".join(f"        listen 127.0.0.1:{port} backlog={BACKLOG};" for port in ports)
    config.write_text(_CONFIG.format(descriptors=DESCRIPTORS, folder=folder, listen=listen))
    sink = [sys.executable, "-m", "bench.sink", f"{folder}/sink"]
    command = [path, "-p", f"{folder}", "-c", f"{config}", "-e", f"{folder}/error.log"]
    with (
        Child(sink, folder / "sink.log", TREE) as sinking,
        Child(command, folder / "output.log", folder) as child,
    ):
        sinking.wait_for("ready", _PATIENCE)
        for port in ports:
            wait_for_answer(port, child)
        _read_once(ports[0])
        yield ports


def _make_files(folder: Path) -> None:
    folder.mkdir()
    # Sparse: it takes no room on the disk.
    with (folder / "gib").open("wb") as file:
        file.truncate(GIB)


def _read_once(port: int) -> None:
    """Bring the file into memory, so that the first download is like all others."""
    with connect(port) as sock:
        get(sock, "/gib")
