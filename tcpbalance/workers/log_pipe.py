"""What a worker logs goes to the supervisor by a pipe, and from there where its own lines go.

A worker never waits for the pipe: what finds no space is dropped, and how many lines that were is logged once
there is some. The access log does not come this way.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping
from contextlib import suppress
from time import time
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.logs.daemon_log_format import FIELDS, TRACEBACK, fields_of, traceback_of
from tcpbalance.logs.dropped_lines import DroppedLines

MAX_LOG_LINE = 4096
"""Bytes of a line; a pipe takes that much whole or not at all (pipe(7)). Longer ones are cut."""

_READ_AT_ONCE = 65536


@implementer(ILogObserver)
class LogSender:
    """Sends what is logged; what cannot be sent is dropped, and not formatted.

    :param descriptor: where it is written; the sender's from here on.
    :param without_supervisor: gets it once the supervisor is gone.
    """

    def __init__(self, descriptor: int, without_supervisor: ILogObserver) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._without_supervisor = without_supervisor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._lines = DroppedLines(self._send)

    def __call__(self, event: LogEvent) -> None:
        """Twisted's call: send an event."""
        self._lines.write(event)

    def report_dropped(self) -> None:
        """Say how many lines were dropped, where that is not said yet and can be."""
        self._lines.report()

    def _send(self, event: LogEvent) -> bool:
        # Where the supervisor is gone, writing says so.
        if not self._poll.poll(0):
            return False
        line = _line(event)
        try:
            return os.write(self._descriptor, line) == len(line)
        except BrokenPipeError:
            alone = event_of(line, "worker (process {process}): ", {"process": os.getpid()})
            self._without_supervisor({**alone, "log_time": time()})
            return True
        except OSError:
            return False


def _line(event: LogEvent) -> bytes:
    """Write an event down, in as many bytes as a pipe takes."""
    level = event.get("log_level") or LogLevel.info
    namespace = str(event.get("log_namespace", ""))[:100]
    text, fields, traceback = formatEvent(event), fields_of(event), traceback_of(event)
    line = _encoded(level.name, namespace, text, fields, traceback)
    if len(line) > MAX_LOG_LINE:
        fields = {}
    while len(line) > MAX_LOG_LINE:
        # What JSON escapes may have taken more bytes than it had.
        if len(traceback) > len(text):
            # Its end says what has failed.
            traceback = "..." + traceback[len(traceback) - _part(traceback, line) :]
        else:
            text = text[: _part(text, line)] + "..."
        line = _encoded(level.name, namespace, text, fields, traceback)
    return line


def _part(text: str, line: bytes) -> int:
    """Give how many characters of a text that is too long are tried next."""
    return max(len(text) * MAX_LOG_LINE // len(line) - 8, 0)


def _encoded(*parts: object) -> bytes:
    return json.dumps(parts).encode() + b"\n"


def event_of(line: bytes, prefix: str, about: Mapping[str, Any]) -> LogEvent:
    """Make an event of one that was sent.

    :param prefix: stands before its text; a format.
    :param about: fills the prefix.
    :raises Exception: it cannot be read.
    """
    level, namespace, text, fields, traceback = json.loads(line)
    event: LogEvent = {
        "log_level": LogLevel.lookupByName(level),
        "log_namespace": str(namespace) or __name__,
        "log_format": f"{prefix}{{text}}",
        "text": str(text),
        **about,
        FIELDS: {**fields, **about},
    }
    return {**event, TRACEBACK: str(traceback)} if traceback else event


@implementer(IReadDescriptor)
class LogReader:
    """Logs here what a worker sends.

    :param reactor: watches the pipe.
    :param descriptor: its end for reading; the reader's from here on.
    :param worker: its number.
    """

    def __init__(self, reactor: Any, descriptor: int, worker: int) -> None:
        os.set_blocking(descriptor, False)
        self._reactor = reactor
        self._descriptor = descriptor
        self._about: dict[str, Any] = {"worker": worker}
        self._rest = b""
        reactor.addReader(self)

    @classmethod
    def of(cls, reactor: Any, worker: int) -> tuple[LogReader, int]:
        """Make a pipe, and what reads from it.

        :returns: with the end for writing, which is the caller's.
        :raises OSError: the system has no more descriptors.
        """
        reader, writer = os.pipe()
        return cls(reactor, reader, worker), writer

    def doRead(self) -> None:
        """The reactor's call: something was sent, or the last process that had the pipe has ended."""
        try:
            data = os.read(self._descriptor, _READ_AT_ONCE)
        except BlockingIOError:
            return
        if not data:
            self._stop()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LOG_LINE:
            self._rest = b""
        for line in lines:
            self._log(line)

    def _log(self, line: bytes) -> None:
        try:
            event = event_of(line, "worker {worker}: ", self._about)
            level, form = event.pop("log_level"), event.pop("log_format")
            Logger(event.pop("log_namespace")).emit(level, form, **event)
        except Exception:
            Logger().failure("worker {worker}: a line of the log cannot be read", **self._about)

    def close(self) -> None:
        """Log what has come, and read no more."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self.doRead()
        self._stop()

    def _stop(self) -> None:
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down."""
        self._stop()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "log of a worker"
