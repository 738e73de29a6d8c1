"""Each change that a client of the admin side asks for is one line of the log, with what has come of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogEvent, capturedLogs, formatEvent

from tcpbalance.control.api_request import ApiError, ApiRequest
from tcpbalance.control.changes_log import MAX_LOGGED_CHANGE, log_change

REQUEST = ApiRequest(method="DELETE", path="/", peer="127.0.0.1:4711")


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def texts(logged: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in logged]


def test_a_change_is_logged_when_it_is_done(logged: Sequence[LogEvent]) -> None:
    done: Deferred[int] = Deferred()
    changed = log_change(REQUEST, "bans client a", lambda: done)
    assert not logged
    done.callback(7)
    assert texts(logged) == ["admin: 127.0.0.1:4711 bans client a: done"]
    assert changed.result == 7


def test_its_outcome_may_be_worded(logged: Sequence[LogEvent]) -> None:
    log_change(REQUEST, "forgets client a", lambda: succeed(3), lambda count: f"done, {count} clients")
    assert texts(logged) == ["admin: 127.0.0.1:4711 forgets client a: done, 3 clients"]


def failing(error: Exception) -> Any:
    def make() -> None:
        raise error

    return make


class MayBeDoneError(ApiError):
    may_be_done = True


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiError(409, "refused", "a\nb"), r"refused: a\nb"),
        (MayBeDoneError(503, "silent", "worker 1 is silent"), "unconfirmed: worker 1 is silent"),
        (ZeroDivisionError("0"), "failed"),
        (ApiError(422, "mistakes", "x" * 5000), f"refused: {'x' * (MAX_LOGGED_CHANGE - 9)}..."),
    ],
)
def test_why_it_is_not_made(logged: Sequence[LogEvent], error: Exception, outcome: str) -> None:
    found: list[Any] = []
    log_change(REQUEST, "ends session 1", failing(error)).addErrback(found.append)
    assert texts(logged) == [f"admin: 127.0.0.1:4711 ends session 1: {outcome}"]
    assert found[0].value is error


def test_names_from_the_request_stay_in_the_line(logged: Sequence[LogEvent]) -> None:
    log_change(REQUEST, "bans client a at frontend {x}\n", lambda: succeed(None))
    assert texts(logged) == [r"admin: 127.0.0.1:4711 bans client a at frontend {x}\n: done"]
