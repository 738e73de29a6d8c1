"""What would become of a client's next connection, asked of what decides about it, with nothing changed."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from attrs import field, frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tcpbalance.admission.answer import Allowance
from tcpbalance.config.addresses import Address
from tcpbalance.config.messages import value_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.parameters import check_parameters, read_parameter
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import ClientAddress, packed
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.explanation import Why, asked
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.dial import Dial, GiveUp, Try
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.facts import QUEUED
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import FULL
from tcpbalance.wire.server_names import check_pattern

CONNECTS = "connects"
"""A backend is tried."""

REQUESTS = "requests"
"""The client is served, and the pool is chosen for each request."""

AT_UNIX = "unix"
"""In the place of an address: the client is at a unix socket."""

WAITS_FOR_ACCEPT = "waits"
"""The client waits until it is accepted."""

Reasons: TypeAlias = Sequence[tuple[Backend, Why]]
"""Backends, and why each of them is where it is."""


@frozen(kw_only=True)
class ExplainQuery:
    """Which connection is meant.

    :param frontend: the name of the frontend that it comes to.
    :param client: the address that it comes from, or that a PROXY header names; `AT_UNIX` for none.
    :param server_name: what it asks for by TLS; None for nothing.
    :param parameters: that say all this.
    """

    frontend: str
    client: str
    server_name: str | None
    parameters: Mapping[str, str] = field(factory=dict)

    @property
    def packed(self) -> bytes | None:
        """The client's address, as lists and limits know it; None at a unix socket."""
        return packed(self.client)

    @property
    def address(self) -> ClientAddress:
        """The same as a session has it."""
        if self.client == AT_UNIX:
            return ClientAddress(UNIXAddress(None))
        kind = IPv6Address if ":" in self.client else IPv4Address
        return ClientAddress(kind("TCP", self.client, 0))


def read_explain_query(query: Mapping[str, str]) -> ExplainQuery:
    """Read the parameters of a request.

    :raises ApiError: one is not known, or is missing, or makes no sense.
    """
    check_parameters(query, ("frontend", "client", "server_name"))
    for name in ("frontend", "client"):
        if name not in query:
            raise ApiError(400, "missing_parameter", f"which connection is meant: give {name}")
    return ExplainQuery(
        frontend=query["frontend"],
        client=read_parameter(query, "client", _client, ""),
        server_name=read_parameter(query, "server_name", _server_name, None),
        parameters=query,
    )


def _client(text: str) -> str:
    if text != AT_UNIX and (packed(text) is None or "%" in text):
        raise SettingError(
            f'must be an IP address such as "203.0.113.7", or "{AT_UNIX}", got {value_text(text)}'
        )
    return text


def check_listeners(listen: Iterable[Address], query: ExplainQuery) -> None:
    """See whether such a client can come to a frontend at all.

    :param listen: where it listens.
    :raises ApiError: it cannot.
    """
    at_unix = query.client == AT_UNIX
    if any(address.is_unix is at_unix for address in listen):
        return
    why = (
        "has no unix socket: give the IP address of a client"
        if at_unix
        else f"has unix sockets alone, whose clients have no IP address: give client={AT_UNIX}"
    )
    raise ApiError(400, "no_such_listener", f"frontend {query.frontend} {why}")


def _server_name(text: str) -> str:
    name = check_pattern(text)
    if name.startswith("*"):
        raise SettingError(f"must be one host name, as a client asks for it, got {value_text(text)}")
    return name


def explain(
    factory: FrontendFactory, query: ExplainQuery, waits_for: list[str]
) -> Generator[None, None, list[Any]]:
    """Explain what would become of a connection that came now; it is decided in the first piece.

    :param factory: of the frontend.
    :param waits_for: reasons for which it is not accepted at once, beside the limit of connections.
    :returns: the parts of the answer; see `put_together`.
    """
    context, registry, client = factory.context, factory.registry, query.address
    pool, preread = context.pool_for(query.server_name), context.preread
    limit = registry.max_sessions
    is_full = limit is not None and registry.count >= limit
    waits_for = sorted({*waits_for, FULL} if is_full else {*waits_for})
    admission = _admission(context, client)
    choice, candidates, skipped = (None, (), ()) if pool is None else _choice(pool, client.packed)
    if waits_for:
        outcome = WAITS_FOR_ACCEPT
    elif admission is not None and admission["refused"] is not None:
        outcome = EndReason.REFUSED.word
    elif context.reads_requests:
        outcome = REQUESTS
    else:
        outcome = EndReason.NO_ROUTE.word if choice is None else choice["outcome"]
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
        "route": _route(context, query.server_name),
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
        "connections": _allowance(answer.connections),
        "rate": _allowance(answer.rate),
        "next_in": round(answer.next_in, 3),
        "refusals": _allowance(answer.refusals),
    }


def _allowance(allowance: Allowance | None) -> dict[str, int] | None:
    if allowance is None:
        return None
    return {"used": allowance.used, "limit": allowance.limit, "left": allowance.left}


def _choice(its_pool: Pool, client: bytes | None) -> tuple[dict[str, Any], Reasons, Reasons]:
    """Say what a pool would do.

    :returns: all but the backends; those that would be tried, and the others.
    """
    with asked(its_pool) as (pool, selection):
        choice = selection.explain(client)
        shown = {
            "outcome": CONNECTS if choice.candidates else _without_candidates(pool, client),
            "name": pool.name,
            "exact": choice.exact,
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
