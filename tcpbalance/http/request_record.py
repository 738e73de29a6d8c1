"""What is recorded of a request that is over."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tcpbalance.http.exchange import Exchange
from tcpbalance.http.record import RequestRecord, bounded
from tcpbalance.proxy.preread import Preread

_find_origin = re.compile(rb"\n(?=[RUru])(?i:(referer)|user-agent):[ \t]*+([^\r]*+)").findall


def request_record(exchange: Exchange, client: str, preread: Preread | None) -> RequestRecord:
    """Give the record of a request that is over.

    :param client: the address of its client.
    :param preread: what the client has sent first; None where nothing was asked for.
    """
    context, head, opening, served_by = exchange.context, exchange.head, exchange.opening, exchange.served_by
    dialler = exchange.dialler or opening
    assert exchange.reason is not None
    total = context.clock() - exchange.began
    # The usual case: a connection was there.
    attempts, wait = 1, exchange.sent_after
    connect: float | None = None
    failures: Sequence[tuple[str, str]] = ()
    if dialler is not None:
        attempts, failures = dialler.dial.attempts, dialler.failures
        connect = None if exchange.reused else dialler.connect_time
        wait = total if dialler.connect_time is None else dialler.began - exchange.began
    elif served_by is None:
        attempts, wait = 0, total
    referer, user_agent = (None, None) if head is None else origin(head.rest)
    report = exchange.client
    proxy = None if preread is None or preread.proxy is None else str(preread.proxy)
    if report is not None and report.trusted and len(report.hops) > 1:
        # Another proxy in front says which client it is; no port is known of that.
        client, proxy = report.address, client
    authority = None if exchange.target is None else exchange.target.authority
    return RequestRecord(
        exchange.started,
        client,
        context.name,
        None if served_by is None else served_by.name,
        attempts,
        wait,
        connect,
        total,
        exchange.client_bytes,
        exchange.backend_bytes,
        exchange.reason,
        exchange.cause,
        proxy,
        None if preread is None else preread.server_name,
        exchange.unique_id,
        None if preread is None else preread.tls,
        failures,
        "" if head is None else head.method.decode("latin-1"),
        None if authority is None else bounded(authority.shown),
        "" if head is None else bounded(head.target.decode("latin-1")),
        "" if head is None else head.version.decode("latin-1"),
        exchange.status,
        None if exchange.route is None else exchange.route.name,
        None if report is None else exchange.pool.name,
        None if exchange.request_id is None else bounded(exchange.request_id.decode("latin-1")),
        exchange.head_time,
        exchange.first_byte,
        exchange.request_size,
        exchange.response_size,
        exchange.reused,
        referer,
        user_agent,
        None if opening is None or opening.user is None else opening.user.decode("utf-8", "replace"),
    )


def origin(lines: bytes) -> tuple[str | None, str | None]:
    """Give the values of Referer and User-Agent, of several the first; None for one that is not there.

    They are looked for by one expression: to take the lines of a browser's head to pieces costs more than to
    serve it.
    """
    referer: str | None = None
    user_agent: str | None = None
    for is_referer, value in _find_origin(lines):
        text = bounded(value.rstrip(b" \t").decode("latin-1"))
        if is_referer:
            referer = text if referer is None else referer
        else:
            user_agent = text if user_agent is None else user_agent
    return referer, user_agent
