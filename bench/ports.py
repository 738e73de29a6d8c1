"""Ports on 127.0.0.1 that nobody has."""

from __future__ import annotations

import itertools
import socket

_LOWEST, _BELOW = 20_000, 30_000
"""Below where outgoing connections take theirs, so that none of thousands takes ours by chance."""

_candidates = itertools.count(_LOWEST)


def free_port() -> int:
    """Find a port; each call gives another one."""
    for port in _candidates:
        assert port < _BELOW, f"no port is free from {_LOWEST} to {_BELOW}"
        if _is_free(port):
            return port
    raise AssertionError("unreachable")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
