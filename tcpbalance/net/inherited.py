"""Listening sockets that were open when the program began: those of systemd, or of a predecessor."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.environment import PassedDescriptor
from tcpbalance.net.addresses import address_text, peer_address
from tcpbalance.net.binding import ListenError, bind_target, inode_of, unlink_own

ALL_IPV6 = "::"
"""An IPv6 socket with this address may take IPv4 clients as well."""


@frozen(eq=False)
class InheritedSocket:
    """A listening socket that was open when the program began.

    :param sock: the socket; it belongs to whichever part claims it.
    :param passed: its descriptor, and what it was passed with.
    """

    sock: socket.socket
    passed: PassedDescriptor

    @classmethod
    def adopt(cls, passed: PassedDescriptor) -> InheritedSocket:
        """Take a descriptor over, which no child inherits from here on.

        :raises ListenError: it is no listening stream socket of a family that clients can come by.
        """
        try:
            os.set_inheritable(passed.number, False)
            sock = socket.socket(fileno=passed.number)
        except OSError as error:
            raise ListenError(
                f"{_described(passed)}: is no socket: {(error.strerror or str(error)).lower()}"
            ) from error
        if mistake := _mistake_in(sock):
            sock.close()
            raise ListenError(f"{_described(passed)}: {mistake}")
        sock.setblocking(False)
        return cls(sock, passed)

    def listens_on_any_port(self, family: int, target: Any) -> bool:
        """Whether it is the socket of an address whose port the kernel chose.

        :param family: of the address, as ``bind_target`` gives it, and likewise
        :param target: what it is called.
        """
        name = self.sock.getsockname()
        return self.sock.family == family and (name[0], *name[2:]) == (target[0], *target[2:])

    def __str__(self) -> str:
        address = address_text(peer_address(self.sock.family, self.sock.getsockname()))
        return f"{_described(self.passed)}, which listens on {address}"


def _described(passed: PassedDescriptor) -> str:
    return f"inherited descriptor {passed.number} ({passed.name})"


def _mistake_in(sock: socket.socket) -> str | None:
    """Find why clients cannot be accepted from a socket."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return f"must be of IPv4, IPv6 or unix, got address family {int(sock.family)}"
    if sock.type != socket.SOCK_STREAM:
        return "must be a stream socket: use ListenStream= in the socket unit"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "must be a listening socket: use Accept=no in the socket unit"
    if sock.family == socket.AF_INET6 and _takes_ipv4(sock):
        # 0.0.0.0 and [::] on one port are two listeners of their own, whatever the system's default.
        return (
            "takes clients of IPv4, too: use BindIPv6Only=ipv6-only in the socket unit, and another "
            "ListenStream= for 0.0.0.0"
        )
    return None


def _takes_ipv4(sock: socket.socket) -> bool:
    return sock.getsockname()[0] == ALL_IPV6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _is_socket_file(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


class InheritedSockets:
    """The sockets that were open when the program began, until the frontends have claimed theirs.

    Those of systemd are found by their name, which is the frontend's. Those of a predecessor are found by
    their address, because the configuration may have changed since.

    :param passed: their descriptors.
    :param is_handed_over: whether they come from a predecessor, which serves until this program is ready.
    :raises ListenError: a descriptor cannot be used; those before it are closed then.
    """

    _log = Logger()

    def __init__(self, passed: Iterable[PassedDescriptor] = (), is_handed_over: bool = False) -> None:
        self.is_handed_over = is_handed_over
        # In the order in which they were passed, and by what ``getsockname`` says of them.
        self._unclaimed: dict[InheritedSocket, None] = {}
        self._named: dict[tuple[int, Any], list[InheritedSocket]] = {}
        self._files_left: list[tuple[str, tuple[int, int]]] = []
        self.add(passed)

    def add(self, passed: Iterable[PassedDescriptor]) -> None:
        """Take over others that were passed since.

        :raises ListenError: a descriptor cannot be used; all that are not claimed are closed then.
        """
        try:
            for one in map(InheritedSocket.adopt, passed):
                self._unclaimed[one] = None
                self._named.setdefault((one.sock.family, one.sock.getsockname()), []).append(one)
        except ListenError:
            self.discard()
            raise

    def claim(self, frontend: str, address: Address) -> InheritedSocket | None:
        """Give the socket of an address to a frontend.

        :param frontend: its name.
        :param address: one of this machine; with port 0, any port of a socket of that name.
        :returns: None where there is none, and the address has to be bound.
        :raises ListenError: systemd has passed it under another name.
        """
        if not self._unclaimed:
            return None
        found = self._found(frontend, address)
        one = next((one for one in found if one.passed.name == frontend), None)
        if one is None:
            if not found:
                return None
            one = found[0]
            if not self.is_handed_over:
                raise ListenError(f"{one}: use FileDescriptorName={frontend} in the socket unit")
        self._take(one)
        return one

    def _found(self, frontend: str, address: Address) -> list[InheritedSocket]:
        """Find the sockets of an address."""
        family, target = bind_target(address)
        if address.port == 0:
            return [
                one
                for one in self._unclaimed
                if one.passed.name == frontend and one.listens_on_any_port(family, target)
            ]
        if address.path is not None and not _is_socket_file(address.path):
            return []
        return self._named.get((family, target), [])

    def _take(self, one: InheritedSocket) -> None:
        del self._unclaimed[one]
        self._named[one.sock.family, one.sock.getsockname()].remove(one)

    def refuse_others(self, frontend: str) -> None:
        """Find the sockets of systemd that a frontend should have claimed.

        Clients would wait in them for as long as systemd has them open.

        :raises ListenError: one has the name of the frontend, and none of its addresses.
        """
        for one in self._unclaimed:
            if one.passed.name == frontend and not self.is_handed_over:
                raise ListenError(f"{one}: listen has no such address: add it, or change the socket unit")

    def close_unclaimed(self) -> None:
        """Close what no frontend has claimed, and warn of it."""
        for one in self._unclaimed:
            if one.passed.owns_file:
                path = one.sock.getsockname()
                with suppress(FileNotFoundError):
                    self._files_left.append((path, inode_of(path)))
            if self.is_handed_over:
                self._log.info("{socket}: no frontend has that address any more", socket=str(one))
            else:
                self._log.warn(
                    "{socket}: there is no frontend {name}, its clients are not served: stop the socket "
                    "unit, or correct FileDescriptorName=",
                    socket=str(one),
                    name=one.passed.name,
                )
        self.discard()

    def remove_files(self) -> None:
        """Remove the files of unix sockets that a predecessor had and no frontend has claimed.

        To be called when the predecessor has handed over: until then, it serves them.
        """
        files, self._files_left = self._files_left, []
        for path, inode in files:
            try:
                unlink_own(path, inode)
            except OSError as error:
                self._log.warn(
                    "socket file {path} is left behind: {reason}; remove it",
                    path=path,
                    reason=(error.strerror or "").lower(),
                )

    def discard(self) -> None:
        """Close what no frontend has claimed."""
        unclaimed, self._unclaimed, self._named = self._unclaimed, {}, {}
        for one in unclaimed:
            one.sock.close()
