"""A service manager that keeps what a program reports to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import until


class ServiceManager:
    """The socket that ``NOTIFY_SOCKET`` names, and the messages that came.

    :ivar messages: each without its ``STATUS``.
    :ivar statuses: those, in the order in which they came.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._messages: list[str] = []
        self.statuses: list[str] = []

    @property
    def messages(self) -> list[str]:
        """What has come so far, without what only has a status."""
        while True:
            try:
                lines = self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._messages
            self.statuses += [line.removeprefix("STATUS=") for line in lines if line.startswith("STATUS=")]
            if rest := "\n".join(line for line in lines if not line.startswith("STATUS=")):
                self._messages.append(rest)

    def wait_for(self, message: str, times: int = 1) -> None:
        """Wait until a message has come so many times."""
        until(lambda: self.messages.count(message) >= times, lambda: f"{message}: {self.messages}")


@contextmanager
def service_manager(path: Path) -> Iterator[ServiceManager]:
    """Listen like a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)
        yield ServiceManager(sock)
