"""What is made of the kernel's measurements: whose time is whose."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from OpenSSL import SSL

from tcpbalance.net.tcp_info import (
    NOTICEABLE,
    NOTICEABLE_BY_OUR_CLOCK,
    NOTICEABLE_HANDSHAKE,
    ConnectTime,
    connect_time,
)

RTT = 0.002
"""Seconds of the round trip that the kernel has measured."""


class Connection(SSL.Connection):
    """A connection of OpenSSL that has agreed on a version."""

    version = SSL.TLS1_3_VERSION

    def __init__(self) -> None:
        """Ask OpenSSL for nothing."""

    def get_protocol_version(self) -> int:
        return self.version


class OlderConnection(Connection):
    version = SSL.TLS1_2_VERSION


def sock(*, retransmits: int = 0, since_received: float = 0.0) -> Any:
    """A socket whose kernel says this."""
    numbers = [0] * 24
    numbers[11], numbers[15], numbers[23] = int(since_received * 1e3), int(RTT * 1e6), retransmits
    info = struct.pack("=8x24I", *numbers)
    return SimpleNamespace(getsockopt=lambda *_: info)


def test_of_tcp_it_is_the_round_trip() -> None:
    assert connect_time(sock(), 0.3) == ConnectTime(RTT, NOTICEABLE)


def test_what_had_to_be_sent_again_took_as_long_as_it_took() -> None:
    assert connect_time(sock(retransmits=1), 1.03) == ConnectTime(1.03, NOTICEABLE)


def test_a_handshake_ends_when_its_last_part_has_arrived() -> None:
    took = connect_time(sock(since_received=0.4), 0.3, 0.45, Connection())
    assert took is not None
    assert took.seconds == pytest.approx(RTT + 0.05)
    assert took.noticeable == NOTICEABLE_HANDSHAKE


def test_no_handshake_takes_less_than_nothing() -> None:
    took = connect_time(sock(since_received=0.4), 0.3, 0.1, Connection())
    assert took is not None
    assert took.seconds == pytest.approx(RTT)


def test_of_an_older_handshake_only_our_clock_tells() -> None:
    took = connect_time(sock(since_received=0.4), 0.3, 0.45, OlderConnection())
    assert took is not None
    assert took.seconds == pytest.approx(RTT + 0.45)
    assert took.noticeable == NOTICEABLE_BY_OUR_CLOCK


def test_elsewhere_only_our_clock_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "freebsd14")
    assert connect_time(sock(), 0.3) == ConnectTime(0.3, NOTICEABLE_BY_OUR_CLOCK)
