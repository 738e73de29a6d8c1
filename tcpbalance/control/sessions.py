"""The open sessions: in pages, and one by its id.

A page is put together from what each process gives: its first sessions behind the page before, as text that
needs not be looked into any more. A process with many sessions works on it piece by piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import lru_cache
from heapq import heappop, heappush, heappushpop, merge
from itertools import dropwhile
from typing import Any, TypeAlias

from attrs import frozen

from tcpbalance.config.messages import MAX_QUOTED, one_line
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.session_id import SessionId, id_text, key_of
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

SESSIONS_A_PIECE = 20
"""Entries of an answer that are put together while others wait: some 30 microseconds."""

LOOKED_AT_AT_ONCE = 5
"""Sessions that are looked at while others wait: some 10 microseconds, or 50 where they are listed."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def list_sessions(
    registries: Iterable[SessionRegistry], query: SessionsQuery
) -> Generator[None, None, Iterator[ListedSession]]:
    """Give the sessions of this process that a page may have, and at least one more where there are more.

    Thousands of sessions leave nothing behind that the garbage collector examines.

    :param registries: know the sessions.
    :returns: them in order.
    """
    # Another process may have one of the same key, which is before this one or behind it.
    after, size = (-1, query.limit + 1) if query.after is None else (query.after.key, query.limit + 2)
    last_first: list[int] = []
    """A heap of keys, all negative, so that that of the last session comes first."""
    texts: dict[int, str] = {}
    for count, session in enumerate(_all(registries), start=1):
        if count % LOOKED_AT_AT_ONCE == 0:
            yield
        key = key_of(session)
        if key < after or (len(last_first) == size and -key < last_first[0]):
            continue
        facts = session.facts()
        if not query.matches(facts):
            continue
        texts[key] = _facts_text(facts)
        if len(last_first) < size:
            heappush(last_first, -key)
        else:
            del texts[-heappushpop(last_first, -key)]
    # One by one, because sorting thousands in one go would take milliseconds.
    keys: list[int] = []
    while last_first:
        keys.append(-heappop(last_first))
        yield
    keys.reverse()
    return ((key, texts[key]) for key in keys)


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


def _all(registries: Iterable[SessionRegistry]) -> list[OpenSession]:
    """Give those that are open now; while they are kept, no other one has the key of one of them."""
    return [session for registry in registries for session in registry.sessions]


@frozen
class SessionsPage:
    """A part of the open sessions.

    :param limit: how many it has at most.
    :param entries: in order, each with the number of its process between the two; with at least one more
        where there are more.
    """

    limit: int
    entries: Iterator[tuple[int, int, str]]

    @classmethod
    def of(cls, query: SessionsQuery, found: Iterable[tuple[int, Iterable[ListedSession]]]) -> SessionsPage:
        """Put a page together.

        :param found: the number of each process, with its sessions in order.
        """
        after = (-1, 0) if query.after is None else (query.after.key, query.after.worker)
        # In the order of ``SessionId``.
        entries = merge(*(_of_process(number, listed) for number, listed in found))
        return cls(query.limit, dropwhile(lambda entry: entry[:2] <= after, entries))

    def body(self) -> Iterator[bytes]:
        """Give all of it as JSON, in pieces."""
        texts, before = ['{"sessions":['], ""
        last, after = (0, 0), None
        for count, (key, worker, text) in enumerate(self.entries):
            if count == self.limit:
                after = id_text(*last)
                break
            last = key, worker
            texts.append(before + _named(key, worker, text))
            before = ","
            if len(texts) == SESSIONS_A_PIECE:
                yield "".join(texts).encode()
                texts = []
        texts.append(f'],"next":{_encode(after)}}}\n')
        yield "".join(texts).encode()


def _of_process(number: int, listed: Iterable[ListedSession]) -> Iterator[tuple[int, int, str]]:
    for key, text in listed:
        yield key, number, text


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
    return f'{{"id":"{id_text(key, worker)}","worker":{worker},{text[1:]}'


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
