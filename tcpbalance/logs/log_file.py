"""Where the access log goes: a file, or standard output, written so that a stalled reader can be given up."""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Final

from tcpbalance.errors import Fault, TcpbalanceError

STANDARD_OUTPUT: Final = "-"
MODE: Final = 0o640
# What POSIX promises to every pipe: a write of this size is never mixed with another writer's, and fits when
# poll says that the pipe is writable.
_PIPE_BUF: Final = min(select.PIPE_BUF, 4096)
# O_NONBLOCK is for a named pipe: opening one without a reader fails at once, where it would wait for ever.
_OPEN_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_OPEN_ADVICE: Final = {
    errno.ENOENT: "create its folder, or change access_log.path",
    errno.ENOTDIR: "create its folder, or change access_log.path",
    errno.EISDIR: "name a file in access_log.path, not a folder",
    errno.EACCES: "allow the user that runs tcpbalance to write there, or change access_log.path",
    errno.EPERM: "allow the user that runs tcpbalance to write there, or change access_log.path",
    errno.EROFS: "name a place that can be written in access_log.path",
    errno.ENXIO: "start the reader of this named pipe first, or change access_log.path",
}
_OTHER_ADVICE: Final = 'name a file that can be written in access_log.path, or "-" for standard output'


class AccessLogError(TcpbalanceError):
    """The access log cannot be opened; the text names the path and says what to do.

    :ivar what: the text without the path, for where that has been named.
    """

    fault = Fault.CONFIGURATION

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"access log {path}: {what}")
        self.what = what


class LinesLostError(TcpbalanceError):
    """Lines could not be written; the access log goes on without them.

    :ivar lines: how many.
    """

    fault = Fault.BALANCER

    def __init__(self, lines: int, cause: str) -> None:
        super().__init__(cause)
        self.lines = lines


class LogFile:
    """The descriptor behind a path; one thread writes, and any thread may make it give up.

    :param path: a file, or "-" for standard output.
    :raises AccessLogError: when it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.given_up = False
        self._torn = False
        self._descriptor = _open(path)
        self._regular = _is_regular(self._descriptor)
        self._woken, self._wake = os.pipe()

    def write(self, lines: bytes) -> None:
        """Write whole lines, waiting for as long as their reader makes us wait.

        :raises LinesLostError: with the number of lines that were not written, when the system refuses or
            `give_up` was called.
        """
        left = b"\n" + lines if self._torn else lines
        while left:
            try:
                sent = self._write_some(left)
            except OSError as error:
                raise LinesLostError(left.count(b"\n"), error.strerror or str(error)) from error
            # A line that a full disk cut short is ended before the next, so that it spoils only itself.
            self._torn = not left[:sent].endswith(b"\n")
            left = left[sent:]

    def vanished(self) -> bool:
        """Whether the file was deleted, so that its lines are lost."""
        return self._regular and os.fstat(self._descriptor).st_nlink == 0

    def reopen(self) -> None:
        """Open the path anew; when that fails the old file stays in use.

        :raises AccessLogError: when it cannot be opened.
        """
        if self.path == STANDARD_OUTPUT:
            return
        descriptor = _open(self.path)
        os.close(self._descriptor)
        self._descriptor, self._regular, self._torn = descriptor, _is_regular(descriptor), False

    def give_up(self) -> None:
        """End the wait for a reader that has stalled, now and for good; any thread may call this."""
        self.given_up = True
        os.write(self._wake, b"!")

    def close(self) -> None:
        """Close what was opened; standard output stays open."""
        if self.path != STANDARD_OUTPUT:
            os.close(self._descriptor)
        os.close(self._woken)
        os.close(self._wake)

    def _write_some(self, left: bytes) -> int:
        """Write as much as goes at once and never block where `give_up` could not reach us."""
        if self.given_up:
            raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")
        if self._regular:
            return os.write(self._descriptor, left)
        self._wait_writable()
        return os.write(self._descriptor, left[: _line_end(left)])

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.register(self._woken, select.POLLIN)
        if any(descriptor == self._woken for descriptor, _ in poll.poll()):
            raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")


def _line_end(data: bytes) -> int:
    """Find how much of `data` a pipe takes without blocking, ending with a line where one fits."""
    return data.rfind(b"\n", 0, _PIPE_BUF) + 1 or _PIPE_BUF


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _open(path: str) -> int:
    if path == STANDARD_OUTPUT:
        return 1
    try:
        return _open_file(path)
    except (OSError, ValueError) as error:
        raise _error(path, error) from error


def _open_file(path: str) -> int:
    try:
        descriptor = os.open(path, _OPEN_FLAGS | os.O_EXCL, MODE)
    except FileExistsError:
        return os.open(path, _OPEN_FLAGS, MODE)
    # A daemon's umask would keep the file from the group that collects logs.
    os.fchmod(descriptor, MODE)
    return descriptor


def _error(path: str, error: OSError | ValueError) -> AccessLogError:
    number = error.errno if isinstance(error, OSError) else None
    what = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return AccessLogError(path, f"cannot be opened: {what}; {_OPEN_ADVICE.get(number or 0, _OTHER_ADVICE)}")
