"""Reads the files of a running balancer again, when they change or on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.errors import TcpbalanceError
from tcpbalance.steady_loop import SteadyLoop
from tcpbalance.threads import InThread

LOOK_AT_FILES_EVERY = 1.0
"""Seconds between two looks at the files."""

RENEW_AFTER = 12 * 3600.0
"""Seconds after which files are read again in any case, which makes a new key of session tickets. Tickets are
valid for as long as the key that encrypts them; and that key decrypts what was recorded since it
was made."""

TRY_AGAIN_AFTER = 60.0
"""Seconds after which files that could not be used are tried again, changed or not: a certificate may have
become valid meanwhile, or a descriptor free."""

HANGS_AFTER = 10.0
"""Seconds after which a read that has not ended is reported: the file may be a pipe that nothing writes to,
or on a file server that does not answer."""

Signature = tuple[tuple[int, ...] | None, ...]


class Part(Protocol):
    """What is made of files.

    :ivar files: their paths.
    :ivar warnings: what is wrong with them and does not keep them from being used.
    """

    @property
    def files(self) -> tuple[str, ...]: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def is_outdated(self) -> bool:
        """Whether they have to be read again, changed or not, because of the time."""
        ...

    def prepare(self) -> Callable[[], None]:
        """Read them again; called in a thread.

        :returns: puts what was read into use; called in the reactor's thread.
        :raises TcpbalanceError: they cannot be used; all stays as it was.
        """
        ...


class _Watched:
    """One part, and the state of its files when they were read.

    Files are read again when they have changed and have stopped changing; every minute after a read that
    has failed; when the part is outdated; and when the last read is half a day old. Only one read runs at a
    time: a request during a read causes one more read after it.
    """

    _log = Logger()

    def __init__(self, name: str, part: Part, clock: IReactorTime, in_thread: InThread) -> None:
        self.name = name
        self.part = part
        self._clock = clock
        self._in_thread = in_thread
        self._reading: Deferred[Any] | None = None
        self._once_more = False
        self._hang_due: float | None = None
        self._read = self._seen = _signature(part.files)
        self._due = clock.seconds() + RENEW_AFTER
        self._has_failed = False
        self._reported_error = ""
        self._warned: tuple[str, ...] = ()
        self._looking = SteadyLoop(f"the check of the files of {name}", self._look, clock)

    def expect_changes(self) -> None:
        """Read again soon: the files may have changed since the part was made of them."""
        self._due = self._clock.seconds()

    def start(self) -> None:
        """Report what is wrong with the files, and begin to watch them."""
        self._warn()
        self._looking.start(LOOK_AT_FILES_EVERY, now=False)

    def stop(self) -> None:
        """Stop watching, and discard the read under way."""
        self._looking.stop()
        self._reading = self._hang_due = None
        self._once_more = False

    def _look(self) -> None:
        """See whether it is time to read again, or whether the read under way hangs."""
        self._report_hang()
        seen, self._seen = self._seen, _signature(self.part.files)
        changed = self._seen != self._read
        is_due = changed or self._clock.seconds() >= self._due or self._is_outdated()
        if self._reading is None and seen == self._seen and is_due:
            self.reload()

    def _report_hang(self) -> None:
        """Report a read that does not end, once a read; nothing can end it but the system."""
        if self._hang_due is None or self._clock.seconds() < self._hang_due:
            return
        self._hang_due = None
        self._log.warn(
            "{name}: reading {files} again has not ended for {seconds:g} s, what was read before stays in "
            "use; a pipe that nothing writes to and a file server that does not answer hang like this",
            name=self.name,
            files=", ".join(self.part.files),
            seconds=HANGS_AFTER,
        )

    def _is_outdated(self) -> bool:
        # A read that has failed is tried again after TRY_AGAIN_AFTER, outdated or not.
        return not self._has_failed and self.part.is_outdated()

    def _warn(self) -> None:
        """Report what is wrong with the files in use, once for as long as it is the same."""
        warnings = self.part.warnings
        for warning in warnings:
            if warning not in self._warned:
                self._log.warn("{name}: {warning}", name=self.name, warning=warning)
        self._warned = warnings

    def reload(self) -> None:
        """Read again."""
        if self._reading is not None:
            # What it has read of the files may be from before the change that is asked for.
            self._once_more = True
            return
        self._read = self._seen = _signature(self.part.files)
        self._due = self._clock.seconds() + TRY_AGAIN_AFTER
        self._hang_due = self._clock.seconds() + HANGS_AFTER
        reading = self._reading = self._in_thread(self.part.prepare)
        reading.addCallback(self._commit, reading).addErrback(self._failed, reading)

    def _commit(self, commit: Callable[[], None], reading: Deferred[Any]) -> None:
        if self._reading is not reading:
            return  # It was stopped meanwhile, and perhaps started again.
        commit()
        self._due = self._clock.seconds() + RENEW_AFTER
        self._has_failed = False
        self._reported_error = ""
        self._log.info("{name}: read {files} again", name=self.name, files=", ".join(self.part.files))
        self._warn()
        self._done()

    def _failed(self, failure: Failure, reading: Deferred[Any]) -> None:
        if self._reading is not reading:
            return
        self._has_failed = True
        if isinstance(failure.value, TcpbalanceError):
            self._report_error(str(failure.value))
        else:
            self._log.failure("{name}: files could not be read again", failure, name=self.name)
        self._done()

    def _done(self) -> None:
        self._reading = self._hang_due = None
        if self._once_more:
            self._once_more = False
            self.reload()

    def _report_error(self, error: str) -> None:
        """Report why a read has failed, once for as long as the reason is the same."""
        if error != self._reported_error:
            self._reported_error = error
            self._log.error(
                "{name}: files could not be read again, what was read before stays in use: {error}",
                name=self.name,
                error=error,
            )


class Reloader(Service):
    """Keeps parts up to date with their files.

    A change is taken up once a second has gone by without another one, so that a certificate and its key can
    be replaced one after the other. Files are read in a thread: others are served meanwhile.

    :param reactor: IReactorTime.
    :param parts: each with a name for the log.
    :param in_thread: calls what reads them.
    """

    def __init__(self, reactor: Any, parts: Iterable[tuple[str, Part]], in_thread: InThread) -> None:
        self._reactor = reactor
        self._in_thread = in_thread
        self._watched = [_Watched(name, part, reactor, in_thread) for name, part in parts]

    def watch(self, parts: Iterable[tuple[str, Part]]) -> None:
        """Keep these parts up to date from now on.

        Those that it has already go on, and so do their reads under way. The files of the others are read
        again soon: they may have changed since the part was made of them.
        """
        present, self._watched = self._watched, []
        for name, part in parts:
            watched = next((it for it in present if (it.name, it.part) == (name, part)), None)
            if watched is None:
                watched = _Watched(name, part, self._reactor, self._in_thread)
                watched.expect_changes()
                if self.running:
                    watched.start()
            else:
                present.remove(watched)
            self._watched.append(watched)
        for watched in present:
            watched.stop()

    def expect_changes(self) -> None:
        """Read all of them again soon: they may have changed since the parts were made of them."""
        for watched in self._watched:
            watched.expect_changes()

    def startService(self) -> None:
        """Report what is wrong with the files, and begin to watch them."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        for watched in self._watched:
            watched.start()

    def stopService(self) -> None:
        """Stop watching; what is being read is not used."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        for watched in self._watched:
            watched.stop()

    def reload(self) -> None:
        """Read all of them again now."""
        if self.running:
            for watched in self._watched:
                watched.reload()


def _signature(files: Iterable[str]) -> Signature:
    return tuple(map(_state, files))


def _state(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
