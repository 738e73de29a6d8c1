"""Bytes of open sessions, which the counters of frontends and backends get only when a session ends.

A report has both together, so that a long transfer shows while it goes on. Such a sum never goes down: what
is counted and which sessions are open is found out in one turn; their bytes are read in later ones, of what
has carried them then, even where that has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence

from tcpbalance.pool.backend import Backend
from tcpbalance.proxy.registry import BytesCarrier, OpenSession, SessionRegistry

SESSIONS_AT_ONCE = 50
"""Sessions that are looked at while others wait: some 20 microseconds."""

ByBackend = Mapping[Backend, Sequence[OpenSession]]


def by_backend(
    registries: Iterable[SessionRegistry], backends: Collection[Backend]
) -> Generator[None, None, ByBackend]:
    """Give the sessions that have one of these backends, in pieces."""
    found: dict[Backend, list[OpenSession]] = {}
    for registry in list(registries):
        for count, session in enumerate(list(registry.sessions), start=1):
            backend = session.served_by
            if backend is not None and backend in backends:
                found.setdefault(backend, []).append(session)
            if count % SESSIONS_AT_ONCE == 0:
                yield
    return found


def of_backend(backend: Backend, sessions: ByBackend) -> list[BytesCarrier]:
    """Give what a backend has answered, so that it stays with it, and is not over."""
    its = sessions.get(backend, ())
    return [each.carrier for each in its if not each.over and each.served_by is backend and each.carried[1]]


def add_open(counters: dict[str, int], carriers: Iterable[BytesCarrier]) -> Generator[None, None, None]:
    """Add the bytes of sessions and requests to counters, in pieces.

    :param counters: made in the turn in which this begins, without these bytes.
    """
    for count, carrier in enumerate(carriers, start=1):
        from_client, from_backend = carrier.carried
        counters["bytes_in"] += from_client
        counters["bytes_out"] += from_backend
        if count % SESSIONS_AT_ONCE == 0:
            yield
