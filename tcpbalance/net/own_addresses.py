"""Which addresses are this machine's."""

from __future__ import annotations

import socket
from contextlib import closing


def is_own(ip: str) -> bool:
    """Decide whether an IP address is one of this machine's, as connections to it would find.

    Nothing is sent: connect(2) of a datagram socket chooses a route and the source address, and on the way to
    an address of the machine that is the address itself. ``bind`` would not show it, because of the setting
    ``ip_nonlocal_bind``: ip(7).

    :param ip: without a zone.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
            sock.connect((ip, 9))
            return bool(sock.getsockname()[0] == ip)
    except OSError:
        return False
