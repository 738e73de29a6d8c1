"""How many descriptors the process may open, and space for them before there is traffic.

Linux doubles the table of a process's descriptors each time that it is full. In a process with more than one
thread, and the access log has one, the call that needs the new descriptor then waits for all processors to
have passed a quiet state: 5 to 20 ms in which no client is served, at 64, 128, 256 descriptors and so on. See
`expand_fdtable` in the kernel's fs/file.c, and https://github.com/tokio-rs/tokio/issues/2702.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import sys

MAX_PREPARED = 1 << 16
"""Descriptors that there is space for at once: half a mebibyte of the kernel's memory."""


def limit() -> int:
    """How many descriptors there may be now: RLIMIT_NOFILE of getrlimit(2); very many without one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Raise the limit as far as the process may; nothing where the system refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def prepare_table() -> None:
    """Make space for all descriptors that the process may open, up to `MAX_PREPARED`; it never shrinks.

    A child that is forked has a table of its own, only as large as it needs.
    """
    # It is for speed alone: without the device, or a descriptor that is free, all goes on as it was.
    with contextlib.suppress(OSError):
        device = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.close(fcntl.fcntl(device, fcntl.F_DUPFD_CLOEXEC, min(limit(), MAX_PREPARED) - 1))
        finally:
            os.close(device)
