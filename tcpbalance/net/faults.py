"""Decides whose fault a failed connection attempt, check or handshake is.

This is the one place that answers "does this say anything about the backend?".
"""

from __future__ import annotations

import errno

from tcpbalance.errors import Fault

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""The process, or the whole system, has no descriptor left: errno(3)."""

EXHAUSTED = OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
"""Nothing to accept or connect with: no descriptor or no memory."""


def fault_of_errno(code: int) -> Fault:
    """Tell whose fault an error number of the system is, met while connecting to a backend.

    :param code: as in errno(3).
    :returns: ``BALANCER`` where it says nothing about the backend, else ``BACKEND``.
    """
    return Fault.BALANCER if code in EXHAUSTED else Fault.BACKEND
