"""Bulk within reach of the small buffers of the memory network, so that every script comes to splicing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tcpbalance.net import pump


@contextmanager
def bulk_comes_early() -> Iterator[None]:
    """Let a direction change to splicing and back after little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pump, "CHUNK", 4096)
        patch.setattr(pump, "BULK_AFTER", 1)
        patch.setattr(pump, "LEAN", 1024)
        patch.setattr(pump, "CHATTY_AFTER", 2)
        yield
