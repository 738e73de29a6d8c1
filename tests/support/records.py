"""A session record from defaults that each test spoils in one place."""

from __future__ import annotations

from typing import Any

import attrs

from tcpbalance.http.record import RequestRecord
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


USUAL_REQUEST = RequestRecord(
    started=1777885953.481,
    client="192.0.2.7:51324",
    frontend="web",
    backend="b",
    attempts=1,
    wait=0.000212,
    connect=None,
    total=0.018042,
    client_bytes=412,
    backend_bytes=18230,
    reason=EndReason.ANSWERED,
    cause="",
    method="GET",
    host="www.example.com",
    target="/shop/item?id=7",
    version="1.1",
    status=200,
    route="shop",
    pool="web",
    request_id="0b9c4f51-3c0f-4c8b-9c8e-7d0d9f7f5a11",
    head=0.000051,
    first_byte=0.017201,
    request_body=0,
    response_body=17980,
    reused=True,
    referer="https://www.example.com/shop",
    user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
)


def request(**changes: Any) -> RequestRecord:
    """Give the usual record of a request with some fields changed."""
    return attrs.evolve(USUAL_REQUEST, **changes)


def record(**changes: Any) -> SessionRecord:
    """Give the usual record with some fields changed."""
    return attrs.evolve(USUAL, **changes)


def tls(**changes: Any) -> TlsFacts:
    """Give what a usual handshake agrees on with some of it changed."""
    return attrs.evolve(HANDSHAKE, **changes)
