"""The open sessions: in pages, and one by its id.

A page is put together from what each process gives: its first sessions behind the page before, as text that
needs not be looked into any more. A process with many sessions works on it piece by piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import lru_cache
from heapq import heappush, heappushpop
from typing import Any, TypeAlias

from attrs import frozen

from tcpbalance.config.messages import MAX_QUOTED, one_line
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.session_id import SessionId, key_of
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.timestamps import timestamp
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession, SessionRegistry

ListedSession: TypeAlias = tuple[int, str]
"""The key of a session, and its facts as JSON."""

ShownSession: TypeAlias = dict[str, Any]
"""One, as the API shows it."""

ActOnSession = Callable[[Iterable[SessionRegistry], SessionId], Generator[None, None, ShownSession | None]]
"""See ``look_at_session``."""

SESSIONS_A_PIECE = 250
"""Entries that are written out before others are served: half a millisecond's work."""

LOOKED_AT_AT_ONCE = 20
"""Sessions that are looked at while others wait: some 20 microseconds, or 200 with a selection."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def list_sessions(
    registries: Iterable[SessionRegistry], query: SessionsQuery
) -> Generator[None, None, list[ListedSession]]:
    """Give the sessions of this process that a page may have, and at least one more where there are more.

    :param registries: know the sessions.
    """
    # Another process may have one of the same key, which is before this one or behind it.
    after, size = (-1, query.limit + 1) if query.after is None else (query.after.key, query.limit + 2)
    first: list[tuple[int, OpenSession]] = []
    """A heap: the last of those that were found comes first."""
    for count, session in enumerate(_all(registries), start=1):
        if count % LOOKED_AT_AT_ONCE == 0:
            yield
        key = key_of(session)
        if key < after or (query.selects and not query.matches(session.facts())):
            continue
        if len(first) < size:
            heappush(first, (-key, session))
        else:
            heappushpop(first, (-key, session))
    listed: list[ListedSession] = []
    for negative, session in sorted(first, reverse=True):
        listed.append((-negative, _facts_text(session.facts())))
        yield
    return listed


def _find(
    registries: Iterable[SessionRegistry], wanted: SessionId
) -> Generator[None, None, OpenSession | None]:
    for count, session in enumerate(_all(registries), start=1):
        if key_of(session) == wanted.key and not session.over:
            return session
        if count % LOOKED_AT_AT_ONCE == 0:
            yield
    return None


def look_at_session(
    registries: Iterable[SessionRegistry], wanted: SessionId
) -> Generator[None, None, ShownSession | None]:
    """Give what is known of a session of this process; None where it is not there, or is no more."""
    session = yield from _find(registries, wanted)
    return None if session is None else _shown(wanted, session)


def end_session(
    registries: Iterable[SessionRegistry], wanted: SessionId
) -> Generator[None, None, ShownSession | None]:
    """End a session of this process.

    :returns: what it was before; None where it is not there, or is no more.
    """
    session = yield from _find(registries, wanted)
    if session is None:
        return None
    before = _shown(wanted, session)
    session.end(EndReason.ENDED_BY_OPERATOR)
    return before


def _all(registries: Iterable[SessionRegistry]) -> Iterator[OpenSession]:
    for registry in list(registries):
        yield from list(registry.sessions)


@frozen
class SessionsPage:
    """A part of the open sessions.

    :param entries: in order, each with the number of its process between the two.
    :param next: where the next page begins; None where there is none.
    """

    entries: list[tuple[int, int, str]]
    next: SessionId | None

    @classmethod
    def of(cls, query: SessionsQuery, found: Iterable[tuple[int, Iterable[ListedSession]]]) -> SessionsPage:
        """Put a page together.

        :param found: the number of each process, with its sessions.
        """
        after = (-1, 0) if query.after is None else (query.after.key, query.after.worker)
        entries = [(key, worker, text) for worker, listed in found for key, text in listed]
        # In the order of ``SessionId``.
        entries = sorted(entry for entry in entries if entry[:2] > after)
        page = entries[: query.limit]
        return cls(page, SessionId(*page[-1][:2]) if len(entries) > query.limit else None)

    def body(self) -> Iterator[bytes]:
        """Give all of it as JSON, in pieces."""
        yield b'{"sessions":['
        for begin in range(0, len(self.entries), SESSIONS_A_PIECE):
            comma = "," if begin else ""
            some = self.entries[begin : begin + SESSIONS_A_PIECE]
            yield (comma + ",".join(_named(*entry) for entry in some)).encode()
        yield b'],"next":%s}\n' % _encode(self.next and str(self.next)).encode()


def the_session(found: ShownSession | None, wanted: SessionId) -> ShownSession:
    """Give what was found.

    :raises ApiError: nothing was.
    """
    if found is None:
        raise no_such_session(wanted)
    return found


def no_such_session(wanted: object) -> ApiError:
    """Make the error for a session that is not there."""
    text = one_line(str(wanted), MAX_QUOTED)
    return ApiError(404, "no_such_session", f"no open session has the id {text}; it may have ended")


def _named(key: int, worker: int, text: str) -> str:
    return f'{{"id":"{SessionId(key, worker)}","worker":{worker},{text[1:]}'


def _shown(session_id: SessionId, session: OpenSession) -> ShownSession:
    shown: ShownSession = json.loads(_named(session_id.key, session_id.worker, _facts_text(session.facts())))
    return shown


@lru_cache(maxsize=4096)
def _text(value: str | None) -> str:
    """Write a text as JSON; the names of few frontends and backends are in thousands of sessions."""
    return _encode(value)


def _facts_text(facts: SessionFacts) -> str:
    """Write facts as JSON: in half the time of what the library takes, of which there are thousands."""
    tls, proxy = facts.tls, facts.proxy
    version, cipher, subject = (None,) * 3 if tls is None else (tls.version, tls.cipher, tls.subject)
    return (
        f'{{"frontend":{_text(facts.frontend)},"client":{_encode(str(facts.client))},'
        f'"proxy":{"null" if proxy is None else _encode(str(proxy))},'
        f'"pool":{_text(facts.pool)},"backend":{_text(facts.backend)},"state":"{facts.state}",'
        f'"start":"{timestamp(facts.started)}","age":{facts.age:.3f},"idle":{facts.idle:.3f},'
        f'"client_bytes":{facts.client_bytes},"backend_bytes":{facts.backend_bytes},'
        f'"server_name":{_text(facts.server_name)},"tls_version":{_text(version)},'
        f'"tls_cipher":{_text(cipher)},"tls_client":{_text(subject)}}}'
    )
