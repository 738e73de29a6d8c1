"""Finds out whether this machine could send anything to an address at all."""

from __future__ import annotations

import errno
import os
import socket

from tcpbalance.config.addresses import Address
from tcpbalance.net.resolver.targets import numeric_target

_NO_WAY = {
    errno.EAFNOSUPPORT: "this system has no such addresses",
    errno.ENETUNREACH: "this machine has no route to it",
    errno.EHOSTUNREACH: "this machine has no route to it",
    errno.EADDRNOTAVAIL: "this machine has no address from which to connect to it",
}


def why_no_way_to(address: Address) -> str | None:
    """Ask the kernel for a route, by connecting a UDP socket, which sends nothing: udp(7).

    :param address: names are not looked up for this, and unix sockets need no route.
    :returns: why nothing can be sent there, None where it can, or that is not known.
    """
    if address.path is not None or not address.is_numeric:
        return None
    try:
        family, target = numeric_target(str(address.host), int(address.port or 0))
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(target)
    except socket.gaierror:
        return "this machine has no such zone"
    except OSError as error:
        if error.errno is None or error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
            return None
        return _NO_WAY.get(error.errno) or os.strerror(error.errno).lower()
    return None
