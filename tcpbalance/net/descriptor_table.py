"""The kernel's table of our descriptors, made as large as it may have to be before there is traffic.

Linux doubles it each time that it is full. In a process with more than one thread, and the access log has
one, the call that needs the new descriptor then waits for all processors to have passed a quiet state: 5 to
20 ms in which nobody is served, at 64, 128, 256 descriptors and so on. See `expand_fdtable` in the kernel's
fs/file.c, and https://github.com/tokio-rs/tokio/issues/2702.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource

MOST = 1 << 16
"""Descriptors that there is room for at once: half a mebibyte of the kernel's memory."""


def make_room() -> None:
    """Have room for all descriptors that the process may open, up to `MOST`; the table never shrinks.

    A child that is forked has a table of its own, only as large as it needs.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)
    # It is for speed alone: without the device, or a descriptor that is free, all goes on as it was.
    with contextlib.suppress(OSError):
        device = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.close(fcntl.fcntl(device, fcntl.F_DUPFD_CLOEXEC, room - 1))
        finally:
            os.close(device)
