"""A view is begun once more where the configuration has changed while it was made."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from tcpbalance.control.api_request import ApiError
from tcpbalance.control.one_config import MAX_VIEWS, of_one_config


class Looks:
    """What is looked at; each look ends when a test says so."""

    def __init__(self) -> None:
        self.config: Any = object()
        self.begun: list[Deferred[Any]] = []

    def look(self) -> Deferred[Any]:
        self.begun.append(Deferred())
        return self.begun[-1]

    def change(self) -> None:
        self.config = object()


@pytest.mark.parametrize("changes", [0, 1, MAX_VIEWS - 1])
def test_the_view_is_the_first_of_one_configuration(changes: int) -> None:
    looks = Looks()
    views: list[Any] = []
    of_one_config(lambda: looks.config, looks.look).addCallback(views.append)
    for number in range(changes):
        looks.change()
        looks.begun[-1].callback(number)
    assert views == []
    looks.begun[-1].callback("of one")
    assert (views, len(looks.begun)) == (["of one"], changes + 1)


def test_where_it_changes_each_time_the_reason_is_said() -> None:
    looks = Looks()
    errors: list[Any] = []
    of_one_config(lambda: looks.config, looks.look).addErrback(errors.append)
    for number in range(MAX_VIEWS):
        looks.change()
        looks.begun[-1].callback(number)
    (error,) = errors
    assert isinstance(error.value, ApiError)
    assert (error.value.status, error.value.code, len(looks.begun)) == (503, "config_changes", MAX_VIEWS)


def test_a_look_that_fails_is_the_last() -> None:
    looks = Looks()
    errors: list[Any] = []
    silent = ApiError(503, "worker_silent", "ask again")
    of_one_config(lambda: looks.config, lambda: fail(silent)).addErrback(errors.append)
    assert [error.value for error in errors] == [silent]
