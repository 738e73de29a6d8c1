"""Takes the addresses that a frontend listens on; nothing is accepted yet."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from twisted.logger import Logger

from tcpbalance.config.addresses import Address
from tcpbalance.config.loops import WILDCARDS
from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.socket_options import SocketOptionError, SocketOptions

MAX_TARGETS = 8192
"""Addresses that are kept in the form of the system: a reload compares each that is new with each socket."""

_log = Logger()


class ListenError(TcpbalanceError):
    """An address could not be listened on; the text names it and says what to do."""

    fault = Fault.CONFIGURATION


_ADVICE = {
    errno.EADDRINUSE: "address already in use: stop the program that holds it or choose another address",
    errno.EACCES: "permission denied: a port below 1024 needs root or CAP_NET_BIND_SERVICE, "
    "a socket file needs a folder that may be written",
    errno.EADDRNOTAVAIL: "address not on this machine: use one that `ip address` shows, "
    "or 0.0.0.0 or [::] for all",
    errno.EMFILE: "too many open files: raise LimitNOFILE or `ulimit -n`",
    errno.ENFILE: "too many open files in the system: raise fs.file-max",
    errno.ENOENT: "no such folder: make it first",
    errno.EEXIST: "what is there is no socket: remove it or choose another path",
}


def listen_error(address: object, error: OSError) -> ListenError:
    """Say what an error of the system means for an address, and what to do."""
    advice = _ADVICE.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return ListenError(f"cannot listen on {address}: {advice}")


_BIND_TO_IFINDEX = 62
"""``SO_BINDTOIFINDEX`` of Linux 5.0, which Python has no name for."""

_NO_INTERFACE = 2**31 - 1


def bind(address: Address, options: SocketOptions, *, beside: bool = False) -> socket.socket:
    """Take an address without listening on it yet: connections are refused until ``Listener.startListening``.

    A socket file without a listener, as a killed process leaves behind, is replaced.

    :param address: host and port, or the path of a unix socket.
    :param options: set before binding, so that the TCP window scale follows the buffers.
    :param beside: whether sockets that overlap it, and allow it, listen already; see ``allow_beside``.
    :raises ListenError: the address cannot be had, or an option was refused.
    """
    try:
        family, target = bind_target(address)
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise listen_error(address, error) from error
    try:
        _bind(sock, target, options, beside)
    except OSError as error:
        sock.close()
        raise listen_error(address, error) from error
    except SocketOptionError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {error}") from error
    return sock


class _Closable(Protocol):
    def close(self) -> object: ...


Taken = TypeVar("Taken", bound=_Closable)


def take_all(
    address: Address, take: Callable[[Address], Taken], found: Sequence[Address] | None = None
) -> list[Taken]:
    """Take an address; of a name, every address that it has and this machine has, too.

    With port 0, each address gets a free port of its own.

    :param found: what `addresses_of` gave for the name; None to look it up.
    :param take: gives what listens on one address, as ``bind`` does, and raises what that raises.
    :returns: at least one.
    :raises ListenError: none of the addresses can be had, or one is taken; none is held then.
    """
    if not address.is_name:
        return [take(address)]
    socks: list[Taken] = []
    absent: list[ListenError] = []
    for own in addresses_of(address) if found is None else found:
        try:
            socks.append(take(own))
        except ListenError as error:
            if not _is_absent(error):
                for sock in socks:
                    sock.close()
                raise ListenError(f"{address}: {error}") from error
            absent.append(error)
    if not socks:
        raise ListenError(f"{address}: {absent[0]}") from absent[0]
    for reason in absent:
        _log.warn(
            "{address}: {reason}; the other addresses of the name serve", address=address, reason=reason
        )
    return socks


def addresses_of(name: Address) -> list[Address]:
    """Look the addresses up that a name to listen on has, by the system, blocking.

    :raises ListenError: it cannot be looked up.
    """
    try:
        found = socket.getaddrinfo(name.host, name.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise ListenError(f"cannot listen on {name}: the name could not be looked up: {error}") from error
    hosts = dict.fromkeys(_host_of(*place) for *_, place in found)
    return [Address(host=host, port=name.port) for host in hosts]


def _host_of(host: str | int, port: int, flow: int = 0, scope: int = 0) -> str:
    return f"{host}%{scope}" if scope else str(host)


def _is_absent(error: ListenError) -> bool:
    """Whether this machine lacks the address, or the whole family."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def bind_target(address: Address) -> tuple[int, Any]:
    """Give the address family of an address, and what ``bind`` and ``getsockname`` of its sockets call it.

    :raises OSError: this machine does not know the family, or the zone.
    """
    if address.path is not None:
        return socket.AF_UNIX, address.path
    look_up = _fixed_target if address.is_fixed else _target
    return look_up(address.host, address.port)


def _target(host: str | None, port: int | None) -> tuple[int, Any]:
    info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    return info[0][0], info[0][4]


_fixed_target = lru_cache(MAX_TARGETS)(_target)


def overlaps(sock: socket.socket, address: Address) -> bool:
    """Whether one of a socket's address and another one is all addresses with the port of both."""
    family, target = bind_target(address)
    if sock.family != family or address.is_unix:
        return False
    name = sock.getsockname()
    return name[1] == target[1] and (name[0] in WILDCARDS) != (target[0] in WILDCARDS)


def allow_beside(sock: socket.socket, allowed: bool) -> None:
    """Allow that sockets which overlap a socket, and allow the same, are bound and listen; or no longer.

    It does not allow other users of this machine to do so: socket(7), ``SO_REUSEPORT``. Another program of
    the same user that sets the option itself can bind beside a socket that was allowed once, afterwards, too.
    """
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, allowed)


def turn_new_clients_away(sock: socket.socket) -> None:
    """Have the system take new clients of a listening socket to another one that overlaps it, or refuse
    them; those that wait in its queue stay.

    It cannot be undone. Where the system does not know of it, nothing changes.
    """
    # The socket does not listen on any interface that there is. Connections that have begun do not mind.
    if sys.platform == "linux" and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_IFINDEX, _NO_INTERFACE)


def _bind(sock: socket.socket, target: Any, options: SocketOptions, beside: bool) -> None:
    sock.setblocking(False)
    if beside:
        allow_beside(sock, True)
    if sock.family == socket.AF_UNIX:
        _remove_stale(target)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        # 0.0.0.0 and [::] on one port are two listeners of their own, whatever the system's default.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    options.prepare_listener(sock)
    sock.bind(target)


def _remove_stale(path: str) -> None:
    """Unlink a socket file whose listener is gone; ``bind`` refuses that of an active one.

    :raises FileExistsError: something else is there.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if _is_stale(path):
            os.unlink(path)


def _is_stale(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def unlink_own(path: str, inode: tuple[int, int] | None) -> None:
    """Remove the socket file unless another process has put its own in that place.

    :raises OSError: it may not be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if inode == inode_of(path):
            os.unlink(path)


def inode_of(path: str) -> tuple[int, int]:
    """Give what identifies a file, even if another takes its place."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
