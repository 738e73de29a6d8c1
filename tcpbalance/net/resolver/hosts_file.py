"""The hosts file, as c-ares reads it: hosts(5)."""

from __future__ import annotations

import contextlib
import os
import socket
from threading import Thread
from typing import Any

import pycares
from twisted.internet.defer import Deferred, succeed

from tcpbalance.net.resolver.answer import Host

PATH = "/etc/hosts"
"""The file that c-ares reads; it takes no other."""

Version = tuple[int, int, int, int] | None
"""What changes with the file; None where there is none."""


class HostsFile:
    """The names in the hosts file, read again when it has changed.

    It is read in a thread, since a long one, such as a list of blocked names, takes a second for 100,000
    lines. Nothing is held but memory: no thread and no descriptor.

    :param reactor: is told when the file has been read (IReactorFromThreads).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._channel: pycares.Channel | None = None
        self._version: Version = None
        self._waiting: list[Deferred[None]] = []
        self._is_being_read = False

    def ready(self) -> Deferred[None]:
        """Read the file if it has changed.

        :returns: fires when ``find`` can be called, with an AresError where there was no memory to read it.
        :raises RuntimeError: there is no room for a thread.
        """
        if self._channel is not None and self._version == _version():
            return succeed(None)
        if not self._is_being_read:
            Thread(target=self._read, name="hosts file", daemon=True).start()
            self._is_being_read = True
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def find(self, host: str) -> tuple[Host, ...]:
        """Give the addresses of a name, of both families, in the order of RFC 6724.

        :raises UnicodeError: it is not a host name.
        """
        return () if self._channel is None else _find(self._channel, host)

    def stop(self) -> None:
        """Forget the file; what waits for it is left without an answer."""
        self._waiting.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _read(self) -> None:
        version, channel, error = _version(), None, None
        try:
            # With a callback for its sockets, of which it has none, it starts no thread.
            channel = pycares.Channel(lookups="f", sock_state_cb=lambda *_: None)
            _find(channel, "localhost")  # The file is read for the first name.
        except Exception as caught:
            error = caught
        # A reactor that has ended in the meantime may say so; nobody waits for the file any more.
        with contextlib.suppress(RuntimeError):
            self._reactor.callFromThread(self._take, version, channel, error)

    def _take(self, version: Version, channel: pycares.Channel | None, error: Exception | None) -> None:
        self._is_being_read = False
        waiting, self._waiting = self._waiting, []
        if channel is not None and error is None:
            if self._channel is not None:
                self._channel.close()
            self._version, self._channel = version, channel
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


def _find(channel: pycares.Channel, host: str) -> tuple[Host, ...]:
    found: list[Any] = []
    channel.getaddrinfo(host, None, type=socket.SOCK_STREAM, callback=lambda result, _: found.append(result))
    if not found or found[0] is None:
        return ()
    places = [(int(node.family), node.addr) for node in found[0].nodes]
    hosts = (Host(family, place[0].decode("ascii"), *place[3:]) for family, place in places)
    return tuple(dict.fromkeys(hosts))
