"""Ports for programs that cannot be asked which one they got."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_next = itertools.count(os.getpid() * 1009)  # tests run side by side, in processes of close numbers


def free_port() -> int:
    """Find a port on 127.0.0.1 that nobody has.

    It lies below the range from which outgoing connections take theirs, so that none takes it by chance while
    the program that had it is being started again.
    """
    below = _first_ephemeral() - _LOWEST
    for number in itertools.islice(_next, below):
        port = _LOWEST + number % below
        if _is_free(port):
            return port
    raise AssertionError(f"no port is free from {_LOWEST} to {_LOWEST + below}")


def _first_ephemeral() -> int:
    return int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def refusing() -> Iterator[str]:
    """Have an address where connections are refused; it stays taken, so that no one else listens there."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
