"""One server behind the balancer: what the operator says of it, and its status now."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

import attrs
from attrs import define, field

from tcpbalance.config import plain
from tcpbalance.config.addresses import Address
from tcpbalance.config.draft import checked
from tcpbalance.config.messages import one_line
from tcpbalance.config.pools import BackendConfig
from tcpbalance.pool.ewma import PeakEwma
from tcpbalance.pool.host_stats import HostStats
from tcpbalance.pool.shared_load import BackendLoad
from tcpbalance.stats import BackendStats


class BackendSettings(NamedTuple):
    """What may change of a backend that stays; see `Backend`."""

    weight: int
    max_connections: int | None
    backup: bool
    server_name: str | None
    configured_state: AdminState


class AdminState(enum.Enum):
    """What the operator wants of a backend, whatever its health.

    The three are HAProxy's: management guide 9.3, ``set server <b>/<s> state``.
    """

    READY = "ready"
    """It serves."""
    DRAIN = "drain"
    """It takes no new clients; those that have affinity to it still come."""
    MAINTENANCE = "maintenance"
    """It takes no clients."""


# Checks and conversions run when it is made, not on each `active += 1`.
@define(eq=False, on_setattr=attrs.setters.NO_OP)
class Backend:
    """A server that takes connections; belongs to one pool, which alone changes its status.

    :ivar address: where it listens; a str is parsed.
    :ivar name: how logs, metrics and the source hash call it; unique in its pool.
    :ivar weight: its share against the others, 1 to 256.
    :ivar max_connections: how many it may have at once, None for no limit.
    :ivar backup: whether it serves only when no other can.
    :ivar server_name: what it is asked for by TLS, None for the pool's or the host of its address.
    :ivar configured_state: what the operator has written; another one written in its place becomes the
        *admin_state*, which may have been changed since.
    :ivar active: connections open or being opened, of this process.
    :ivar shared: what all processes have, where there are several and it is counted; None elsewhere.
    :ivar up: whether health lets it serve.
    :ivar ejected: whether real traffic has shown that it should not, for a while.
    :ivar admin_state: what the operator wants of it.
    :ivar cause: why it is down, empty while it is up.
    :ivar awaits_check: whether it is down because no health check has had an outcome yet.
    :ivar cooldown_until: by the pool's clock; until then it is passed over as long as others can serve.
    :ivar removed: whether its pool has it no longer; its open connections go on.
    :ivar available: whether it may have new connections, its limit aside; what these come to.
    :ivar available_since: by the pool's clock, when it last became available.
    :ivar available_to_sticky: whether clients that have a sticky entry for it may come, its limit aside: also
        while it is drained.
    :ivar connect_time: what connecting to it cost lately.
    :ivar response_time: what its responses cost lately, from the end of a request to the head; only where the
        policy of its pool asks for that.
    :ivar host_stats: what outlier detection knows of it.
    :ivar stats: counters of what has happened to its connections.
    :ivar alone: a sequence of nothing else, one for all clients that belong to it only.
    :raises SettingError: for an address that cannot be connected to, or a value that a file may not have.
    """

    address: Address = field(converter=plain.address)
    name: str = field(default=attrs.Factory(lambda self: str(self.address), takes_self=True))
    weight: int = 1
    max_connections: int | None = None
    backup: bool = False
    server_name: str | None = None
    configured_state: AdminState = AdminState.READY

    active: int = field(default=0, init=False)
    shared: BackendLoad | None = field(default=None, init=False, repr=False)
    up: bool = field(default=True, init=False)
    cause: str = field(default="", init=False)
    awaits_check: bool = field(default=False, init=False)
    cooldown_until: float = field(default=0.0, init=False)
    ejected: bool = field(default=False, init=False)
    admin_state: AdminState = field(
        default=attrs.Factory(lambda self: self.configured_state, takes_self=True), init=False
    )
    removed: bool = field(default=False, init=False)
    available: bool = field(default=True, init=False)
    available_since: float = field(default=0.0, init=False)
    available_to_sticky: bool = field(default=True, init=False)
    connect_time: PeakEwma = field(factory=PeakEwma, init=False, repr=False)
    response_time: PeakEwma = field(factory=PeakEwma, init=False, repr=False)
    host_stats: HostStats = field(factory=HostStats, init=False, repr=False)
    stats: BackendStats = field(factory=BackendStats, init=False, repr=False)
    alone: tuple[Backend, ...] = field(
        default=attrs.Factory(lambda self: (self,), takes_self=True), init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        config = checked(
            f"backend {one_line(str(self.name))}",
            BackendConfig,
            address=self.address,
            name=self.name,
            weight=self.weight,
            max_connections=self.max_connections,
            backup=self.backup,
            server_name=self.server_name,
        )
        self.server_name = config.server_name

    @property
    def key(self) -> tuple[str, Address]:
        """What makes it the same backend when its pool gets another list: its name and address."""
        return self.name, self.address

    @property
    def settings(self) -> BackendSettings:
        """What another list of the pool may change of it."""
        return BackendSettings(
            self.weight, self.max_connections, self.backup, self.server_name, self.configured_state
        )

    @settings.setter
    def settings(self, settings: BackendSettings) -> None:
        self.weight, self.max_connections, self.backup, self.server_name, self.configured_state = settings

    def snapshot(self) -> dict[str, int]:
        """Give its counters by name, and ``active`` as ``connections_active``."""
        counts = self.stats.snapshot()
        counts["connections_active"] = self.active
        return counts

    @property
    def full(self) -> bool:
        """Whether it has as many connections as it may, of all processes together."""
        shared = self.shared
        if shared is not None:
            # The maximum of all may be known here later than elsewhere, or never, where this process drains.
            return shared.full
        return self.max_connections is not None and self.active >= self.max_connections

    @property
    def load(self) -> int:
        """Connections open or being opened, of all processes together."""
        return self.active if self.shared is None else self.shared.total

    @property
    def part_here(self) -> float:
        """Which part of its connections are of this process."""
        load = self.load
        return self.active / load if load else 0.0

    @property
    def described(self) -> str:
        """Its name, and its address where that is another; for the log."""
        address = str(self.address)
        return address if self.name == address else f"{self.name} ({address})"

    @property
    def state(self) -> str:
        """One word for its status: the first that is true of ``removed``, ``maintenance``, ``draining``,
        ``down``, ``ejected`` and ``up``."""
        return self.state_if(self.up)

    def state_if(self, up: bool) -> str:
        """Give what its `state` would be.

        :param up: whether health lets it serve.
        """
        if self.removed:
            return "removed"
        if self.admin_state is AdminState.MAINTENANCE:
            return "maintenance"
        if self.admin_state is AdminState.DRAIN:
            return "draining"
        if not up:
            return "down"
        return "ejected" if self.ejected else "up"


BackendLike: TypeAlias = Backend | Address | str
"""A backend, or the address of one that has no other settings."""


def as_backend(given: BackendLike) -> Backend:
    """Make a backend of an address.

    :returns: what is a backend already, as it is.
    :raises SettingError: for an address that cannot be connected to.
    """
    return given if isinstance(given, Backend) else Backend(given)
