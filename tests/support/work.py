"""How much work a piece of code does, told without a clock, so that it is the same on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import tcpbalance

_OURS = tcpbalance.__path__[0]


def work(call: Callable[[], object]) -> int:
    """Count the lines of the package that a call executes; what it raises does not matter."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Exception:  # a refusal is an outcome, too
        pass
    finally:
        sys.settrace(before)
    return lines
