"""Logs what clients of the admin side have changed: each change in one line, with what has come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.messages import one_line
from tcpbalance.control.api_request import ApiError, ApiRequest, changes
from tcpbalance.rate_limited_log import RateLimitedLog

MAX_LOGGED_REQUEST = 200
"""Characters of the method and the path of a request."""

MAX_LOGGED_CHANGE = 1000
"""Characters of what is changed, and of why it is not: a refusal may have many lines."""

T = TypeVar("T")

_log = Logger()


def log_change(
    request: ApiRequest,
    what: str,
    make: Callable[[], Deferred[T]],
    outcome_of: Callable[[T], str] = lambda _: "done",
) -> Deferred[T]:
    """Have a change made, and log it when its outcome is known.

    :param request: that asks for it.
    :param what: it is, as ``bans client 203.0.113.7``.
    :param make: makes it; it may raise an exception.
    :param outcome_of: words what has come of it, from what *make* gives.
    :returns: what *make* gives.
    """

    def made(result: T) -> T:
        _write(request, what, outcome_of(result))
        return result

    def not_made(failure: Failure) -> Failure:
        _write(request, what, _why_not(failure))
        if isinstance(failure.value, ApiError):
            failure.value.is_logged = True
        return failure

    changed: Deferred[Any] = maybeDeferred(make)
    return changed.addCallbacks(made, not_made)


class RefusedChangesLog:
    """Logs changes that are refused before what they are is known, at most one line a second.

    :param timer: times the lines.
    """

    def __init__(self, timer: IReactorTime) -> None:
        self._lines: RateLimitedLog[None, str] = RateLimitedLog(_write_refused, timer.seconds, timer)

    def note(self, peer: str, method: str, path: str, error: ApiError) -> None:
        """Take note of a request that is refused; of those that change nothing, nothing is logged."""
        if changes(method) and not error.is_logged:
            asked = one_line(f"{method} {path}", MAX_LOGGED_REQUEST)
            self._lines.note(None, f"{peer} {asked}: refused: {one_line(str(error), MAX_LOGGED_CHANGE)}")

    def flush(self) -> None:
        """Write what is held back now."""
        self._lines.flush()


def _write_refused(refused: Counter[None], last: str) -> None:
    before = refused.total() - 1
    more = f"; within a second, {before} more before that" if before else ""
    _log.warn("admin: {last}{more}", last=last, more=more)


def _write(request: ApiRequest, what: str, outcome: str) -> None:
    _log.info(
        "admin: {peer} {what}: {outcome}",
        peer=request.peer,
        what=one_line(what, MAX_LOGGED_CHANGE),
        outcome=one_line(outcome, MAX_LOGGED_CHANGE),
    )


def _why_not(failure: Failure) -> str:
    error = failure.value
    if not isinstance(error, ApiError):
        return "failed"
    return f"{'unconfirmed' if error.may_be_done else 'refused'}: {error}"
