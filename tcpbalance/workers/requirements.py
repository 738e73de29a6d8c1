"""What several workers need of the system and of the start."""

from __future__ import annotations

import os
import socket
import sys

from tcpbalance.environment import Environment
from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.workers.shared_counts import can_count


class WorkersError(TcpbalanceError):
    """Several workers cannot serve here; the text says why and what to do."""

    fault = Fault.CONFIGURATION


def refuse_workers_without(environment: Environment) -> None:
    """Find out whether several workers can serve.

    :raises WorkersError: they cannot.
    """
    has_all = can_count() and hasattr(os, "pidfd_open") and hasattr(socket, "SO_REUSEPORT")
    if sys.platform != "linux" or not has_all:
        raise WorkersError("workers: more than one needs Linux 5.4 or newer on x86-64: use workers = 1")
    if environment.ready_descriptor is not None:
        raise WorkersError("workers: a change between 1 and more needs a restart, SIGUSR2 cannot make it")
    if environment.passed:
        raise WorkersError(
            "workers: sockets that systemd passes serve a single process: use workers = 1, or do without the "
            "socket unit"
        )
