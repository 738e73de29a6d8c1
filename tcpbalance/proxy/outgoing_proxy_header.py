"""The PROXY header in which a backend gets the address of the client."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any
from uuid import uuid4

from attrs import frozen

from tcpbalance.net.addresses import proxy_address
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread import Preread
from tcpbalance.wire.proxy_protocol import (
    ProxyAddress,
    ProxyHeader,
    ProxyVersion,
    SslFacts,
    Tlv,
    encode_v1,
    encode_v2,
    ssl_tlv,
)
from tcpbalance.wire.tlv import ALPN, AUTHORITY, MAX_UNIQUE_ID, UNIQUE_ID

Ends = tuple[ProxyAddress | None, ProxyAddress | None]
Settings = tuple[ProxyVersion | None, frozenset[int]]


@frozen
class OutgoingProxyHeader:
    """What goes to each backend that a session tries, in front of the client's bytes.

    :param header: as it travels.
    :param unique_id: what the connection is called in it, None where it has no name.
    :param settings: of the pool, by which it was written.
    """

    header: bytes
    unique_id: str | None
    settings: Settings

    def is_for(self, pool: Pool) -> bool:
        """Whether it is still what a pool wants, which may have other settings by now."""
        return self.settings == (pool.send_proxy_protocol, pool.pass_tlvs)


def outgoing_proxy_header(
    pool: Pool, peer: Any, host: Any, preread: Preread | None
) -> OutgoingProxyHeader | None:
    """Write the header that a pool wants, None where it wants none.

    A client that came through a proxy is announced as that proxy announced it; where the proxy spoke for
    itself, it is the client. The name of a connection is made up here, unless one that was received is passed
    on. Where all that is to be passed on does not fit beside what is ours, nothing of it is.

    :param peer: the client's end of its connection, as one of Twisted's addresses.
    :param host: the end that it connected to, likewise.
    :param preread: what is known of a client that had one; else None.
    """
    if pool.send_proxy_protocol is None:
        return None
    settings = (pool.send_proxy_protocol, pool.pass_tlvs)
    received = preread.header if preread is not None else None
    ends = _ends(peer, host, received)
    if pool.send_proxy_protocol == "v1":
        return OutgoingProxyHeader(encode_v1(*ends), None, settings)
    passed = list(_passed(received, pool.pass_tlvs)) if received is not None else []
    own = list(_own(preread))
    try:
        tlvs = [*passed, *(tlv for tlv in own if tlv.type not in {other.type for other in passed})]
        return _named(ends, tlvs, settings)
    except ValueError:
        return _named(ends, own, settings)


def _passed(received: ProxyHeader, types: Container[int]) -> Iterator[Tlv]:
    """What was received and is to be passed on, byte for byte.

    A name of the connection that is longer than any may be would be refused by backends.
    """
    for tlv in received.tlvs:
        if tlv.type in types and (tlv.type != UNIQUE_ID or len(tlv.value) <= MAX_UNIQUE_ID):
            yield tlv


def _named(ends: Ends, tlvs: list[Tlv], settings: Settings) -> OutgoingProxyHeader:
    name = next(tlv.value for tlv in tlvs if tlv.type == UNIQUE_ID)
    return OutgoingProxyHeader(encode_v2(*ends, tlvs), name.decode("ascii", "backslashreplace"), settings)


def _own(preread: Preread | None) -> Iterator[Tlv]:
    """What we know of the connection ourselves."""
    if preread is not None:
        yield from _own_tls(preread.tls)
        if preread.server_name is not None:
            yield Tlv(AUTHORITY, preread.server_name.encode())
    yield Tlv(UNIQUE_ID, uuid4().hex.encode())


def _own_tls(facts: TlsFacts | None) -> Iterator[Tlv]:
    """What the handshake with the client has agreed on."""
    if facts is None:
        return
    if facts.alpn is not None:
        yield Tlv(ALPN, facts.alpn)
    shown = facts.subject is not None
    yield ssl_tlv(
        SslFacts(
            client_ssl=True,
            cert_conn=shown,
            cert_session=shown,
            verify=0 if shown else 1,
            version=facts.version,
            common_name=facts.common_name,
            cipher=facts.cipher,
        )
    )


def _ends(peer: Any, host: Any, received: ProxyHeader | None) -> Ends:
    """The client's end of its connection, and the end that it connected to."""
    if received is not None and received.source is not None:
        return received.source, received.destination
    return proxy_address(peer), proxy_address(host)
