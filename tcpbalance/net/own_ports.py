"""Recognizes a connection that a socket has made to itself.

Where no program listens on a port, and the kernel happens to choose just that one for our end, both ends are
the same socket: each side opens at the same time, which TCP allows (RFC 9293 section 3.5). What we send would
come back as if a backend had answered, and its port would stay taken.
"""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from socket import SocketType
from typing import Any

from tcpbalance.net.ends import NO_LINGER

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@functools.cache
def own_ports() -> range:
    """The ports of which the kernel chooses one for our end of a connection, of either family: ip(7).

    Read once. Where the system does not show them, it may be any that needs no privilege.
    """
    try:
        first, last = map(int, _RANGE.read_text().split())
    except (OSError, ValueError):
        return range(1024, 65536)
    return range(first, last + 1)


def has_reached_itself(sock: SocketType, family: int, target: Any, ports: range) -> bool:
    """Whether both ends of a connection are this one socket; then its ``close`` will be a reset.

    :param family: the socket's.
    :param target: what it was connected to.
    :param ports: ``own_ports``: the kernel is asked only where that can be.
    """
    if family == socket.AF_UNIX or target[1] not in ports:
        return False
    try:
        ours = sock.getsockname()
        itself = bool(ours[1] == target[1] and ours == sock.getpeername())
    except OSError:
        return False  # It is broken by now, which its transport will report.
    if itself:
        # Without a reset it would keep the backend's port for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    return itself
