"""What this process holds open, so that a test can be asked to leave nothing behind; and room for more."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

DESCRIPTORS = Path("/proc/self/fd")


def open_descriptors() -> dict[int, str]:
    """Every open descriptor with what it is open on; empty where the system does not tell."""
    if not DESCRIPTORS.is_dir():
        return {}
    described = {int(entry): _target(entry) for entry in os.listdir(DESCRIPTORS)}
    return {number: target for number, target in described.items() if target}


def opened_since(before: dict[int, str]) -> dict[int, str]:
    """The descriptors open now that were not in ``before``.

    Those that only a cycle of objects keeps open are no leak: the collector runs before anything is reported.
    """
    if _new(before):
        gc.collect()
    return _new(before)


def left_open(before: dict[int, str], within: float) -> dict[int, str]:
    """The same once threads have had time to close theirs.

    The collector runs once, however long it takes: it holds up these threads.

    :param within: seconds to wait at most.
    """
    leaked = opened_since(before)
    deadline = time.monotonic() + within
    while leaked and time.monotonic() < deadline:
        time.sleep(0.01)
        leaked = _new(before)
    return leaked


def sockets_to(host: str, port: int) -> int:
    """How many sockets of this process are connected to an address."""
    found = 0
    for number, target in open_descriptors().items():
        if target.startswith("socket:"):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as sock:
                found += sock.getpeername() == (host, port)
    return found


def room_in(status: str) -> int:
    """For how many descriptors the kernel has room, before the table of a process has to grow.

    :param status: of the process: proc_pid_status(5).
    """
    found = re.search(r"^FDSize:\s*(\d+)$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


@contextlib.contextmanager
def no_descriptor_free() -> Iterator[None]:
    """Let this process have no more descriptors than it has."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _new(before: dict[int, str]) -> dict[int, str]:
    now = open_descriptors()
    return {number: target for number, target in now.items() if before.get(number) != target}


def _target(entry: str) -> str:
    try:
        return os.readlink(DESCRIPTORS / entry)
    except OSError:  # the one that listed the folder is gone by now
        return ""
