"""A network namespace of a test's own, for settings of the kernel that would disturb others."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
"""unshare(2)."""

_SETTINGS = Path("/proc/sys")


def in_own_network(body: Callable[[], None]) -> None:
    """Run *body* in a thread that has a network of its own, with nothing but 127.0.0.0/8 and ::1.

    Sockets, threads and processes that *body* makes belong to that network. It ends with the last of them.

    :raises pytest.skip.Exception: where we may not make one, for want of root's rights.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _unshare_network()
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            body()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


def set_kernel(name: str, value: str) -> None:
    """Change a setting of the network that the thread is in.

    :param name: as sysctl(8) has it, such as "net.ipv4.ip_local_port_range".
    """
    (_SETTINGS / name.replace(".", "/")).write_text(value)


def _unshare_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        pytest.skip(f"needs root, to make a network namespace: {os.strerror(ctypes.get_errno())}")
