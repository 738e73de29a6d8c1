"""The client of a request as its backend is to know it: by its connection, or by trusted proxies in front."""

from __future__ import annotations

from os import urandom
from typing import Any

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.http import ForwardedFamily
from tcpbalance.net.addresses import ClientAddress, packed
from tcpbalance.net.transport import Transport
from tcpbalance.proxy.preread import Preread
from tcpbalance.wire.http.forwarded import ForwardedClient, through_forwarded, through_x_forwarded
from tcpbalance.wire.http.head import RequestHead

SEND_REQUEST_ID = "x-request-id"
"""What ``send`` says for backends to get a name of each request."""

MAX_REQUEST_ID = 200
"""Bytes of a name that a proxy in front has given."""

UNKNOWN = "unknown"
"""The address of a client without one, such as that of a unix socket."""


def own_report(client: ClientAddress, transport: Transport, preread: Preread | None) -> ForwardedClient:
    """Give what a connection shows of its client.

    :param client: the one that a PROXY header has named, else the connection's peer.
    """
    header = None if preread is None else preread.header
    host: Any = transport.getHost() if header is None or header.destination is None else header.destination
    is_tls = transport.ends_by_close_notify or (preread is not None and preread.tls is not None)
    if header is not None and header.ssl is not None:
        is_tls = is_tls or header.ssl.client_ssl
    address = getattr(client.twisted, "host", UNKNOWN).partition("%")[0]
    return ForwardedClient(b"https" if is_tls else b"http", getattr(host, "port", 0), (address,))


def reported(
    head: RequestHead, peer: ForwardedClient, trust: NetworkSet, read: ForwardedFamily = "x-forwarded"
) -> ForwardedClient:
    """Give what a trusted proxy in front reports of the client of one request.

    :param peer: what the connection shows, which is that proxy.
    :param trust: proxies whose reports count.
    :param read: which fields they report by; a client may have written the others.
    """
    through = through_forwarded if read == "forwarded" else through_x_forwarded
    return through(head.special, peer, trust.__contains__)


def request_id(head: RequestHead, client: ForwardedClient) -> bytes:
    """Give a request its name: that of a trusted proxy in front, or a new one."""
    return given_request_id(head, client) or urandom(16).hex().encode("ascii")


def given_request_id(head: RequestHead, client: ForwardedClient) -> bytes | None:
    """Give the name that a request has from a trusted proxy in front; None where it has none."""
    values = head.values(b"x-request-id") if client.trusted else []
    return values[0] if len(values) == 1 and 0 < len(values[0]) <= MAX_REQUEST_ID else None


def packed_client(client: ForwardedClient) -> bytes | None:
    """Give the address of a client as lists, limits and affinity know it."""
    return packed(client.address)
