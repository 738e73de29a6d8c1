"""PostgreSQL, MariaDB and Redis, each fresh in a temporary folder of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from support.ports import free_port
from support.process import Process, finish, folder_of, run
from support.programs import require
from support.waiting import until


@frozen
class Database:
    """A running server.

    :ivar port: where it listens on 127.0.0.1.
    :ivar folder: its own, with its sockets.
    """

    port: int
    folder: Path
    process: Process

    @property
    def address(self) -> str:
        """What the balancer's configuration calls it."""
        return f"127.0.0.1:{self.port}"


PASSWORD = "correct horse"


@contextmanager
def postgresql() -> Iterator[Database]:
    """Run a PostgreSQL whose user `app` has the password `PASSWORD` over TCP and owns the database `app`."""
    initdb, postgres, psql = require("initdb", "postgres", "psql")
    with folder_of("postgres") as folder:
        data, port = folder / "data", free_port()
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        options = ["--username=app", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"]
        run([initdb, "-D", data, "--no-locale", "--encoding=UTF8", *options], user="postgres", cwd=folder)
        command = [postgres, "-D", f"{data}", "-h", "127.0.0.1", "-p", f"{port}", "-k", f"{folder}"]
        settings = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60"]
        with Process([*command, *settings], folder, folder / "output.log", user="postgres") as process:
            ask = [psql, "-h", "127.0.0.1", "-p", f"{port}", "-U", "app", "-d", "postgres", "-c", "SELECT 1"]
            _answers(process, lambda: finish(ask, env=with_password()).returncode == 0)
            run([*ask[:-1], "CREATE DATABASE app"], env=with_password())
            yield Database(port, folder, process)
            # SIGTERM would wait for every client to leave of its own accord.
            process.stop(signal.SIGINT)


def with_password() -> dict[str, str]:
    """Give an environment in which `psql` and `pgbench` know the password."""
    return {**os.environ, "PGPASSWORD": PASSWORD}


@contextmanager
def mariadb() -> Iterator[Database]:
    """Run a MariaDB whose user `app` has the password `PASSWORD` over TCP and all rights."""
    install, server, client = require("mariadb-install-db", "mariadbd", "mariadb")
    with folder_of("mysql") as folder:
        data, socket, port = folder / "data", folder / "socket", free_port()
        as_user = ["--user=mysql"] if os.geteuid() == 0 else []
        data.mkdir(mode=0o755)
        if as_user:
            os.chown(data, folder.stat().st_uid, folder.stat().st_gid)
        run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                *as_user,
            ]
        )
        command = [server, "--no-defaults", f"--datadir={data}", f"--socket={socket}", f"--port={port}"]
        settings = [
            "--bind-address=127.0.0.1",
            f"--pid-file={folder / 'pid'}",
            "--innodb-buffer-pool-size=16M",
        ]
        with Process([*command, *settings, *as_user], folder, folder / "output.log") as process:
            ask = [client, "--no-defaults", f"--socket={socket}", "--user=root", "--batch", "-e"]
            _answers(process, lambda: finish([*ask, "SELECT 1"]).returncode == 0)
            run([*ask, f"GRANT ALL ON *.* TO app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"])
            yield Database(port, folder, process)
            # Nothing is to be kept, and an orderly end takes its time.
            process.stop(signal.SIGKILL)


@contextmanager
def redis() -> Iterator[Database]:
    """Run a Redis that keeps nothing."""
    server, client = require("redis-server", "redis-cli")
    with folder_of() as folder:
        port = free_port()
        command = [server, "--port", f"{port}", "--bind", "127.0.0.1", "--dir", f"{folder}", "--save", ""]
        with Process(command, folder, folder / "output.log") as process:
            _answers(process, lambda: finish([client, "-p", f"{port}", "PING"]).stdout == "PONG\n")
            yield Database(port, folder, process)


def _answers(process: Process, answers: Callable[[], bool]) -> None:
    def ready() -> bool:
        assert process.exit_code is None, f"ended: {process.command}\n{process.output}"
        return answers()

    until(ready, lambda: f"an answer of {process.command}\n{process.output}", seconds=30)
