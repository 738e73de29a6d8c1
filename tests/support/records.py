"""A session record from defaults that each test spoils in one place."""

from __future__ import annotations

from typing import Any

import attrs

from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

USUAL = SessionRecord(
    started=1777885953.481,
    client="192.0.2.7:51324",
    frontend="web",
    backend="b",
    attempts=1,
    wait=0.000412,
    connect=0.000388,
    total=1.520042,
    client_bytes=512,
    backend_bytes=18230,
    reason=EndReason.CLIENT_CLOSED,
    cause="",
)


HANDSHAKE = TlsFacts(
    version="TLSv1.3",
    cipher="TLS_AES_128_GCM_SHA256",
    server_name="www.example.com",
    alpn=None,
    subject=None,
    common_name=None,
)


def record(**changes: Any) -> SessionRecord:
    """Give the usual record with some fields changed."""
    return attrs.evolve(USUAL, **changes)


def tls(**changes: Any) -> TlsFacts:
    """Give what a usual handshake agrees on with some of it changed."""
    return attrs.evolve(HANDSHAKE, **changes)
