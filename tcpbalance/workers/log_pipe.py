"""What a worker logs goes to the supervisor by a pipe, and from there where its own lines go.

A worker never waits for the pipe: what finds no space is dropped, and how many lines that were is logged
with the next one that does. Once the supervisor is gone, lines go to the standard error stream, where there
is space. The access log does not come this way.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from select import select
from time import time
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, formatTime
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_LOG_LINE = 4096
"""Bytes of a line; a pipe takes that much whole or not at all (pipe(7)). Longer ones are cut."""

_READ_AT_ONCE = 65536

_ERRORS = 2


@implementer(ILogObserver)
class LogSender:
    """Sends what is logged; what cannot be sent is dropped.

    :param descriptor: where it is written; the sender's from here on.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._dropped = 0

    def __call__(self, event: LogEvent) -> None:
        """Twisted's call: send an event."""
        if self._dropped and self._send(LogLevel.warn, "", f"{self._dropped} lines of the log were dropped"):
            self._dropped = 0
        level = event.get("log_level", LogLevel.info)
        if not self._send(level, str(event.get("log_namespace", "")), _text(event)):
            self._dropped += 1

    def _send(self, level: Any, namespace: str, text: str) -> bool:
        line = _line(level.name, namespace, text)
        while len(line) > MAX_LOG_LINE:
            # What JSON escapes may have taken more bytes than it had.
            text = text[: len(text) * MAX_LOG_LINE // len(line) - 8] + "..."
            line = _line(level.name, namespace, text)
        try:
            return os.write(self._descriptor, line) == len(line)
        except BrokenPipeError:
            return _write_here(level.name, text)
        except OSError:
            return False


def _write_here(level: str, text: str) -> bool:
    line = f"{formatTime(time())} [{level}] worker (process {os.getpid()}): {text}".encode(errors="replace")
    with suppress(OSError, ValueError):
        _, writable, _ = select([], [_ERRORS], [], 0)
        return bool(writable) and os.write(_ERRORS, line[: MAX_LOG_LINE - 1] + b"\n") > 0
    return False


def _line(level: str, namespace: str, text: str) -> bytes:
    return json.dumps([level, namespace[:100], text]).encode() + b"\n"


def _text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    text = formatEvent(event)
    return f"{text}\n{failure.getTraceback().rstrip()}" if isinstance(failure, Failure) else text


@implementer(IReadDescriptor)
class LogReader:
    """Logs here what a worker sends.

    :param reactor: watches the pipe.
    :param descriptor: its end for reading; the reader's from here on.
    :param prefix: stands before each line.
    """

    def __init__(self, reactor: Any, descriptor: int, prefix: str) -> None:
        os.set_blocking(descriptor, False)
        self._reactor = reactor
        self._descriptor = descriptor
        self._prefix = prefix
        self._rest = b""
        reactor.addReader(self)

    @classmethod
    def of(cls, reactor: Any, prefix: str) -> tuple[LogReader, int]:
        """Make a pipe, and what reads from it.

        :returns: with the end for writing, which is the caller's.
        :raises OSError: the system has no more descriptors.
        """
        reader, writer = os.pipe()
        return cls(reactor, reader, prefix), writer

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
            level, namespace, text = json.loads(line)
            emit = Logger(str(namespace) or __name__).emit
            emit(LogLevel.lookupByName(level), "{prefix}{text}", prefix=self._prefix, text=str(text))
        except Exception:
            Logger().failure("{prefix}a line of the log cannot be read", prefix=self._prefix)

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
