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
    line = json.dumps((connection.frontend, peer, connection.born)).encode()
    return b"%b\n%b" % (line, connection.received)


def unpack(packet: bytes, sock: SocketType) -> HandedOver:
    """Read what was written.

    :param sock: came with it.
    :raises HandedOverMessageError: it is none.
    """
    line, separator, received = packet.partition(b"\n")
    try:
        # What has no line, or another number of values, is refused as what is no JSON.
        frontend, peer, born = json.loads(line.decode() if separator else "")
    except (ValueError, TypeError, RecursionError):
        frontend = peer = born = None
    family = sock.family
    if not (isinstance(frontend, str) and isinstance(born, float) and _is_address(family, peer)):
        raise HandedOverMessageError(f"describes no connection: {line[:60]!r}")
    return HandedOver(frontend, peer_address(family, peer), born, received, sock)


def _is_address(family: int, peer: object) -> bool:
    """Whether something is a peer's address as the socket module calls it, but that a list has its values."""
    if isinstance(peer, list):
        return len(peer) == _SIZES.get(family) and isinstance(peer[0], str)
    return family == AF_UNIX and (peer is None or isinstance(peer, str))
