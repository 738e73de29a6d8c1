"""Starts programs by forks of a process that has imported what they import; see ``forking``."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support import forking
from support.orphans import adopting_orphans


class Forker:
    """The process that forks, until it is closed.

    :param prefix: what its command begins with.
    :param modules: what it imports.
    """

    def __init__(self, prefix: Sequence[str], modules: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # Beside it there are modules of the tests, some of which have names of others.
            command = [sys.executable, "-P", forking.__file__, str(theirs.fileno()), *modules]
            self._process = subprocess.Popen(
                [*prefix, *command], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def fork(
        self,
        command: Sequence[str],
        folder: Path,
        descriptors: Mapping[int, int],
        environment: Mapping[str, str] = os.environ,
    ) -> Forked:
        """Start a program.

        :param command: a script of Python, or "-m" and a module, and its arguments.
        :param folder: its working folder.
        :param descriptors: ours by the numbers that it has for them, which ascend.
        :param environment: all its variables.
        """
        request = {
            "command": command,
            "folder": str(folder),
            "environment": dict(environment),
            "descriptors": [*descriptors],
        }
        with adopting_orphans():
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*descriptors.values()])
            return Forked(int(self._socket.recv(20)))

    def close(self) -> None:
        """Let it end."""
        self._socket.close()
        self._process.wait()


class Forked:
    """A child that was forked for us, as ``subprocess.Popen`` has it.

    :ivar pid: its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; None while it runs."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if ended else None
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give the exit status.

        :raises subprocess.TimeoutExpired: it does not end in time.
        """
        if self.poll() is None:
            process = os.pidfd_open(self.pid)
            try:
                select.select([process], [], [], timeout)
            finally:
                os.close(process)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)
