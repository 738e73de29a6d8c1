"""What would become of a client's next connection, or of a request on it, asked of what decides about them,
with nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen

from tcpbalance.control.allowances import shown_allowance
from tcpbalance.control.asked_request import AskedRequest
from tcpbalance.control.explain_query import ExplainQuery
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.explanation import Why, asked
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.dial import Dial, GiveUp, Try
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.facts import QUEUED
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import FULL

CONNECTS = "connects"
"""A backend is tried."""

REQUESTS = "requests"
"""The client is served, and the pool is chosen for each request."""

TUNNELS = "tunnels"
"""The client gets a tunnel to what it names, if its password is right."""

WAITS_FOR_ACCEPT = "waits"
"""The client waits until it is accepted."""

Reasons: TypeAlias = Sequence[tuple[Backend, Why]]
"""Backends, and why each of them is where it is."""


@frozen
class _Found:
    """What is found out about a connection, or a request, before its pool is asked.

    :param route: the name of its route; None without one.
    :param pool: that serves it; None for none.
    :param client: the packed address by which a backend is chosen; None for none.
    :param reason: why a request is answered here; None where it is not.
    :param is_tunnel: whether a request gets a tunnel.
    :param is_drawn: whether the pool is drawn for each request.
    :param shown: shows the request, by the backend that is tried first; None for a connection.
    """

    route: str | None
    pool: Pool | None
    client: bytes | None
    reason: EndReason | None = None
    is_tunnel: bool = False
    is_drawn: bool = False
    shown: Callable[[Backend | None], dict[str, Any]] | None = None

    def outcome(self, choice: Mapping[str, Any] | None) -> str:
        """Give the word for what becomes of it.

        :param choice: what the pool would do; None without one.
        """
        if self.is_tunnel:
            return TUNNELS
        if self.reason is not None:
            return self.reason.word
        outcome: str = EndReason.NO_ROUTE.word if choice is None else choice["outcome"]
        return outcome


def explain(
    factory: FrontendFactory, query: ExplainQuery, waits_for: list[str]
) -> Generator[None, None, list[Any]]:
    """Explain what would become of a connection that came now; it is decided in the first piece.

    :param factory: of the frontend.
    :param waits_for: reasons for which it is not accepted at once, beside the limit of connections.
    :returns: the parts of the answer; see `put_together`.
    """
    context, registry, client = factory.context, factory.registry, query.address
    preread = context.preread
    limit = registry.max_sessions
    is_full = limit is not None and registry.count >= limit
    waits_for = sorted({*waits_for, FULL} if is_full else {*waits_for})
    admission = _admission(context, client)
    if query.request is None:
        found = _Found(_route(context, query.server_name), context.pool_for(query.server_name), client.packed)
    else:
        found = _request(factory, query.request, client)
    choice, candidates, skipped = (None, (), ()) if found.pool is None else _choice(found.pool, found)
    if waits_for:
        outcome = WAITS_FOR_ACCEPT
    elif admission is not None and admission["refused"] is not None:
        outcome = EndReason.REFUSED.word
    elif query.request is None and context.reads_requests:
        outcome = REQUESTS
    else:
        outcome = found.outcome(choice)
    answer = {
        "frontend": context.name,
        "client": query.client,
        "server_name": query.server_name,
        "outcome": outcome,
        "waits_for": waits_for,
        "connections": {"open": registry.total, "limit": limit},
        "proxy_header": preread is not None and preread.expects_header(client),
        "any_worker_accepts": client.packed is not None
        and preread is not None
        and preread.hand_over is not None,
        "admission": admission,
        "route": found.route,
        "request": None if found.shown is None else found.shown(candidates[0][0] if candidates else None),
        "pool": choice,
    }
    parts: list[Any] = [answer]
    for part, backends in (("candidates", candidates), ("skipped", skipped)):
        for backend, why in backends:
            parts.append((part, _shown(backend, why)))
            yield
    return parts


def put_together(parts: Sequence[Any]) -> dict[str, Any]:
    """Make the answer of its parts: the first has all of it but the backends of the pool."""
    answer: dict[str, Any] = parts[0]
    for part, backend in parts[1:]:
        answer["pool"][part].append(backend)
    return answer


def _request(factory: FrontendFactory, request: AskedRequest, client: ClientAddress) -> _Found:
    """Find out about a request on a connection of a client."""
    # Only processes that read requests have these modules.
    from tcpbalance.control.explained_request import explained, shown
    from tcpbalance.http.context import HttpContext

    context = factory.context
    assert isinstance(context, HttpContext)
    found = explained(context, request, client, factory.registry.accept_pause.ports)
    return _Found(
        None if found.route is None else found.route.name,
        found.pool,
        found.packed,
        found.reason,
        is_tunnel=found.is_tunnel,
        is_drawn=found.is_drawn,
        shown=partial(shown, found),
    )


def _route(context: SessionContext, server_name: str | None) -> str | None:
    """Give the name or wildcard of the route for a server name; None where there is none."""
    routes = None if context.preread is None else context.preread.routes
    found = None if routes is None else routes.match(server_name)
    return None if found is None else found[0]


def _admission(context: SessionContext, client: ClientAddress) -> dict[str, Any] | None:
    """Say what admission control would do; None where all clients are admitted."""
    if context.admission is None:
        return None
    answer = context.admission.control.ask(client.packed)
    refusal, would_refuse = answer.refusal, answer.would_refuse
    return {
        "refused": None if refusal is None else refusal.word,
        "would_refuse": None if would_refuse is None else would_refuse.word,
        "meaning": None if refusal is None else refusal.meaning,
        "list": answer.decisive_list,
        "banned_for": round(answer.banned_for, 3),
        "connections": shown_allowance(answer.connections),
        "rate": shown_allowance(answer.rate),
        "next_in": round(answer.next_in, 3),
        "refusals": shown_allowance(answer.refusals),
    }


def _choice(its_pool: Pool, found: _Found) -> tuple[dict[str, Any], Reasons, Reasons]:
    """Say what a pool would do.

    :returns: all but the backends; those that would be tried, and the others.
    """
    with asked(its_pool) as (pool, selection):
        choice = selection.explain(found.client)
        shown = {
            "outcome": CONNECTS if choice.candidates else _without_candidates(pool, found.client),
            "name": pool.name,
            "exact": choice.exact and not found.is_drawn,
            "by": choice.by,
            "attempts": 1 + pool.retries,
            "candidates": [],
            "skipped": [],
        }
    return shown, choice.candidates, choice.skipped


def _without_candidates(pool: Pool, client: bytes | None) -> str:
    """Say what a session does for which there is no backend."""
    decision = Dial(pool, client).decide()
    assert not isinstance(decision, Try)
    if isinstance(decision, GiveUp):
        return decision.reason.word
    assert pool.queue is not None
    return QUEUED if pool.queue.has_place_for(client) else EndReason.QUEUE_FULL.word


def _shown(backend: Backend, why: Why) -> dict[str, Any]:
    return {
        "backend": backend.name,
        "address": str(backend.address),
        "why": why.word,
        "meaning": f"{why.meaning}: {backend.cause}" if why is Why.DOWN and backend.cause else why.meaning,
        "backup": backend.backup,
        "weight": backend.weight,
        "connections": backend.load,
        "max_connections": backend.max_connections,
    }
