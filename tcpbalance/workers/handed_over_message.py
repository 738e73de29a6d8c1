"""How a connection is written that goes to another worker: a line of JSON, and the bytes behind it."""

from __future__ import annotations

import json
import os
from socket import AF_INET, AF_INET6, AF_UNIX, SocketType

from tcpbalance.errors import TcpbalanceError
from tcpbalance.net.addresses import peer_address, socket_address
from tcpbalance.proxy.hand_over import HandedOver

MAX_PACKET = 192 * 1024
"""Bytes of a packet: a PROXY header of the greatest length, what one read took with it, and the line."""

_SIZES = {int(AF_INET): 2, int(AF_INET6): 4}
"""How many values an address of a family has, as the socket module calls it."""


class HandedOverMessageError(TcpbalanceError):
    """What has come describes no connection."""


def pack(connection: HandedOver) -> bytes:
    """Write all of a connection but its socket."""
    peer = socket_address(connection.peer)
    if isinstance(peer, bytes):
        peer = os.fsdecode(peer)
    one = connection
    values = (one.frontend, peer, one.born, one.has_header, one.ends_tls, one.came_from)
    line = json.dumps(values).encode()
    return b"%b\n%b" % (line, connection.received)


def unpack(packet: bytes, sock: SocketType) -> HandedOver:
    """Read what was written.

    :param sock: came with it.
    :raises HandedOverMessageError: it is none.
    """
    line, separator, received = packet.partition(b"\n")
    try:
        # What has no line, or another number of values, is refused as what is no JSON.
        frontend, peer, born, *how = json.loads(line.decode() if separator else "")
        has_header, ends_tls, came_from = how
    except (ValueError, TypeError, RecursionError):
        frontend = peer = born = has_header = ends_tls = came_from = None
    family = sock.family
    is_one = isinstance(frontend, str) and isinstance(born, float) and _is_address(family, peer)
    if not (is_one and _is_how(has_header, ends_tls, came_from)):
        raise HandedOverMessageError(f"describes no connection: {line[:60]!r}")
    return HandedOver(
        frontend, peer_address(family, peer), born, received, sock, has_header, ends_tls, came_from
    )


def _is_how(has_header: object, ends_tls: object, came_from: object) -> bool:
    if not (isinstance(has_header, bool) and isinstance(ends_tls, bool)):
        return False
    return came_from is None or (isinstance(came_from, int) and came_from >= 0)


def _is_address(family: int, peer: object) -> bool:
    """Whether something is a peer's address as the socket module calls it, but that a list has its values."""
    if isinstance(peer, list):
        return len(peer) == _SIZES.get(family) and isinstance(peer[0], str)
    return family == AF_UNIX and (peer is None or isinstance(peer, str))
