"""What an edge-triggered epoll reports of a socket while its peer and its owner do this or that.

The memory poller and the kernel's are held to the same reports. A script yields after each deed; what has
been reported since the yield before is compared then.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

from support.memory_socket import NO_LINGER
from tcpbalance.net.poller import EDGES, READ_EDGES

_NAMES = ("IN", "OUT", "RDHUP", "HUP", "ERR")


def named(events: int) -> str:
    """A mask in words; empty when nothing was reported."""
    return "|".join(name for name in _NAMES if events & getattr(select, f"EPOLL{name}"))


class Ends:
    """A connection whose one end is polled.

    :param ours: the end that is polled.
    :param theirs: the other.
    :param poller: ``select.epoll`` or what stands for it.
    """

    def __init__(self, ours: Any, theirs: Any, poller: Any) -> None:
        self.ours = ours
        self.theirs = theirs
        self.poller = poller
        self.number = ours.fileno()

    def register(self) -> None:
        """Begin to poll."""
        self.poller.register(self.number, EDGES)

    def register_for_reads(self) -> None:
        """Begin to poll, and leave writes out."""
        self.poller.register(self.number, READ_EDGES)

    def add_writes(self) -> None:
        """Poll for writes, too."""
        self.poller.modify(self.number, EDGES)

    def reset(self) -> None:
        """Let the peer break off."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.theirs.close()

    def fill(self) -> None:
        """Send until nothing more is taken, for good."""
        try:
            while True:
                self.ours.send(bytes(65536))
        except BlockingIOError:
            if self.wait(select.EPOLLOUT):
                self.fill()

    def drain(self) -> None:
        """Let the peer read all that was sent."""
        try:
            while True:
                self.theirs.recv(65536)
        except BlockingIOError:
            if self.wait(select.EPOLLIN):
                self.drain()

    def wait(self, event: int) -> bool:
        """Overridden where travelling takes time: tell whether our end has come to be writable, or theirs
        readable."""
        return False


Script = Callable[[Ends], Iterator[None]]
SCRIPTS: list[tuple[Script, list[str]]] = []
"""Each script with what is reported at each of its yields."""


def _script(*reports: str) -> Callable[[Script], Script]:
    def enter(script: Script) -> Script:
        SCRIPTS.append((script, list(reports)))
        return script

    return enter


@_script("OUT", "")
def registering_reports_what_holds(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    yield


@_script("IN|OUT|RDHUP")
def registering_reports_what_came_before(ends: Ends) -> Iterator[None]:
    ends.theirs.send(b"early")
    ends.theirs.shutdown(socket.SHUT_WR)
    ends.register()
    yield


@_script("OUT", "IN|OUT", "", "IN|OUT", "", "IN|OUT")
def bytes_are_reported_each_time_that_some_come(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.send(b"one")
    yield
    yield
    ends.theirs.send(b"two")
    yield
    ends.ours.recv(2)
    yield
    ends.theirs.send(b"three")
    yield


@_script("OUT", "IN|OUT|RDHUP", "", "")
def the_end_is_reported_once(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.send(b"last")
    ends.theirs.shutdown(socket.SHUT_WR)
    yield
    assert ends.ours.recv(100) == b"last"
    yield
    assert ends.ours.recv(100) == b""
    yield


@_script("OUT", "OUT", "IN|OUT|RDHUP|HUP")
def a_half_close_of_our_own_is_an_edge(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.ours.shutdown(socket.SHUT_WR)
    yield
    ends.theirs.shutdown(socket.SHUT_WR)
    yield


@_script("OUT", "IN|OUT|RDHUP", "IN|OUT|RDHUP|HUP")
def a_half_close_after_the_end_is_an_edge(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.shutdown(socket.SHUT_WR)
    yield
    ends.ours.shutdown(socket.SHUT_WR)
    yield


@_script("OUT", "IN|OUT|RDHUP|HUP|ERR", "", "")
def a_reset_tells_its_error_once_and_shows_an_end_from_then_on(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.reset()
    yield
    assert ends.ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    yield
    assert ends.ours.recv(100) == b""
    yield


@_script("OUT", "IN|OUT|RDHUP|HUP|ERR", "")
def what_came_before_a_reset_can_be_read(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.send(b"last")
    ends.reset()
    yield
    assert ends.ours.recv(100) == b"last"
    yield


@_script("OUT", "IN|OUT|RDHUP", "IN|OUT|RDHUP|HUP|ERR")
def bytes_for_a_peer_that_has_closed_bring_a_reset(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.close()
    yield
    ends.ours.send(b"anybody there?")
    yield


@_script("", "", "OUT", "")
def room_is_reported_once_it_was_asked_for(ends: Ends) -> Iterator[None]:
    ends.fill()
    ends.register()
    yield
    ends.theirs.recv(1)
    yield
    ends.drain()
    yield
    ends.drain()
    yield


@_script("OUT", "")
def room_that_nobody_lacked_is_not_reported(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.ours.send(b"a little")
    ends.drain()
    yield


@_script("OUT", "IN", "OUT")
def bytes_are_reported_without_room_where_there_is_none(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.fill()
    ends.theirs.send(b"x")
    yield
    ends.ours.recv(1)
    ends.drain()
    yield


@_script("OUT", "")
def nothing_is_reported_of_a_socket_that_is_unregistered(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.poller.unregister(ends.number)
    ends.theirs.send(b"x")
    yield


@_script("OUT", "")
def nothing_is_reported_of_a_socket_that_is_closed(ends: Ends) -> Iterator[None]:
    ends.register()
    yield
    ends.theirs.send(b"x")
    ends.ours.close()
    yield


@_script("")
def errors(ends: Ends) -> Iterator[None]:
    ends.register()
    ends.poller.poll(0, 10)
    for refused in (ends.register, lambda: ends.poller.unregister(ends.number + 1)):
        try:
            refused()
        except OSError:
            pass
        else:
            raise AssertionError("taken")
    yield


@_script("", "", "IN|RDHUP|HUP")
def without_writes_a_half_close_of_our_own_is_none(ends: Ends) -> Iterator[None]:
    ends.register_for_reads()
    yield
    ends.ours.shutdown(socket.SHUT_WR)
    yield
    ends.theirs.shutdown(socket.SHUT_WR)
    yield


@_script("IN", "IN|OUT", "")
def what_holds_is_reported_anew_when_writes_are_added(ends: Ends) -> Iterator[None]:
    ends.theirs.send(b"early")
    ends.register_for_reads()
    yield
    ends.add_writes()
    yield
    yield


@_script("", "", "OUT")
def space_is_reported_once_writes_are_added(ends: Ends) -> Iterator[None]:
    ends.register_for_reads()
    yield
    ends.fill()
    ends.add_writes()
    yield
    ends.drain()
    yield
