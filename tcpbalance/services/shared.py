"""What the services of one balancer share."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from attrs import define, field

from tcpbalance.event import OnEvent, no_report
from tcpbalance.net.connecting import Connector
from tcpbalance.net.data_path import DataPath
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.net.socket_connector import SocketConnector
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.pool.shared_load import PoolLoad
from tcpbalance.proxy.debug_clients import DebugClients
from tcpbalance.proxy.hand_over import HandOver
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.proxy.shared_limit import SharedLimit
from tcpbalance.services.drains import Drains
from tcpbalance.services.following import Following


class SharedLoad(Protocol):
    """What several processes count together that serve by one configuration."""

    def pool(self, name: str) -> PoolLoad:
        """Give what a pool has in common with those of its name in other processes."""
        ...

    def frontend(self, name: str) -> SharedLimit:
        """Give what a frontend has in common with those of its name in other processes."""
        ...

    def requests(self, name: str) -> SharedLimit:
        """Give the requests that a frontend has in common with those of its name in other processes."""
        ...


@define(kw_only=True)
class Shared:
    """What the services of one balancer share.

    :param reactor: what everything lives on.
    :param data_path: carries the connections.
    :param resolver: looks the names of backends up.
    :param connector: opens all connections to backends, in the place of sockets; None for sockets.
    :param clock: seconds on a monotonic clock.
    :param wall_clock: seconds since the epoch.
    :param rng: spreads checks and the ages of sessions.
    :param on_record: called with the record of each session that has ended; None for no records. May be
        replaced.
    :param inherited: listening sockets that were open when the program began.
    :param drains: the backends that drain.
    :param grace: seconds that open sessions may go on when their frontend retires; may be changed.
    :param hand_over: brings connections to other processes that their clients belong to; None where there are
        none.
    :param load: what is counted together with other processes; None where there are none.
    :param following: what has the services follow those of another process, which checks and ejects the
        backends, keeps affinity, and logs all that; None where this one does.
    :param on_event: called with what operators want to know; may be replaced.
    :param debug: the clients whose sessions are logged step by step.
    """

    reactor: Any
    data_path: DataPath
    resolver: Resolver
    connector: Connector | None
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: Random
    on_record: Callable[[SessionRecord], None] | None
    inherited: InheritedSockets
    drains: Drains
    grace: float
    hand_over: HandOver | None = None
    load: SharedLoad | None = None
    following: Following | None = None
    on_event: OnEvent = no_report
    debug: DebugClients = field(factory=DebugClients)

    def connector_with(self, options: SocketOptions) -> Connector:
        """Give what opens connections to backends.

        :param options: of its sockets.
        """
        if self.connector is not None:
            return self.connector
        return SocketConnector(self.reactor, options, self.data_path, self.resolver, self.clock)
