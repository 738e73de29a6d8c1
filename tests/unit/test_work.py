"""Counting what is executed leaves no tracing behind, whenever the time of a test is over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.byte_codes import cost
from support.work import work


class OutOfTime(BaseException):
    """What ends a test that takes too long; no Exception, as that of pytest is none."""


@pytest.mark.parametrize("count", [work, cost])
def test_an_end_while_tracing_begins(
    monkeypatch: pytest.MonkeyPatch, count: Callable[[Callable[[], object]], object]
) -> None:
    before, settrace = sys.gettrace(), sys.settrace

    def begin_and_end(trace: Any) -> None:
        settrace(trace)
        if trace is not before:
            raise OutOfTime

    monkeypatch.setattr(sys, "settrace", begin_and_end)
    with pytest.raises(OutOfTime):
        count(lambda: None)
    left = sys.gettrace()
    settrace(before)
    assert left is before
