"""A connection on its way to another worker: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from support.proxy_headers import INET_ADDRESSES, tlv, v2_header
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.workers.handed_over_message import MAX_PACKET, HandedOverMessageError, pack, unpack

PORTS = st.integers(0, 65535)
PEERS = {
    socket.AF_INET: st.builds(IPv4Address, st.just("TCP"), st.ip_addresses(v=4).map(str), PORTS),
    socket.AF_INET6: st.builds(
        IPv6Address,
        st.just("TCP"),
        st.ip_addresses(v=6).map(str),
        PORTS,
        st.integers(0, 2**20 - 1),
        st.integers(0, 2**32 - 1),
    ),
    socket.AF_UNIX: st.builds(UNIXAddress, st.none() | st.binary(min_size=1, max_size=108)),
}


@pytest.fixture(scope="module", params=list(PEERS), ids=lambda family: family.name)
def sock(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.socket(request.param) as made:
        yield made


HOW = st.tuples(st.booleans(), st.booleans(), st.none() | st.integers(0, 1000))


@given(data=st.data(), name=st.text(), born=st.floats(0, 1e9), received=st.binary())
def test_what_is_written_is_read(
    sock: socket.socket, data: st.DataObject, name: str, born: float, received: bytes
) -> None:
    peer: Any = data.draw(PEERS[socket.AddressFamily(sock.family)])
    how = data.draw(HOW)
    found = unpack(pack(HandedOver(name, peer, born, received, sock, *how)), sock)
    assert (found.frontend, found.peer, found.born, found.received) == (name, peer, born, received)
    assert (found.has_header, found.ends_tls, found.came_from) == how
    assert found.sock is sock


@given(st.binary() | st.text().map(str.encode))
def test_other_bytes_are_refused(sock: socket.socket, packet: bytes) -> None:
    with pytest.raises(HandedOverMessageError, match="describes no connection"):
        unpack(packet, sock)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("[1]"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
)


@given(st.lists(JSON, max_size=7))
def test_a_line_of_other_values_is_refused(sock: socket.socket, values: list[object]) -> None:
    with pytest.raises(HandedOverMessageError):
        unpack(json.dumps(values).encode() + b"\n", sock)


def test_the_longest_header_fits_with_all_that_one_read_took(sock: socket.socket) -> None:
    header = v2_header(tlvs=tlv(0xE0, bytes(65535 - len(INET_ADDRESSES) - 3)))
    assert len(header) == 16 + 65535
    # It may end with the first byte of a read.
    received = header + bytes(64 * 1024 - 1)
    peer = IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 65535, 2**20 - 1, 2**32 - 1)
    assert len(pack(HandedOver("n" * 1000, peer, 1e9, received, sock))) < MAX_PACKET
