"""Reads files again that a running balancer was made of, when they change or when it is asked to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from tcpbalance.errors import TcpbalanceError

LOOK_EVERY = 1.0
"""Seconds between two looks at the files."""

RENEW_AFTER = 12 * 3600.0
"""Seconds after which a part is made anew in any case. Session tickets are good for as long as the key that
they are encrypted with; and whoever gets hold of that can read what was recorded since it was made."""

TRY_AGAIN_AFTER = 60.0
"""Seconds after which files that could not be used are tried again, changed or not: a certificate may have
become valid meanwhile, or a descriptor free."""

Signature = tuple[tuple[int, ...] | None, ...]


class Part(Protocol):
    """What is made of files.

    :ivar files: their paths.
    :ivar warnings: what is wrong with them and does not keep them from being used.
    """

    files: tuple[str, ...]
    warnings: tuple[str, ...]

    def is_outdated(self) -> bool:
        """Whether they have to be read again, changed or not, because of the time."""
        ...

    def reload(self) -> None:
        """Read them again.

        :raises TcpbalanceError: they cannot be used; all stays as it was.
        """
        ...


class _Watched:
    """One part, and what its files looked like.

    It is read again when they have changed and are not being changed any more; when that has failed, every
    now and then; when the time asks for it; and when it was not read for long.
    """

    _log = Logger("tcpbalance.reload")

    def __init__(self, name: str, part: Part, now: float) -> None:
        self._name = name
        self._part = part
        self._read = self._seen = _signature(part.files)
        self._due = now + RENEW_AFTER
        self._complaint = ""
        self._warned: tuple[str, ...] = ()

    def look(self, now: float) -> None:
        """See whether it is time to read again."""
        seen, self._seen = self._seen, _signature(self._part.files)
        changed = self._seen != self._read
        if seen == self._seen and (changed or now >= self._due or self._is_outdated()):
            self.reload(now)

    def _is_outdated(self) -> bool:
        # What could not be read has its own time to be tried again.
        return not self._complaint and self._part.is_outdated()

    def warn(self) -> None:
        """Say what is wrong with the files in use, once for as long as it is the same."""
        warnings = self._part.warnings
        for warning in warnings:
            if warning not in self._warned:
                self._log.warn("{name}: {warning}", name=self._name, warning=warning)
        self._warned = warnings

    def reload(self, now: float) -> None:
        """Read again."""
        self._read = self._seen = _signature(self._part.files)
        self._due = now + TRY_AGAIN_AFTER
        try:
            self._part.reload()
        except TcpbalanceError as error:
            self._complain(str(error))
        except Exception:
            self._log.failure("{name}: files could not be read again", name=self._name)
        else:
            self._due = now + RENEW_AFTER
            self._complaint = ""
            self._log.info("{name}: read {files} again", name=self._name, files=", ".join(self._part.files))
            self.warn()

    def _complain(self, complaint: str) -> None:
        """Say what is wrong, once for as long as it is the same."""
        if complaint != self._complaint:
            self._complaint = complaint
            self._log.error(
                "{name}: files could not be read again, what was read before stays in use: {complaint}",
                name=self._name,
                complaint=complaint,
            )


class Reloader(Service):
    """Keeps parts up to date with their files.

    A change is taken up once a second has gone by without another one, so that a certificate and its key can
    be replaced one after the other.

    :param reactor: IReactorTime.
    :param parts: each with a name for the log.
    """

    def __init__(self, reactor: Any, parts: Iterable[tuple[str, Part]]) -> None:
        self._reactor = reactor
        now = reactor.seconds()
        self._watched = [_Watched(name, part, now) for name, part in parts]
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def startService(self) -> None:
        """Say what is wrong with the files, and begin to look at them."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        for watched in self._watched:
            watched.warn()
        if self._watched:
            self._looking.start(LOOK_EVERY, now=False)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        if self._looking.running:
            self._looking.stop()

    def reload(self) -> None:
        """Read all of them again now."""
        for watched in self._watched:
            watched.reload(self._reactor.seconds())

    def _look(self) -> None:
        for watched in self._watched:
            watched.look(self._reactor.seconds())


def _signature(files: Iterable[str]) -> Signature:
    return tuple(map(_state, files))


def _state(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
