"""Logs what clients of the admin side have changed: each change in one line, with what has come of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.messages import one_line
from tcpbalance.control.api_request import ApiError, ApiRequest

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
        return failure

    changed: Deferred[Any] = maybeDeferred(make)
    return changed.addCallbacks(made, not_made)


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
