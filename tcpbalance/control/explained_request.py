"""What would become of a request, for the answer about it. Only processes that read requests need this."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tcpbalance.control.allowances import shown_allowance
from tcpbalance.control.asked_request import AskedRequest
from tcpbalance.http.context import HttpContext
from tcpbalance.http.explanation import ExplainedRequest, explain_request
from tcpbalance.http.reported import UNKNOWN
from tcpbalance.http.request_limits import RequestAnswer
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.backend import Backend
from tcpbalance.wire.http.forwarded import ForwardedClient


def explained(
    context: HttpContext, request: AskedRequest, client: ClientAddress, ports: Collection[int]
) -> ExplainedRequest:
    """Explain what would become of a request on a connection that is accepted.

    :param client: whose connection it is.
    :param ports: where the frontend listens.
    """
    is_secure = context.preread is not None and context.preread.tls is not None
    port = request.port if request.port in ports or not ports else next(iter(ports))
    peer = ForwardedClient(
        b"https" if is_secure else b"http", port or 0, (getattr(client.twisted, "host", UNKNOWN),)
    )
    return explain_request(context, request.data, peer, client.packed)


def shown(found: ExplainedRequest, first: Backend | None) -> dict[str, Any]:
    """Show what would become of a request.

    :param first: the backend that would be tried first; None where none would be.
    """
    shares = None if found.route is None else found.route.pools
    is_sent = first is not None and found.reason is None
    return {
        "status": found.status or None,
        "cause": found.cause or None,
        "meaning": None if found.reason is None else found.reason.meaning,
        "location": found.location,
        "client": None if found.client is None else found.client.address,
        "limits": None if found.limits is None else _shown_limits(found.limits),
        "mirror": found.mirror.name if is_sent and found.mirror is not None else None,
        "shares": None if shares is None else {pool.name: weight for pool, weight in shares.weights.items()},
        "sent": found.lines_for(first) if is_sent and first is not None else None,
    }


def _shown_limits(limits: RequestAnswer) -> dict[str, Any]:
    refusal, would_refuse = limits.refusal, limits.would_refuse
    return {
        "refused": None if refusal is None else refusal.word,
        "would_refuse": None if would_refuse is None else would_refuse.word,
        "under_way": shown_allowance(limits.under_way),
        "rate": shown_allowance(limits.rate),
        "next_in": round(limits.next_in, 3),
    }
