"""How much work a piece of code does, told without a clock, so that it is the same on a busy machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from attrs import define

import tcpbalance

_OURS = tcpbalance.__path__[0]


@define
class Work:
    """What was executed.

    :ivar lines: of the package, at the end of the block.
    """

    lines: int = 0


@contextlib.contextmanager
def counted() -> Iterator[Work]:
    """Count the lines of the package that functions called in the block execute.

    From CPython 3.12 on, every function is changed each time that tracing begins or ends: one block around
    many calls takes half the time of a block for each.
    """
    done = Work()
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    try:
        # Inside, because a test's time may be over here, too: the rest of the run would be traced.
        sys.settrace(trace)
        yield done
    finally:
        sys.settrace(before)
        done.lines = lines


def work(call: Callable[[], object]) -> int:
    """Count the lines of the package that a call executes; what it raises does not matter."""
    with counted() as done, contextlib.suppress(Exception):  # a refusal is an outcome, too
        call()
    return done.lines
