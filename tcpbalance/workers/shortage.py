"""What this process lacks for another worker, in words for the operator."""

from __future__ import annotations

import errno

from tcpbalance.net.faults import remedy_of_errno


def reason_of(error: OSError) -> str:
    """Say what the system refuses, and what to do about it.

    :param error: of the system.
    """
    if error.errno == errno.ETOOMANYREFS:
        return "too many descriptors are on the way to processes: raise LimitNOFILE or `ulimit -n`"
    reason = (error.strerror or str(error)).lower()
    remedy = remedy_of_errno(error.errno or 0)
    return f"{reason}: {remedy}" if remedy else reason
