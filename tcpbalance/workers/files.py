"""The files that the configuration names, as workers get them: read by the supervisor, handed over in memory.

A worker may have no right to read them, and all workers are to have the same. A key is on disk only where the
operator has put it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from attrs import frozen

from tcpbalance.config.files import read_files, with_files
from tcpbalance.config.models import Config
from tcpbalance.workers.messages import Kept

MAX_HANDED_FILE = 32 * 1024 * 1024
"""Bytes of a file that are handed over; what reads it has a bound of its own below that."""


class ReadFile:
    """What was read of a file, in memory that workers read it from; given back with this object.

    :param content: what was read.
    :ivar descriptor: of the memory.
    :raises OSError: the system has no more memory or descriptors.
    """

    __slots__ = ("content", "descriptor")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.descriptor = -1
        self.descriptor = os.memfd_create("tcpbalance file")
        with os.fdopen(os.dup(self.descriptor), "wb") as memory:
            memory.write(content)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@frozen(eq=False)
class Files:
    """The files of one configuration.

    :param known: what was read, by the paths in the configuration.
    """

    known: Mapping[str, ReadFile]

    @classmethod
    def of(cls, config: Config, before: Files | None = None) -> Files:
        """Read the files of a configuration; may be called in a thread.

        One that cannot be read, and could be before, stays as it was: what watches it reports that.

        :param before: those that were read before, of this configuration or another one.
        :raises OSError: one cannot be read, nor could be before.
        """
        present = {} if before is None else before.known
        paths = dict.fromkeys(map(str, read_files(config)))
        return cls({path: _read(path, present.get(path)) for path in paths})

    def new_since(self, before: Files | None) -> dict[str, int]:
        """Give the files that another reading had not, or not with this content: their descriptors."""
        present = {} if before is None else before.known
        return {
            path: Kept.of(file.descriptor, file)
            for path, file in self.known.items()
            if file is not present.get(path)
        }


def _read(path: str, before: ReadFile | None) -> ReadFile:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_HANDED_FILE)
    except OSError:
        if before is None:
            raise
        return before
    return before if before is not None and before.content == content else ReadFile(content)


class HandedFiles:
    """The files of the supervisor, in a worker.

    Those that are handed over with another configuration count once that is committed.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._staged: dict[str, int] = {}

    def stage(self, paths: Iterable[str], descriptors: Iterable[int]) -> None:
        """Take files that come with another configuration.

        :param descriptors: copies are made of them.
        """
        for path, descriptor in zip(paths, descriptors, strict=True):
            self._staged[path] = os.dup(descriptor)

    def begin(self) -> FilesOfChange:
        """Begin to use those that have come since this was last called."""
        staged, self._staged = self._staged, {}
        return FilesOfChange(self._known, staged)


class FilesOfChange:
    """The files of one configuration, in a worker.

    :param known: descriptors by paths, of the configuration in use.
    :param staged: of those that have come with this one.
    """

    def __init__(self, known: dict[str, int], staged: dict[str, int]) -> None:
        self._known = known
        self._staged = staged
        self._paths: set[str] = set()

    def put_into(self, config: Config) -> Config:
        """Give a configuration with the names under which its files can be read here: proc(5).

        It may be called in a thread.
        """
        self._paths = set(map(str, read_files(config)))
        return with_files(config, self._place)

    def _place(self, path: str) -> str:
        descriptor = self._staged.get(path, self._known.get(path))
        return path if descriptor is None else f"/proc/self/fd/{descriptor}"

    def commit(self) -> None:
        """Keep the files of this configuration, and no others."""
        gone = [path for path in self._known if path in self._staged or path not in self._paths]
        for path in gone:
            os.close(self._known.pop(path))
        self._known.update(self._staged)

    def abandon(self) -> None:
        """Give back what has come with this configuration."""
        for descriptor in self._staged.values():
            os.close(descriptor)
