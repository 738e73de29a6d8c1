"""The file behind an affinity journal: opened, read, appended to, replaced. All of it blocks: for threads."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

from attrs import frozen

from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.journal.frames import JOURNAL_HEADER, Frame, JournalEnd, compacted, decode
from tcpbalance.threads import give_way

JOURNAL_MODE: Final = 0o600
"""Addresses of clients concern no other user."""

MAY_GROW: Final = 256 * 1024
"""Bytes by which a journal may grow before it is compacted, however small it was."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_ATTEMPTS: Final = 3

_TO_DO: Final = {
    errno.ENOENT: "create its folder, or change state_file",
    errno.ENOTDIR: "create its folder, or change state_file",
    errno.EISDIR: "name a file in state_file, not a folder",
    errno.EACCES: "allow the user that runs tcpbalance to write there, or change state_file",
    errno.EPERM: "allow the user that runs tcpbalance to write there, or change state_file",
    errno.EROFS: "name a place that can be written in state_file",
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space on its disk",
}
_OTHERWISE: Final = "name a file that can be written in state_file"


class JournalError(TcpbalanceError):
    """A journal cannot be read or written; the text names the file and says what to do."""

    fault = Fault.CONFIGURATION


class JournalDamagedError(JournalError):
    """What was written to a journal that is open cannot be read again."""


@frozen
class Opened:
    """What was found when a journal was opened.

    :ivar frames: what could be read.
    :ivar ending: what comes after it.
    :ivar kept_as: another name of the file, where it could not be read to its end; None where nothing that
        matters is lost when it is replaced.
    """

    frames: tuple[Frame, ...]
    ending: JournalEnd
    kept_as: str | None


class JournalFile:
    """A journal that this process alone writes: it holds a lock on the file, flock(2), until it is closed.

    Its methods are called one after another, in threads; `compact` alone may run beside `append`.

    :param path: of the file. What replaces it is written beside it first, as ``.new``.
    :ivar path: from when it is opened on, without symbolic links.
    :ivar is_open: whether it is locked, and still what the path leads to.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_open = False
        self._descriptor = -1
        self._size = 0
        self._compact_at = 0
        self._compacted = -1
        self._compacted_size = 0

    @property
    def is_due(self) -> bool:
        """Whether it has grown by so much that it is to be compacted."""
        return self._size >= self._compact_at

    def open(self) -> Opened:
        """Lock and read the file.

        One that is no journal, or is damaged, gets a second name, so that nothing is lost when it is
        replaced.

        :raises JournalError: it cannot be read, or another process has it.
        """
        self.close()
        self.path = os.path.realpath(self.path)
        with self._errors("cannot be opened"):
            descriptor = self._open_locked()
            try:
                opened = self._read(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor, self.is_open = descriptor, True
        return opened

    def replace(self, pieces: Iterable[bytes]) -> None:
        """Put another journal in the place of the open one, whole or not at all.

        :raises JournalError: it cannot be written; the file is as it was.
        """
        self._discard_compacted()
        with self._errors("cannot be written"):
            self._put_in_place(self._write_new(pieces))

    def append(self, data: bytes) -> None:
        """Write frames at the end of a journal that was written by `replace`.

        :raises JournalError: they cannot be written.
        """
        with self._errors("cannot be written"):
            self._require_in_place()
            try:
                _write(self._descriptor, data)
            except OSError:
                # An incomplete frame at the end would cost what is appended later.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
        self._size += len(data)

    def compact(self, max_clients: int) -> None:
        """Write what is worth keeping of the open journal into a new file, for `swap`.

        :param max_clients: how many are kept, the latest ones.
        :raises JournalError: it cannot be written, or what was written cannot be read.
        """
        with self._errors("cannot be compacted"):
            size = self._size
            journal = decode(os.pread(self._descriptor, size, 0), give_way)
            if journal.ending is not JournalEnd.COMPLETE:
                raise JournalDamagedError(f"{self.path} was changed by others: {journal.ending.value}")
            self._compacted = self._write_new(compacted(journal.frames, max_clients, give_way))
            self._compacted_size = size

    def swap(self) -> None:
        """Put what `compact` has written in the place of the open journal, with what was appended since.

        :raises JournalError: it cannot be written; the file is as it was.
        """
        new, self._compacted = self._compacted, -1
        with self._errors("cannot be compacted"):
            with self._discarding(new):
                since = self._size - self._compacted_size
                _write(new, os.pread(self._descriptor, since, self._compacted_size))
            self._put_in_place(new)

    def close(self) -> None:
        """Give the file up; closing it again does nothing."""
        self._discard_compacted()
        self.is_open = False
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _discard_compacted(self) -> None:
        if self._compacted >= 0:
            self._discard(self._compacted)
            self._compacted = -1

    # Opening

    def _open_locked(self) -> int:
        for _ in range(_ATTEMPTS):
            descriptor = self._open_any()
            try:
                self._lock(descriptor)
                if self._is_in_place(descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            # The process that had the lock has replaced the file meanwhile.
            os.close(descriptor)
        raise JournalError(f"{self.path} is replaced again and again; each process needs a file of its own")

    def _open_any(self) -> int:
        try:
            return os.open(self.path, _FLAGS | os.O_CREAT, JOURNAL_MODE)
        except OSError:
            # What cannot be written may still be read.
            with suppress(OSError):
                return os.open(self.path, _READ_FLAGS)
            raise

    def _lock(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise JournalError(f"{self.path} is not a regular file; {_OTHERWISE}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{self.path} is in use by another process or pool; each needs a file of its own"
            ) from None

    def _read(self, descriptor: int) -> Opened:
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(len(JOURNAL_HEADER))
            if not data:
                return Opened((), JournalEnd.COMPLETE, None)
            if data == JOURNAL_HEADER:
                data += file.read()
        journal = decode(data, give_way)
        lost = journal.ending not in (JournalEnd.COMPLETE, JournalEnd.CUT)
        return Opened(journal.frames, journal.ending, self._keep() if lost else None)

    def _keep(self) -> str:
        """Give the file a second name."""
        for number in count(1):
            name = f"{self.path}.kept-{number}"
            try:
                os.link(self.path, name)
            except FileExistsError:
                if not os.path.samefile(self.path, name):
                    continue
            return name
        raise AssertionError("numbers do not end")

    # Writing

    def _write_new(self, pieces: Iterable[bytes]) -> int:
        """Write the file that is to replace the journal, and lock it.

        :returns: its descriptor.
        """
        path = self._new_path
        with suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, JOURNAL_MODE)
        with self._discarding(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for piece in pieces:
                _write(descriptor, piece)
            # Or a power failure might leave an empty file in the place of the old one.
            os.fsync(descriptor)
        return descriptor

    def _put_in_place(self, new: int) -> None:
        with self._discarding(new):
            self._require_in_place()
            size = os.fstat(new).st_size
            os.rename(self._new_path, self.path)
        os.close(self._descriptor)
        self._descriptor, self._size = new, size
        self._compact_at = size + max(MAY_GROW, 3 * size)

    def _require_in_place(self) -> None:
        """See whether the open file is still what the path leads to.

        :raises JournalError: it is not, and has to be opened again.
        """
        if not self._is_in_place(self._descriptor):
            self.is_open = False
            raise JournalError(f"{self.path} was deleted or replaced")

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    @property
    def _new_path(self) -> str:
        return f"{self.path}.new"

    def _discard(self, new: int) -> None:
        os.close(new)
        with suppress(OSError):
            os.unlink(self._new_path)

    @contextmanager
    def _discarding(self, new: int) -> Iterator[None]:
        """Discard a new file that cannot be written to its end."""
        try:
            yield
        except BaseException:
            self._discard(new)
            raise

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Raise what the system refuses as a `JournalError`."""
        try:
            yield
        except OSError as error:
            to_do = _TO_DO.get(error.errno or 0, _OTHERWISE)
            raise JournalError(f"{self.path} {what}: {error.strerror or error}; {to_do}") from error


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
