"""The open sessions: in pages, and one by its id.

A page is put together from what each process gives: its first sessions behind the page before, as lines that
are only put in order and need not be looked into any more. A process with many sessions works on it piece by
piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any, TypeAlias

from attrs import frozen

from tcpbalance.config.messages import MAX_QUOTED, one_line
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.session_id import ORDER_DIGITS, SessionId, id_text, key_of, order_text
from tcpbalance.control.sessions_query import SessionsQuery
from tcpbalance.control.timestamps import timestamp
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.proxy.facts import SessionFacts
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import OpenSession, SessionRegistry

SessionLine: TypeAlias = bytes
"""A session as JSON, behind its ``order_text``, and a line end."""

ShownSession: TypeAlias = dict[str, Any]
"""One, as the API shows it."""

ActOnSession = Callable[[Iterable[SessionRegistry], SessionId], Generator[None, None, ShownSession | None]]
"""See ``look_at_session``."""

SESSIONS_A_PIECE = 50
"""Entries of an answer that are put together while others wait: some 30 microseconds."""

LINES_A_RUN = 50
"""Lines that are sorted in one go, in some 10 microseconds."""

LOOKED_AT_AT_ONCE = 5
"""Sessions that are looked at while others wait: some 10 microseconds, or 50 where they are listed."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def list_sessions(
    registries: Iterable[SessionRegistry], worker: int, query: SessionsQuery
) -> Generator[None, None, list[SessionLine]]:
    """Give the sessions of this process that a page may have, and one more where there are more.

    Thousands of sessions leave nothing behind that the garbage collector examines.

    :param registries: know the sessions.
    :param worker: the number of this process.
    :returns: them in order.
    """
    after = "" if query.after is None else query.after.order
    first = _FirstLines(query.limit + 1)
    for count, session in enumerate(_all(registries), start=1):
        if count % LOOKED_AT_AT_ONCE == 0:
            yield
        key = key_of(session)
        order = order_text(key, worker)
        if not after < order < first.end:
            continue
        facts = session.facts()
        if query.matches(facts):
            first.add(f"{order}{_json(key, worker, facts)}\n".encode())
    lines = yield from first.in_order()
    return lines


class _FirstLines:
    """The first of lines that come in any order.

    They are kept in runs that are in order, each longer than the next one; two are merged once they are
    of one length. To sort thousands of lines in one go would take milliseconds.

    :ivar end: what comes behind this is not one of the first.
    """

    def __init__(self, size: int) -> None:
        self.end = "g"  # behind all digits
        self._size = size
        self._runs: list[list[SessionLine]] = []
        self._new: list[SessionLine] = []

    def add(self, line: SessionLine) -> None:
        """Take in one more."""
        self._new.append(line)
        if len(self._new) == LINES_A_RUN:
            self._end_run()
            while len(self._runs) > 1 and len(self._runs[-1]) >= len(self._runs[-2]):
                self._merge_two()

    def _end_run(self) -> None:
        self._new.sort()
        self._runs.append(self._new)
        self._new = []

    def _merge_two(self) -> None:
        # Sorting takes two runs as what they are.
        merged = sorted(self._runs.pop() + self._runs.pop())[: self._size]
        self._runs.append(merged)
        if len(merged) == self._size:
            self.end = min(self.end, merged[-1][:ORDER_DIGITS].decode())

    def in_order(self) -> Generator[None, None, list[SessionLine]]:
        """Give them, at the end."""
        self._end_run()
        while len(self._runs) > 1:
            self._merge_two()
            yield
        return self._runs[0][: self._size]


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

    :param lines: of the sessions in order.
    :param has_more: whether there are more behind them.
    """

    lines: Sequence[SessionLine]
    has_more: bool

    @classmethod
    def of(
        cls, query: SessionsQuery, found: Iterable[Iterable[SessionLine]]
    ) -> Generator[None, None, SessionsPage]:
        """Put a page together, in pieces; what belongs to later ones is not kept.

        :param found: the sessions of each process in order.
        """
        merged, lines = merge(*found), list[SessionLine]()
        while some := list(islice(merged, min(SESSIONS_A_PIECE, query.limit - len(lines)))):
            lines += some
            yield
        return cls(lines, next(merged, None) is not None)

    def body(self) -> Iterator[bytes]:
        """Give all of it as JSON, in pieces."""
        before = b'{"sessions":['
        for begin in range(0, len(self.lines), SESSIONS_A_PIECE):
            shown = self.lines[begin : begin + SESSIONS_A_PIECE]
            yield before + b",".join([line[ORDER_DIGITS:-1] for line in shown])
            before = b","
        after = str(SessionId.of_order(self.lines[-1][:ORDER_DIGITS])) if self.has_more else None
        yield (b"" if self.lines else before) + f'],"next":{_encode(after)}}}\n'.encode()


def joined(lines: Sequence[SessionLine]) -> Iterator[bytes]:
    """Join lines to pieces of several."""
    for begin in range(0, len(lines), SESSIONS_A_PIECE):
        yield b"".join(lines[begin : begin + SESSIONS_A_PIECE])


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


def _shown(session_id: SessionId, session: OpenSession) -> ShownSession:
    shown: ShownSession = json.loads(_json(session_id.key, session_id.worker, session.facts()))
    return shown


@lru_cache(maxsize=4096)
def _text(value: str | None) -> str:
    """Write a text as JSON; the names of few frontends and backends are in thousands of sessions."""
    return _encode(value)


@lru_cache(maxsize=4096)
def _served_text(pool: str | None, backend: str | None, state: str) -> str:
    """Write what serves a session: the same serves thousands."""
    return f'"pool":{_encode(pool)},"backend":{_encode(backend)},"state":"{state}"'


def _tls_text(server_name: str | None, tls: TlsFacts | None) -> str:
    if server_name is None and tls is None:
        return _NO_TLS
    version, cipher, subject = (None,) * 3 if tls is None else (tls.version, tls.cipher, tls.subject)
    return (
        f'"server_name":{_text(server_name)},"tls_version":{_text(version)},'
        f'"tls_cipher":{_text(cipher)},"tls_client":{_text(subject)}'
    )


_NO_TLS = '"server_name":null,"tls_version":null,"tls_cipher":null,"tls_client":null'


def _json(key: int, worker: int, facts: SessionFacts) -> str:
    """Write a session as JSON: in half the time of what the library takes, of which there are thousands."""
    proxy = "null" if facts.proxy is None else _encode(str(facts.proxy))
    return (
        f'{{"id":"{id_text(key, worker)}","worker":{worker},"frontend":{_text(facts.frontend)},'
        f'"client":{_encode(str(facts.client))},"proxy":{proxy},'
        f"{_served_text(facts.pool, facts.backend, facts.state)},"
        f'"start":"{timestamp(facts.started)}","age":{facts.age:.3f},"idle":{facts.idle:.3f},'
        f'"client_bytes":{facts.client_bytes},"backend_bytes":{facts.backend_bytes},'
        f"{_tls_text(facts.server_name, facts.tls)}}}"
    )
