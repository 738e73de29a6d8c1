"""The client behind proxies, and what a backend gets of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.wire.http.forwarded import (
    MAX_HOPS,
    ForwardedClient,
    ForwardedWriter,
    read_forwarded,
    through_forwarded,
    through_x_forwarded,
)
from tcpbalance.wire.http.grammar import last_members

PEER = ForwardedClient(b"http", 80, ("10.0.0.1",))


def trusted(address: bytes) -> bool:
    return address[0] == 10


@pytest.mark.parametrize(
    ("values", "hops"),
    [
        ([], ("10.0.0.1",)),
        ([b""], ("10.0.0.1",)),
        ([b"192.0.2.1"], ("192.0.2.1", "10.0.0.1")),
        ([b"198.51.100.9, 192.0.2.1"], ("192.0.2.1", "10.0.0.1")),
        ([b"198.51.100.9", b"192.0.2.1,10.0.0.2"], ("192.0.2.1", "10.0.0.2", "10.0.0.1")),
        ([b"10.0.0.3, 10.0.0.2"], ("10.0.0.3", "10.0.0.2", "10.0.0.1")),
        ([b"192.0.2.1, unknown"], ("10.0.0.1",)),
        ([b"192.0.2.1, unknown, 10.0.0.2"], ("10.0.0.2", "10.0.0.1")),
        ([b"192.0.2.1:4711"], ("192.0.2.1", "10.0.0.1")),
        ([b"[2001:DB8::1]:4711"], ("2001:db8::1", "10.0.0.1")),
        ([b"2001:db8::1"], ("2001:db8::1", "10.0.0.1")),
        ([b"::ffff:192.0.2.1"], ("192.0.2.1", "10.0.0.1")),
        ([b"fe80::1%eth0"], ("10.0.0.1",)),
        ([b"192.0.2.256"], ("10.0.0.1",)),
        ([b"192.0.2.1 evil"], ("10.0.0.1",)),
    ],
)
def test_x_forwarded_for(values: list[bytes], hops: tuple[str, ...]) -> None:
    found = through_x_forwarded({b"x-forwarded-for": values} if values else {}, PEER, trusted)
    assert (found.hops, found.address, found.trusted) == (hops, hops[0], True)


def test_hops_are_bounded() -> None:
    chain = b", ".join([b"192.0.2.1", *[b"10.0.0.2"] * 100])
    assert through_x_forwarded({b"x-forwarded-for": [chain]}, PEER, trusted).hops == (
        "10.0.0.2",
    ) * MAX_HOPS + ("10.0.0.1",)


def test_of_a_long_list_the_last_members_count() -> None:
    assert last_members([b",".join(b"%d" % number for number in range(150))]) == [
        b"%d" % n for n in range(50, 150)
    ]


def test_elements_are_bounded() -> None:
    special = {b"forwarded": [b", ".join([b"for=192.0.2.1"] * 500)]}
    assert through_forwarded(special, PEER, trusted).hops == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("chain", "proto", "host", "port", "expected"),
    [
        (b"192.0.2.1", b"https", b"a.example", b"8443", (b"https", b"a.example", 8443)),
        (b"192.0.2.1", b"HTTPS", b"[::1]:80", b"x", (b"https", b"[::1]:80", 80)),
        (b"192.0.2.1, 10.0.0.2", b"https, http", b"a", b"443,80", (b"https", b"a", 443)),
        (b"198.51.100.9, 192.0.2.1", b"https, http", b"x, a", b"1, 2", (b"http", b"a", 2)),
        (b"192.0.2.1, 10.0.0.2", b"a, b, https", b"a b", b"0", (b"https", b"", 80)),
        (b"", b"https", b"", b"", (b"https", b"", 80)),
        (b"192.0.2.1", b"gopher", b"", b"65535", (b"http", b"", 65535)),
        (b"192.0.2.1", b"http", b"", b"65536", (b"http", b"", 80)),
        (b"192.0.2.1", b"http", b"", b"99999", (b"http", b"", 80)),
    ],
)
def test_the_rest_of_the_family(
    chain: bytes, proto: bytes, host: bytes, port: bytes, expected: tuple[bytes, bytes, int]
) -> None:
    special = {
        b"x-forwarded-for": [chain],
        b"x-forwarded-proto": [proto],
        b"x-forwarded-host": [host],
        b"x-forwarded-port": [port],
    }
    found = through_x_forwarded(special, PEER, trusted)
    assert (found.scheme, found.host, found.port) == expected


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        (b"", []),
        (b"for=192.0.2.43", [{b"for": b"192.0.2.43"}]),
        (b'For="[2001:db8:cafe::17]:4711"', [{b"for": b"[2001:db8:cafe::17]:4711"}]),
        (
            b"for=192.0.2.60;proto=http;by=203.0.113.43",
            [{b"for": b"192.0.2.60", b"proto": b"http", b"by": b"203.0.113.43"}],
        ),
        (b"for=a, for=b", [{b"for": b"a"}, {b"for": b"b"}]),
        (b"for=a,,\t for=b ,", [{b"for": b"a"}, {b"for": b"b"}]),
        (b'host="a,b;c\\"d"', [{b"host": b'a,b;c"d'}]),
        (b"for", []),
        (b"for=a b", []),
        (b'for="a', []),
        (b"for=a;,for=b", []),
        (b"for=a, =b", []),
    ],
)
def test_forwarded_is_read(text: bytes, elements: list[dict[bytes, bytes]]) -> None:
    assert read_forwarded(text) == elements


def test_the_client_behind_forwarded() -> None:
    element = b'for="[2001:db8::1]:4711";proto=https;host="a.example:8443"'
    text = b"for=198.51.100.9, " + element + b", for=10.0.0.2;proto=http"
    found = through_forwarded({b"forwarded": [text]}, PEER, trusted)
    assert (found.hops, found.scheme, found.host) == (
        ("2001:db8::1", "10.0.0.2", "10.0.0.1"),
        b"https",
        b"a.example:8443",
    )
    assert through_forwarded({b"forwarded": [b"for=_hidden"]}, PEER, trusted).hops == ("10.0.0.1",)
    assert through_forwarded({}, PEER, trusted).hops == ("10.0.0.1",)


def test_each_family_is_read_alone() -> None:
    special = {b"forwarded": [b"for=192.0.2.1"], b"x-forwarded-for": [b"192.0.2.2"]}
    assert through_forwarded(special, PEER, trusted).address == "192.0.2.1"
    assert through_x_forwarded(special, PEER, trusted).address == "192.0.2.2"


def test_what_is_written() -> None:
    client = ForwardedClient(b"https", 443, ("2001:db8::1", "10.0.0.1"))
    writer = ForwardedWriter(("x-forwarded", "forwarded", "x-real-ip", "via"))
    assert writer.lines(client, b"a.example", b"1.0").split(b"\r\n") == [
        b"X-Forwarded-For: 2001:db8::1, 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Port: 443",
        b"X-Forwarded-Host: a.example",
        b'Forwarded: for="[2001:db8::1]";proto=https;host="a.example", for=10.0.0.1',
        b"X-Real-IP: 2001:db8::1",
        b"Via: 1.0 tcpbalance",
        b"",
    ]
    assert ForwardedWriter(()).lines(client, b"a", b"1.1") == b""
    assert b"Host" not in ForwardedWriter().lines(client, b"", b"1.0")


ADDRESSES = st.ip_addresses().filter(lambda address: not getattr(address, "ipv4_mapped", None)).map(str)


@given(st.lists(ADDRESSES, min_size=1, max_size=4).map(tuple), st.sampled_from([b"http", b"https"]))
def test_what_is_written_is_read_back(hops: tuple[str, ...], scheme: bytes) -> None:
    client = ForwardedClient(scheme, 80, hops)
    lines = (
        ForwardedWriter(("x-forwarded", "forwarded"))
        .lines(client, b"a.example:1", b"1.1")
        .split(b"\r\n")[:-1]
    )
    special = {name.lower(): [value] for name, _, value in (line.partition(b": ") for line in lines)}
    for through in (through_x_forwarded, through_forwarded):
        found = through(special, PEER, lambda _: True)
        assert (found.hops, found.scheme, found.host) == ((*hops, "10.0.0.1"), scheme, b"a.example:1")


@given(st.binary(max_size=60))
def test_any_bytes(text: bytes) -> None:
    special = {b"forwarded": [text], b"x-forwarded-for": [text], b"x-forwarded-host": [text]}
    for through in (through_x_forwarded, through_forwarded):
        assert through(special, PEER, trusted).hops[-1] == "10.0.0.1"
