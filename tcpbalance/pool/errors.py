"""What is wrong with a pool as it was put together."""

from __future__ import annotations

from tcpbalance.errors import Fault, TcpbalanceError


class PoolError(TcpbalanceError, ValueError):
    """A pool or backend was given a value that it cannot work with."""

    fault = Fault.CONFIGURATION
