"""What a proxy has to tell about itself to take part, and what all of them are set to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from attrs import frozen

CONNECTIONS = 6000
"""How many client connections each is to allow; with two descriptors a connection and HAProxy's pipes, that
stays below 20 000 descriptors."""

DESCRIPTORS = 20_000
"""Descriptors a process may have."""

BACKLOG = 4096
HEALTH_SECONDS = 2

CONNECTIONS_PER_CLIENT = 2500
CONNECTS_PER_CLIENT, CONNECTS_SECONDS = 2100, 10
"""What one client may have open, and how many may come from it in so many seconds, where clients are
limited."""


@frozen
class Place:
    """Where one proxy is to run.

    :param folder: its own, for its configuration and its logs.
    :param port: where it is to listen on 127.0.0.1.
    :param backends: the ports of the backends on 127.0.0.1.
    :param certificate: with what it is to terminate TLS, a PEM file that holds the key, too; None where it
        is to pass on what comes.
    :param limits: whether it is to limit each client.
    :param workers: how many threads or processes are to carry its traffic.
    :param http: whether it is to serve requests, and not connections.
    """

    folder: Path
    port: int
    backends: tuple[int, ...]
    certificate: Path | None = None
    limits: bool = False
    workers: int = 1
    http: bool = False

    @property
    def access_log(self) -> Path:
        """Where its access log goes."""
        return self.folder / "access.log"

    def write(self, name: str, text: str) -> Path:
        """Write one of its files."""
        file = self.folder / name
        file.write_text(text)
        return file


class Proxy(Protocol):
    """A proxy that can be put between clients and backends."""

    def version(self) -> str:
        """Give its version.

        :raises Failed: when it is not installed, with what is missing.
        """

    def command(self, place: Place) -> list[str]:
        """Write its configuration, and give the command that runs it in the foreground."""


class Terminator(Proxy, Protocol):
    """A proxy that is measured when it terminates TLS, too."""

    def tls_library(self) -> str:
        """Give the library that does it, with its version."""
