"""What can be wrong with bytes from outside."""

from __future__ import annotations

from tcpbalance.errors import Fault, TcpbalanceError


class ProxyHeaderError(TcpbalanceError):
    """What a connection began with is not a PROXY header, and no further byte can make it one."""

    fault = Fault.CLIENT
