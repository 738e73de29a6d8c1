"""Which of the open sessions are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.messages import choices
from tcpbalance.control.parameters import (
    DEFAULT_LIMIT,
    check_parameters,
    read_duration,
    read_limit,
    read_networks,
    read_parameter,
    read_size,
)
from tcpbalance.control.session_id import SessionId
from tcpbalance.errors import SettingError
from tcpbalance.proxy.facts import SessionFacts

MAX_SESSIONS = 5000
"""Of one answer: each takes some 350 bytes until the client has read it."""

_PARAMETERS = (
    "client",
    "frontend",
    "pool",
    "backend",
    "min_age",
    "min_idle",
    "min_bytes",
    "limit",
    "after",
)


@frozen(kw_only=True)
class SessionsQuery:
    """All that is given must be so of a session; with nothing given, all sessions are asked for.

    :param client: networks that its client is in.
    :param frontend: the name of its frontend.
    :param pool: the name of its pool.
    :param backend: the name of the backend that it is connected to.
    :param min_age: seconds since it began, at least.
    :param min_idle: seconds since its last byte, at least.
    :param min_bytes: that it has carried, both ways together, at least.
    :param limit: how many are given at most.
    :param after: the last one of the page before; None for the first page.
    :param parameters: that say all this.
    """

    client: NetworkSet | None = None
    frontend: str | None = None
    pool: str | None = None
    backend: str | None = None
    min_age: float = 0.0
    min_idle: float = 0.0
    min_bytes: int = 0
    limit: int = DEFAULT_LIMIT
    after: SessionId | None = None
    parameters: Mapping[str, str] = field(factory=dict)

    def matches(self, facts: SessionFacts) -> bool:
        """Whether a session is one of those that are asked for."""
        return (
            self.min_age <= facts.age
            and self.min_idle <= facts.idle
            and self.min_bytes <= facts.client_bytes + facts.backend_bytes
            and self.frontend in (None, facts.frontend)
            and self.pool in (None, facts.pool)
            and self.backend in (None, facts.backend)
            and (self.client is None or facts.client.packed in self.client)
        )


def read_sessions_query(query: Mapping[str, str]) -> SessionsQuery:
    """Read the parameters of a request.

    :raises ApiError: one is not known, or makes no sense.
    """
    check_parameters(query, _PARAMETERS)
    return SessionsQuery(
        client=read_parameter(query, "client", read_networks, None),
        frontend=query.get("frontend"),
        pool=query.get("pool"),
        backend=query.get("backend"),
        min_age=read_parameter(query, "min_age", read_duration, 0.0),
        min_idle=read_parameter(query, "min_idle", read_duration, 0.0),
        min_bytes=read_parameter(query, "min_bytes", read_size, 0),
        limit=read_parameter(query, "limit", _limit, DEFAULT_LIMIT),
        after=read_parameter(query, "after", _after, None),
        parameters=query,
    )


def _limit(text: str) -> int:
    return read_limit(text, MAX_SESSIONS)


def _after(text: str) -> SessionId:
    found = SessionId.parse(text)
    if found is None:
        raise SettingError(f"must be the id of a session, as {choices(['next'])} gives it")
    return found
