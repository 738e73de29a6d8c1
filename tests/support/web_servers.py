"""Web servers that run the sites of others, as backends: Apache, gunicorn, Node and uvicorn.

Each answers alike: ``/stream`` with the bytes of a file, in chunks; ``/hash`` with the SHA-256 of the body
that it got; all else with the port that the connection comes from, which tells one connection from another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ports import accepts, free_port
from support.process import Process, folder_of
from support.programs import require
from support.waiting import until

SUPPORT = Path(__file__).parent

STREAMED = bytes(range(251)) * 12_000
"""What ``/stream`` answers with."""

_APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
ScriptSock {folder}/cgid.sock
ScriptAlias / {folder}/site/
{keep_alive}
"""

_SCRIPT = """\
#!/bin/sh
printf 'Content-Type: application/octet-stream\\r\\n\\r\\n'
case $PATH_INFO in
    /stream) exec cat {content} ;;
    /hash) sha256sum | cut -d' ' -f1 | tr -d '\\n' ;;
    *) cat >/dev/null; printf %s "$REMOTE_PORT" ;;
esac
"""


def _apache(folder: Path, content: Path, port: int, idle: int | None) -> list[str | Path]:
    (program,) = require("apache2")
    script = folder / "site"
    script.write_text(_SCRIPT.format(content=content))
    script.chmod(0o755)
    config = folder / "apache.conf"
    keep_alive = "" if idle is None else f"KeepAliveTimeout {idle}"
    config.write_text(_APACHE.format(folder=folder, port=port, keep_alive=keep_alive))
    return [program, "-D", "FOREGROUND", "-f", config]


def _gunicorn(_folder: Path, _content: Path, port: int, idle: int | None) -> list[str | Path]:
    # Workers of the default kind keep no connection open.
    how = ["--worker-class=gthread", "--threads=32", f"--bind=127.0.0.1:{port}"]
    how += [] if idle is None else [f"--keep-alive={idle}"]
    return [sys.executable, "-m", "gunicorn", *how, "support.wsgi_server:app"]


def _node(_folder: Path, content: Path, port: int, idle: int | None) -> list[str | Path]:
    (program,) = require("node")
    return [
        program,
        SUPPORT / "node_server.js",
        f"{port}",
        content,
        *([] if idle is None else [f"{idle * 1000}"]),
    ]


def _uvicorn(_folder: Path, _content: Path, port: int, idle: int | None) -> list[str | Path]:
    how = ["--host=127.0.0.1", f"--port={port}", "--no-access-log"]
    how += [] if idle is None else [f"--timeout-keep-alive={idle}"]
    return [sys.executable, "-m", "uvicorn", *how, "support.asgi_server:app"]


_COMMANDS: dict[str, Callable[[Path, Path, int, int | None], list[str | Path]]] = {
    "apache": _apache,
    "gunicorn": _gunicorn,
    "node": _node,
    "uvicorn": _uvicorn,
}

KINDS = tuple(_COMMANDS)


@contextmanager
def web_server(kind: str, idle: int | None = None) -> Iterator[str]:
    """Run one, and give its address.

    :param kind: which.
    :param idle: seconds after which it closes a connection without a request; None for its default.
    """
    user = "www-data" if kind == "apache" else None
    with folder_of(user) as folder:
        content, port = folder / "content", free_port()
        content.write_bytes(STREAMED)
        command = _COMMANDS[kind](folder, content, port, idle)
        with _running(command, folder, port, user, CONTENT=f"{content}"):
            yield f"127.0.0.1:{port}"


@contextmanager
def asgi_site() -> Iterator[str]:
    """Run the site of ``asgi_site`` on uvicorn, and give its address."""
    with folder_of() as folder:
        port = free_port()
        command = [*_uvicorn(folder, folder, port, None)[:-1], "support.asgi_site:app"]
        with _running(command, folder, port):
            yield f"127.0.0.1:{port}"


@contextmanager
def _running(
    command: list[str | Path], folder: Path, port: int, user: str | None = None, **environment: str
) -> Iterator[None]:
    """Run a server, once it accepts."""
    known = {"PYTHONPATH": f"{SUPPORT.parent}", **environment}
    with Process(command, folder, folder / "output.log", user=user, environment=known) as process:

        def ready() -> bool:
            assert process.exit_code is None, f"{command} ended\n{process.output}"
            return accepts(port)

        until(ready, lambda: f"{command}\n{process.output}")
        yield
