"""Bulk within reach of the small buffers of the memory network, so that every script comes to splicing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tcpbalance.net import direction


@contextmanager
def bulk_comes_early() -> Iterator[None]:
    """Let a direction change to splicing and back after little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direction, "CHUNK", 4096)
        patch.setattr(direction, "BULK_AFTER", 1)
        patch.setattr(direction, "LEAN", 1024)
        patch.setattr(direction, "CHATTY_AFTER", 2)
        yield
