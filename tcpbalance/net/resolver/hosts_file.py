"""The hosts file: hosts(5)."""

from __future__ import annotations

import contextlib
import os
import socket
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tcpbalance.net.errnos import EXHAUSTED
from tcpbalance.net.resolver.answer import Host

PATH = "/etc/hosts"

_LOOPBACK = ["127.0.0.1", "::1"]

Version = tuple[int, int, int, int] | None
"""What changes with the file; None where there is none."""


class HostsFile:
    """The names in the hosts file, read again when it has changed.

    It is read in a thread, since a long one, such as a list of blocked names, takes a while. Nothing is held
    but memory: no thread and no descriptor. c-ares could read it, but pycares 5.2 hands it the option that
    says so in memory that is freed already (``lookups``), so that it skips the file now and then.

    :param reactor: is called when the file has been read (IReactorFromThreads).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._names: dict[str, list[str]] | None = None
        self._version: Version = None
        self._waiting: list[Deferred[None]] = []
        self._is_being_read = False

    def ready(self) -> Deferred[None]:
        """Read the file if it has changed.

        :returns: fires when ``find`` can be called; with an error where there was no memory or descriptor to
            read it, and the next call tries again.
        :raises RuntimeError: there are no resources for another thread.
        """
        if self._names is not None and self._version == _version():
            return succeed(None)
        if not self._is_being_read:
            Thread(target=self._read, name="hosts file", daemon=True).start()
            self._is_being_read = True
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def find(self, host: str) -> tuple[Host, ...]:
        """Give the addresses of a name, of both families, in the order of the file.

        ``localhost`` has the loopback addresses where the file says nothing else: RFC 6761, section 6.3.
        """
        name = host.removesuffix(".").lower()
        addresses = (self._names or {}).get(name)
        if addresses is None and (name == "localhost" or name.endswith(".localhost")):
            addresses = _LOOPBACK
        hosts: dict[Host, None] = {}
        for address in addresses or ():
            with contextlib.suppress(OSError, ValueError):  # not an address, or of no interface here
                (family, _, _, _, place), *_ = socket.getaddrinfo(
                    address, 0, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST
                )
                hosts[Host(int(family), str(place[0]), *place[3:])] = None
        return tuple(hosts)

    def stop(self) -> None:
        """Forget the file; what waits for it is left without an answer."""
        self._waiting.clear()
        self._names = None

    def _read(self) -> None:
        version = _version()
        names: dict[str, list[str]] | None = None
        error: Exception | None = None
        try:
            names = _names_in_file()
        except Exception as caught:
            error = caught
        # A reactor that has ended in the meantime may say so; nothing waits for the file any more.
        with contextlib.suppress(RuntimeError):
            self._reactor.callFromThread(self._take, version, names, error)

    def _take(self, version: Version, names: dict[str, list[str]] | None, error: Exception | None) -> None:
        self._is_being_read = False
        waiting, self._waiting = self._waiting, []
        self._version, self._names = version, names
        for deferred in waiting:
            if error is None:
                deferred.callback(None)
            else:
                deferred.errback(error)


def _version() -> Version:
    try:
        status = os.stat(PATH)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _names_in_file() -> dict[str, list[str]]:
    """Read the addresses of all names, as they are written; a file that may not be read has none.

    :raises OSError: there is no descriptor or memory.
    """
    names: dict[str, list[str]] = {}
    try:
        with open(PATH, encoding="ascii", errors="replace") as lines:
            for line in lines:
                address, *hosts = line.partition("#")[0].split() or [""]
                for host in hosts:
                    names.setdefault(host.removesuffix(".").lower(), []).append(address)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise
    return names
