"""Ports on 127.0.0.1 that nobody has."""

from __future__ import annotations

import itertools
import os
import socket

_LOWEST, _BELOW = 20_000, 30_000
"""Below where outgoing connections take theirs, so that none of thousands takes ours by chance."""

_candidates = itertools.count(os.getpid() * 101)
"""Benchmarks side by side begin apart: a port that is free may be taken before its program has started."""


def free_port() -> int:
    """Find a port; each call gives another one."""
    span = _BELOW - _LOWEST
    for number in itertools.islice(_candidates, span):
        port = _LOWEST + number % span
        if _is_free(port):
            return port
    raise AssertionError(f"no port is free from {_LOWEST} to {_BELOW}")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
