"""Opens connections to backends over the system's sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from tcpbalance.config.addresses import Address
from tcpbalance.errors import Fault
from tcpbalance.net.connect_attempt import ConnectAttempt
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.connecting import ConnectionFactory, Pending
from tcpbalance.net.data_path import DataPath, TwistedDataPath
from tcpbalance.net.own_ports import own_ports
from tcpbalance.net.resolver.resolver import Resolver, resolver_of
from tcpbalance.net.resolver.targets import numeric_target
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.net.wheel import Wheel

DIAL_RESOLUTION = 0.02
"""Seconds from one turn of the wheel of all dials to the next: one timer instead of one for each. Fine enough
for pauses of random length."""

NO_ZONE = "no such network interface"
"""The cause when this machine lacks the interface of a link-local address (``%eth0``)."""


class SocketConnector:
    """A ``Connector`` over the system's sockets.

    :param reactor: IReactorTime and, for names, IReactorFromThreads; watches the sockets where no data path
        is given.
    :param options: set on each socket before it connects.
    :param data_path: watches the sockets, and gives transports to those that are connected; the portable one
        by default.
    :param resolver: knows the addresses of names; the one of the reactor by default.
    :param clock: seconds on a monotonic clock, which times each attempt.
    """

    def __init__(
        self,
        reactor: Any,
        options: SocketOptions,
        data_path: DataPath | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.data_path = data_path or TwistedDataPath(reactor)
        self.clock = clock
        self.wheel = Wheel(reactor, clock, DIAL_RESOLUTION)
        self.own_ports = own_ports()
        self._resolver = resolver

    def connect(self, address: Address, factory: ConnectionFactory, timeout: float) -> Pending:
        """See ``Connector``."""
        attempt = ConnectAttempt(self, factory, timeout)
        if address.path is not None:
            attempt.begin([(socket.AF_UNIX, address.path)])
            return attempt
        host, port = str(address.host), int(address.port or 0)
        if not address.is_numeric:
            name = (self._resolver or resolver_of(self.reactor)).resolution(host)
            waiting = name.look_up()
            if waiting is None:
                attempt.begin_at(name, port)
            else:
                attempt.wait_for(waiting, name, port)
            return attempt
        try:
            target = numeric_target(host, port)
        except OSError:
            attempt.fail(ConnectFailed(NO_ZONE, Fault.BALANCER))
        else:
            attempt.begin([target])
        return attempt
