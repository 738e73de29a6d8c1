"""The probe that runs a program of the operator's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tcpbalance.config.addresses import Address
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.strict import strict
from tcpbalance.event import OneTimeEvent
from tcpbalance.health.probes.argv import EXAMPLE, Argv
from tcpbalance.health.probes.base import NoVerdict, ProbeFailed, Target
from tcpbalance.health.probes.causes import named_causes
from tcpbalance.net.connect_errors import timed_out

SAID_LIMIT = 4096
"""Bytes of its standard error that are kept, the last ones."""

READS_AT_THE_END = 9
"""Reads of 8 KiB that empty a pipe, which holds 64 KiB unless asked for more: pipe(7)."""

_STDERR = 2
_PLACEHOLDER = re.compile(r"\{(host|port|path|name)\}")
_LEAD_A_SESSION = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"


def _argv(value: Sequence[str]) -> Argv:
    return Argv.parse(value)


@frozen(field_transformer=strict)
class CommandProbe:
    """Passes when the program exits with status 0.

    It is started without a shell, with nothing to read, its standard output discarded, and an environment of
    `PATH` and `TCPBALANCE_HOST` with `TCPBALANCE_PORT`, or `TCPBALANCE_PATH` for a unix socket. It leads a
    session of its own; whatever still runs there when it ends, or when the check is cancelled, is killed.
    """

    argv: Argv = field(
        converter=_argv,
        metadata={
            "doc": "The program and its arguments. `{host}`, `{port}`, `{path}` (of a unix socket) and "
            "`{name}` are replaced by the backend's; other braces stay as they are. A program without "
            "a slash is searched in `PATH`.",
            "example": EXAMPLE,
            "shown": lambda argv: [argv[0], *(HIDDEN for _ in argv[1:])],
        },
    )

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it exits with another status, is killed by a signal, or is not there.
        :raises NoVerdict: the system has no resources for another process.
        """
        child = _Child()
        target.deadline.cause = child.cause_of_timeout
        with named_causes():
            _spawn(child, [_filled(argument, target) for argument in self.argv], target)
        try:
            await child.ended.wait()
        except CancelledError:
            child.kill()
            await child.ended.wait()
            raise


class _Child(ProcessProtocol):
    """The program while it runs.

    :ivar ended: it has ended and been reaped; fails with `ProbeFailed` when it did not exit with status 0.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: OneTimeEvent[None] = OneTimeEvent()
        self._session = 0
        self._said = bytearray()

    def connectionMade(self) -> None:
        self._session = self.transport.pid

    def kill(self) -> None:
        """Kill it and all that it started; it may be so young that it does not lead a session yet."""
        with suppress(ProcessExitedAlready, PermissionError):
            self.transport.signalProcess("KILL")
        self._kill_session()

    def errReceived(self, data: bytes) -> None:
        self._said += data
        del self._said[:-SAID_LIMIT]

    def processExited(self, reason: Failure) -> None:
        """It has ended; what it has said may still wait, and what has left its session may hold the pipe."""
        self._kill_session()
        stderr = self.transport.pipes.get(_STDERR)
        for _ in range(READS_AT_THE_END):
            if stderr is not None:
                stderr.doRead()
        self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        if isinstance(reason.value, ProcessTerminated):
            self.ended.fail(ProbeFailed(self._with_last_words(_cause(reason.value))))
        else:
            self.ended.settle(None)

    def cause_of_timeout(self, seconds: float) -> str:
        """Say that it has not ended in that time, and what it has said last."""
        return self._with_last_words(timed_out(seconds))

    def _with_last_words(self, cause: str) -> str:
        lines = self._said.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{cause}: {last}" if last else cause

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._session, signal.SIGKILL)


def _spawn(child: _Child, argv: list[str], target: Target) -> None:
    path = os.environ.get("PATH", os.defpath)
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise ProbeFailed(f"command not found: {argv[0]}")
    launched = _leading_a_session([program, *argv[1:]])
    with Path(os.devnull).open("r+b", buffering=0) as null:
        descriptors: dict[int, int | str] = {0: null.fileno(), 1: null.fileno(), _STDERR: "r"}
        environment = {"PATH": path, **_environment(target.address)}
        try:
            spawn = IReactorProcess(target.reactor).spawnProcess
            spawn(child, launched[0], launched, environment, childFDs=descriptors)
        except BlockingIOError as error:
            raise NoVerdict("no resources for another process") from error


def _leading_a_session(argv: list[str]) -> list[str]:
    """Put in front what makes it lead a session: neither Twisted nor a program does that by itself.

    The setsid of util-linux takes a millisecond, Python ten.
    """
    setsid = shutil.which("setsid")
    return [setsid, *argv] if setsid else [sys.executable, "-I", "-S", "-c", _LEAD_A_SESSION, *argv]


def _environment(address: Address) -> dict[str, str]:
    if address.path is not None:
        return {"TCPBALANCE_PATH": address.path}
    return {"TCPBALANCE_HOST": str(address.host), "TCPBALANCE_PORT": str(address.port)}


def _filled(argument: str, target: Target) -> str:
    address = target.address
    values = {"host": address.host, "port": address.port, "path": address.path, "name": target.name}
    return _PLACEHOLDER.sub(lambda match: _text(values[match[1]]), argument)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _cause(ended: ProcessTerminated) -> str:
    if ended.signal is not None:
        return f"killed by signal {ended.signal}"
    return f"exit status {ended.exitCode}"
