"""Opens connections to backends over the system's sockets."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from socket import SocketType
from time import monotonic
from typing import Any, cast

from twisted.internet.interfaces import IProtocol

from tcpbalance.config.addresses import Address
from tcpbalance.errors import Fault
from tcpbalance.net.connect_attempt import (
    UNDER_WAY,
    ConnectAttempt,
    MakeSocket,
    backend_address,
    begin_to_connect,
)
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.connecting import ConnectionFactory, MayDial, Pending
from tcpbalance.net.data_path import DataPath, TwistedDataPath
from tcpbalance.net.own_ports import has_reached_itself, own_ports
from tcpbalance.net.resolver.resolver import Resolver, resolver_of
from tcpbalance.net.resolver.targets import SocketAddress, numeric_target
from tcpbalance.net.socket_options import STREAM, SocketOptions, set_no_delay
from tcpbalance.net.socket_transport import SocketTransport
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
    :param make_socket: makes a socket of a family and a type; the system's by default. The C type: half of
        what making and closing a socket takes here is what Python adds to it.
    """

    def __init__(
        self,
        reactor: Any,
        options: SocketOptions,
        data_path: DataPath | None = None,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = monotonic,
        make_socket: MakeSocket = SocketType,
    ) -> None:
        self.reactor = reactor
        self.options = options
        self.data_path = data_path or TwistedDataPath(reactor)
        self.clock = clock
        self.make_socket = make_socket
        self.wheel = Wheel(reactor, clock, DIAL_RESOLUTION)
        self.own_ports = own_ports()
        self._resolver = resolver

    def connect(
        self,
        address: Address,
        factory: ConnectionFactory,
        timeout: float,
        may_dial: MayDial | None = None,
    ) -> Pending:
        """See ``Connector``."""
        attempt = ConnectAttempt(self, factory, timeout, may_dial)
        if address.is_name:
            host, port = str(address.host), int(address.port or 0)
            name = (self._resolver or resolver_of(self.reactor)).resolution(host)
            waiting = name.look_up()
            if waiting is None:
                attempt.begin_at(name, port)
            else:
                attempt.wait_for(waiting, name, port)
            return attempt
        try:
            attempt.begin([target_of(address)])
        except ConnectFailed as failure:
            attempt.fail(failure)
        return attempt

    def open(self, address: Address) -> SocketType:
        """See ``NativeConnector``."""
        family, target = _known_target_of(address)
        if self.options.bare or family == socket.AF_UNIX:
            return begin_to_connect(self.make_socket, self.options.prepare_bare_dial, family, target)
        # The usual case: the same for a socket that needs no options.
        sock = self.make_socket(family, STREAM)
        code = sock.connect_ex(target)
        if code not in UNDER_WAY:
            sock.close()
            raise ConnectFailed.from_errno(code)
        return sock

    def has_reached_itself(self, sock: SocketType, address: Address) -> bool:
        """See ``NativeConnector``."""
        # Most backends listen on none of those ports, and the kernel need not be asked.
        if address.port is None or address.port not in self.own_ports:
            return False
        return has_reached_itself(sock, *_known_target_of(address), self.own_ports)

    def transport(self, sock: SocketType, address: Address, protocol: IProtocol) -> SocketTransport:
        """See ``NativeConnector``."""
        set_no_delay(sock)
        peer = backend_address(*_known_target_of(address))
        return cast(SocketTransport, self.data_path.transport(sock, protocol, peer))

    def take_over(
        self, sock: SocketType, address: Address, factory: ConnectionFactory, timeout: float, left: float
    ) -> ConnectAttempt:
        """See ``NativeConnector``."""
        set_no_delay(sock)
        attempt = ConnectAttempt(self, factory, timeout)
        attempt.take_over(sock, _known_target_of(address), left)
        return attempt


def target_of(address: Address) -> SocketAddress:
    """Turn an address that is no name into the socket module's form.

    :raises ConnectFailed: this machine lacks the interface of a link-local address.
    """
    if address.path is not None:
        return socket.AF_UNIX, address.path
    try:
        return numeric_target(str(address.host), int(address.port or 0))
    except OSError as error:
        raise ConnectFailed(NO_ZONE, Fault.BALANCER) from error


_known_target_of = functools.lru_cache(1024)(target_of)
"""For addresses without a zone, which stay what they are. They are few, and each connection asks for one."""
