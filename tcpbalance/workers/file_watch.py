"""Watches the files of the configuration in the supervisor, so that workers get them when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import field, frozen

from tcpbalance.admission.deny_file import read_deny_file
from tcpbalance.build import Parts
from tcpbalance.reload import Part, Reloader
from tcpbalance.threads import give_way, in_thread


@frozen
class _DenyFile:
    """A deny file, which the supervisor reads for its mistakes alone."""

    path: str
    files: tuple[str, ...] = field(init=False)
    warnings: tuple[str, ...] = ()

    @files.default
    def _files(self) -> tuple[str, ...]:
        return (self.path,)

    def is_outdated(self) -> bool:
        """Never: there is no time in it."""
        return False

    def prepare(self) -> Callable[[], None]:
        """Read it again.

        :raises DenyFileError: it has mistakes.
        """
        read_deny_file(self.path, give_way)
        return lambda: None


@frozen
class _Reporting:
    """A part that reports when its files were read again and can be used."""

    part: Part
    on_read: Callable[[], None]

    @property
    def files(self) -> tuple[str, ...]:
        return self.part.files

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.part.warnings

    def is_outdated(self) -> bool:
        return self.part.is_outdated()

    def prepare(self) -> Callable[[], None]:
        commit = self.part.prepare()

        def commit_and_report() -> None:
            commit()
            self.on_read()

        return commit_and_report


def watch_files(reactor: Any, parts: Parts, on_read: Callable[[], None]) -> Reloader:
    """Make what watches the files of a configuration; it begins as a service.

    :param on_read: called each time that some were read again, and can be used.
    """
    return Reloader(reactor, list(watched(parts, on_read)), in_thread(reactor))


def watched(parts: Parts, on_read: Callable[[], None]) -> Iterator[tuple[str, Part]]:
    """Give what is made of files, each with its name for the log.

    :param on_read: see `watch_files`.
    """
    for name, frontend in parts.frontends.items():
        if frontend.preread is not None and frontend.preread.tls is not None:
            yield f"frontend {name}", _Reporting(frontend.preread.tls, on_read)
        if frontend.access is not None and frontend.access.deny_file is not None:
            yield f"frontend {name}", _Reporting(_DenyFile(frontend.access.deny_file), on_read)
        if frontend.users is not None:
            yield f"frontend {name}", _Reporting(frontend.users, on_read)
    for name, pool in parts.pools.items():
        if pool.tls is not None:
            yield f"pool {name}", _Reporting(pool.tls, on_read)
