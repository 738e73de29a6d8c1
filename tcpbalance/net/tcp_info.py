"""How long the network and the backend took to connect: measured by the kernel, however late our loop is."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, NamedTuple

from OpenSSL import SSL

NOTICEABLE = 0.001
"""Seconds. A round trip below it is never slow."""

NOTICEABLE_HANDSHAKE = 0.02
"""Seconds, for connections with a TLS handshake: the kernel reports when it got the last data to a tick of
its clock, 10 ms where that is coarsest."""

NOTICEABLE_BY_OUR_CLOCK = 1.0
"""Seconds, where only our own clock is known: a loop that has to accept and dial 1,000 connections at once
is some 0.3 s late."""

_TLS_1_3 = 0x0304

_LINUX = struct.Struct("=8x 24I")
"""The part of ``struct tcp_info`` that each Linux has: include/uapi/linux/tcp.h."""

_SINCE_RECEIVED, _ROUND_TRIP, _RETRANSMITS = 11, 15, 23
"""Where in it are ``tcpi_last_data_recv`` (ms), ``tcpi_rtt`` (us) and ``tcpi_total_retrans``."""


class ConnectTime(NamedTuple):
    """What connecting took.

    :ivar seconds: how long.
    :ivar noticeable: seconds up to which that says nothing about the backend.
    """

    seconds: float
    noticeable: float = NOTICEABLE


def connect_time(
    sock: Any, connecting: float, handshake: float | None = None, connection: Any = None
) -> ConnectTime | None:
    """Compute how long connecting took without the time for which our own loop was late.

    Of TCP it is the round trip of the SYN. That does not show a SYN that was lost, or that the backend's full
    backlog has dropped; where anything was sent again, it is all the time that connecting took, a second at
    least (RFC 6298 section 2.1). Of a TLS handshake it is the time until the last of the backend's part of it
    had arrived. Before TLS 1.3 the backend's part has two pieces, and how long the first one lay in the
    socket is not known: there our own clock has to do.

    :param sock: connected this moment, the handshake completed.
    :param connecting: seconds until the loop heard of the connection.
    :param handshake: seconds from then until the loop heard of the end of the TLS handshake; None: no TLS.
    :param connection: OpenSSL's, where there was a handshake.
    :returns: None for a unix socket, which is connected at once or not at all.
    """
    if sys.platform != "linux":
        return ConnectTime(connecting + (handshake or 0.0), NOTICEABLE_BY_OUR_CLOCK)
    try:
        info = _LINUX.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LINUX.size))
    except OSError:
        return None
    if not info[_RETRANSMITS]:
        connecting = info[_ROUND_TRIP] / 1e6
    if handshake is None:
        return ConnectTime(connecting)
    if not _is_tls_1_3(connection):
        return ConnectTime(connecting + handshake, NOTICEABLE_BY_OUR_CLOCK)
    late = min(handshake, info[_SINCE_RECEIVED] / 1e3)
    return ConnectTime(connecting + handshake - late, NOTICEABLE_HANDSHAKE)


def _is_tls_1_3(connection: Any) -> bool:
    return isinstance(connection, SSL.Connection) and connection.get_protocol_version() >= _TLS_1_3
