"""The servers behind every contestant: one nginx that listens on several ports, so that none of them gains by
spreading its connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import programs
from bench.contestants.proxy import BACKLOG, DESCRIPTORS
from bench.ports import free_port
from bench.process import Child
from bench.web import connect, get, wait_for_answer

COUNT = 3
GIB = 1 << 30
"""Size of `/gib`, which is what a download fetches."""

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
    command = [path, "-p", f"{folder}", "-c", f"{config}", "-e", f"{folder}/error.log"]
    with Child(command, folder / "output.log", folder) as child:
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
