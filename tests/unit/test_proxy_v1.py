"""PROXY headers of version 1: what is read, what is refused, what is written."""

from __future__ import annotations

import pytest

from support.proxy_headers import DESTINATION, SOURCE, v1_line
from tcpbalance.errors import Fault
from tcpbalance.wire.proxy_protocol import (
    InetAddress,
    ProxyAddress,
    ProxyHeader,
    ProxyHeaderError,
    UnixAddress,
    encode_v1,
    read_header,
)

FULL = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
NOBODY = ProxyHeader(None, None, (), 1)


def v6_line(source: bytes = b"2001:db8::1", destination: bytes = b"2001:db8::2") -> bytes:
    return v1_line(family=b"TCP6", source=source, destination=destination)


def test_a_line_is_read() -> None:
    line = v1_line()
    assert read_header(line + b"GET /") == (ProxyHeader(SOURCE, DESTINATION, (), 1), len(line))


@pytest.mark.parametrize(
    ("written", "host"),
    [
        (b"2001:db8::1", "2001:db8::1"),
        (b"2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        (b"::", "::"),
        (FULL, FULL.decode()),
        (b"::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        (b"::ffff:c000:201", "::ffff:192.0.2.1"),
    ],
)
def test_ipv6_has_the_systems_form(written: bytes, host: str) -> None:
    found = read_header(v6_line(source=written))
    assert found is not None
    assert found[0].source == InetAddress(host, 56324)


@pytest.mark.parametrize("port", [0, 1, 9, 10, 65535])
def test_ports(port: int) -> None:
    found = read_header(v1_line(destination_port=b"%d" % port))
    assert found is not None
    assert found[0].destination == InetAddress("198.51.100.2", port)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN \r\n",
        b"PROXY UNKNOWN any\rthing \n\xff\r\n",
        v1_line(family=b"UNKNOWN"),
        b"PROXY UNKNOWN %s %s 65535 65535\r\n" % (FULL, FULL),
    ],
)
def test_unknown_whatever_follows(line: bytes) -> None:
    assert read_header(line + b"\r\n") == (NOBODY, len(line))


def test_the_longest_line() -> None:
    line = b"PROXY UNKNOWN".ljust(105, b"x") + b"\r\n"
    assert read_header(line) == (NOBODY, 107)
    assert read_header(line[:106]) is None


@pytest.mark.parametrize(
    "data",
    [
        v1_line(start=b"PROXy"),
        v1_line(start=b" PROXY"),
        v1_line(start=b"PROXY "),
        v1_line(start=b"PROXY\t"),
        v1_line(family=b"TCP"),
        v1_line(family=b"TCP5"),
        v1_line(family=b"tcp4"),
        v1_line(family=b"UDP4"),
        v1_line(family=b"TCP6"),
        v1_line(family=b"TCP4 "),
        v1_line(source=b""),
        v1_line(source=b"192.0.2"),
        v1_line(source=b"192.0.2.1.1"),
        v1_line(source=b"192.0.2.01"),
        v1_line(source=b"192.0.2.256"),
        v1_line(source=b"192.0.2.1/32"),
        v1_line(source=b"localhost"),
        v1_line(source=b"192.0.2.1\xb2"),
        v1_line(source=b"2001:db8::1"),
        v1_line(destination=b"2001:db8::1"),
        v1_line(destination=b" 192.0.2.1"),
        v1_line(destination=b"192.0.2.1\t"),
        v1_line(source_port=b""),
        v1_line(source_port=b"0443"),
        v1_line(source_port=b"00"),
        v1_line(source_port=b"+1"),
        v1_line(source_port=b"-1"),
        v1_line(source_port=b"1_0"),
        v1_line(source_port=b"65536"),
        v1_line(destination_port=b"99999"),
        v1_line(destination_port=b"443 "),
        v1_line(destination_port=b"443 1"),
        v1_line(destination_port=b"443\n"),
        v1_line(end=b"\n\r\n"),
        v1_line(end=b"\r\r\n"),
        v1_line(end=b"\n").ljust(107),
        v1_line(end=b"\r").ljust(107),
        v6_line(source=b"2001:db8::1::"),
        v6_line(source=b"2001:db8::1%eth0"),
        v6_line(source=b"[2001:db8::1]"),
        v6_line(source=b"192.0.2.1"),
        v6_line(destination=b"2001:db8:0:0:0:0:0:0:1"),
        b"PROXY UNKNOWN".ljust(106, b"x") + b"\r\n",
        b"PROXY TCP4 \r\n",
    ],
)
def test_a_line_with_one_flaw_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError) as caught:
        read_header(data)
    assert caught.value.fault is Fault.CLIENT
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("data", [b"G", b"PROXYS", b"PROXY  ", b"PROXY TCP4\r", b"PROXY X", b"PROXY UNKNOWM"])
def test_the_first_wrong_byte_is_enough(data: bytes) -> None:
    assert read_header(data[:-1]) is None
    with pytest.raises(ProxyHeaderError):
        read_header(data)


def test_a_line_without_an_end_is_refused_at_its_greatest_length() -> None:
    endless = v1_line(end=b"").ljust(107, b"0")
    assert read_header(endless[:106]) is None
    with pytest.raises(ProxyHeaderError, match="107"):
        read_header(endless)


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (SOURCE, DESTINATION, v1_line()),
        (InetAddress("2001:db8::1", 56324), InetAddress("2001:db8::2", 443), v6_line()),
        (InetAddress("fe80::1%eth0", 56324), InetAddress("fe80::2", 443), v6_line(b"fe80::1", b"fe80::2")),
        (SOURCE, InetAddress("2001:db8::2", 443), v6_line(b"::ffff:192.0.2.1")),
        (InetAddress("2001:db8::1", 56324), DESTINATION, v6_line(destination=b"::ffff:198.51.100.2")),
        (None, None, b"PROXY UNKNOWN\r\n"),
        (SOURCE, None, b"PROXY UNKNOWN\r\n"),
        (UnixAddress(b"/run/a"), DESTINATION, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_what_is_written(source: ProxyAddress | None, destination: ProxyAddress | None, line: bytes) -> None:
    assert encode_v1(source, destination) == line


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        encode_v1(InetAddress("localhost", 1), DESTINATION)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_no_port(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        InetAddress("192.0.2.1", port)
