"""The socket of the service manager."""

from __future__ import annotations

import contextlib
import socket
from collections import deque

from twisted.logger import Logger

MAX_PENDING = 16
"""Messages that wait for a service manager that reads none; the oldest are dropped beyond."""

_ABSTRACT = "@"


class NotifySocket:
    """Sends messages to the service manager, and never waits for it.

    A message that the service manager has no space for at the moment is sent before the next one. One that it
    cannot get is dropped, as sd_notify(3) does.

    :param path: ``NOTIFY_SOCKET``.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self._path = path
        self._address = f"\0{path[1:]}" if path.startswith(_ABSTRACT) else path
        self._pending: deque[str] = deque(maxlen=MAX_PENDING)
        self._has_failed = False

    def send(self, message: str) -> None:
        """Send a message, as soon as there is space for it."""
        self._pending.append(message)
        self.flush()

    def send_or_drop(self, message: str) -> None:
        """Send a message that the next of its kind makes up for."""
        if self.flush():
            with contextlib.suppress(OSError):
                self._send(message)

    def flush(self) -> bool:
        """Send what waits for space, in its order.

        :returns: whether nothing waits any more.
        """
        while self._pending:
            try:
                self._send(self._pending[0])
            except BlockingIOError:
                return False
            except OSError as error:
                # Nothing listens there: waiting does not help.
                self._report(error)
            self._pending.popleft()
        return True

    def _send(self, message: str) -> None:
        # One a message: the service manager may have been started anew.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), self._address)

    def _report(self, error: OSError) -> None:
        """Log the first failure of those that are all alike."""
        if not self._has_failed:
            self._has_failed = True
            self._log.warn(
                "NOTIFY_SOCKET {path}: {reason}; the service manager does not learn how this program does",
                path=self._path,
                reason=(error.strerror or str(error)).lower(),
            )
