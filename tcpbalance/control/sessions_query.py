"""Which of the open sessions are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from attrs import field, frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Network
from tcpbalance.config.messages import choices, unknown_key, value_text
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.session_id import SessionId
from tcpbalance.errors import SettingError
from tcpbalance.proxy.facts import SessionFacts

DEFAULT_LIMIT = 100

MAX_LIMIT = 1000
"""Entries of one page."""

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

T = TypeVar("T")


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
    :ivar selects: whether not all sessions are asked for.
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
    selects: bool = field(init=False)

    @selects.default
    def _whether_not_all_are_asked_for(self) -> bool:
        names = (self.client, self.frontend, self.pool, self.backend)
        least = (self.min_age, self.min_idle, self.min_bytes)
        return any(name is not None for name in names) or any(least)

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
        client=read_parameter(query, "client", _networks, None),
        frontend=query.get("frontend"),
        pool=query.get("pool"),
        backend=query.get("backend"),
        min_age=read_parameter(query, "min_age", _duration, 0.0),
        min_idle=read_parameter(query, "min_idle", _duration, 0.0),
        min_bytes=read_parameter(query, "min_bytes", _size, 0),
        limit=read_parameter(query, "limit", read_limit, DEFAULT_LIMIT),
        after=read_parameter(query, "after", _after, None),
        parameters=query,
    )


def check_parameters(query: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse parameters that are not known.

    :raises ApiError: there is one.
    """
    for name in query:
        if name not in known:
            raise ApiError(400, "unknown_parameter", f"{name[:60]}: {unknown_key(name, known)}")


def read_parameter(query: Mapping[str, str], name: str, read: Callable[[str], T], otherwise: T) -> T:
    """Read one parameter.

    :param read: raises SettingError where the value makes no sense.
    :param otherwise: the value where there is none.
    :raises ApiError: it makes no sense.
    """
    try:
        return read(query[name]) if name in query else otherwise
    except SettingError as error:
        raise ApiError(400, "bad_parameter", f"{name} {error}") from error


def read_limit(text: str) -> int:
    """Read how many entries a page may have.

    :raises SettingError: it is no number from 1 to ``MAX_LIMIT``.
    """
    limit = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 0 < limit <= MAX_LIMIT:
        raise SettingError(f"must be a whole number from 1 to {MAX_LIMIT}, got {value_text(text)}")
    return limit


def _number(text: str) -> str | float | int:
    """Give a bare number as one: a query has only text."""
    if text.isdecimal() and len(text) < 20:
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _duration(text: str) -> float:
    return Duration.parse(_number(text))


def _size(text: str) -> int:
    return Size.parse(_number(text))


def _networks(text: str) -> NetworkSet:
    return NetworkSet([Network.parse(text).network])


def _after(text: str) -> SessionId:
    found = SessionId.parse(text)
    if found is None:
        raise SettingError(f"must be the id of a session, as {choices(['next'])} gives it")
    return found
