"""Recognizes a connection that a socket has made to itself.

Where no program listens on a port, and the kernel happens to choose just that one for our end, both ends are
the same socket: each side opens at the same time, which TCP allows (RFC 9293 section 3.5). What we send would
come back as if a backend had answered, and its port would stay taken.
"""

from __future__ import annotations

import functools
from pathlib import Path
from socket import SocketType

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


def is_self_connected(sock: SocketType, port: int) -> bool:
    """Whether both ends of a connection are this one socket.

    :param port: the peer's, so that the usual answer costs one question to the kernel.
    :raises OSError: it is connected no more.
    """
    ours = sock.getsockname()
    return bool(ours[1] == port and ours == sock.getpeername())
