"""What a session needs to know of the frontend that it belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random
from typing import ClassVar

from attrs import field, frozen

from tcpbalance.admission.gcra import MINUTE
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.frontends import TimeoutsConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.net.connecting import Connector, NativeConnector
from tcpbalance.net.poller import Poller
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.debug_clients import DebugClients
from tcpbalance.proxy.dry_run import DryRun
from tcpbalance.proxy.logged_admission import LoggedAdmission
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.registry import SessionRegistry

AGE_JITTER = 0.1
"""Share of ``max_connection_age`` by which ages differ, so that connections opened together do not all end
together."""


@frozen
class BareStart:
    """What a session that begins bare needs; see ``bare_session``.

    :ivar pool: chooses its backend.
    :ivar connector: opens the socket to that.
    :ivar poller: watches its sockets.
    :ivar wheel: times it. It is that of the dials: the frontend's may stand still.
    :ivar look_every: as of `SessionContext`.
    :ivar ends_tls: whether clients speak TLS that ends here.
    """

    pool: Pool
    connector: NativeConnector
    poller: Poller
    wheel: Wheel
    look_every: float
    ends_tls: bool


@frozen
class SessionContext:
    """A snapshot of one frontend, shared by the sessions that begin under it.

    A change makes a new one (``attrs.evolve``); a session keeps the one that it began with.

    :param name: the frontend's name in logs.
    :param timeouts: how long sessions may last.
    :param limits: how many there may be, and how fast.
    :param pool: where backends are chosen; None where each client has to ask for a route to another.
    :param preread: what clients have to send before a backend is chosen; None for nothing.
    :param admission: decides which clients are admitted; None where all are.
    :param dry_run: takes note of what bounds would have done where they are not enforced, else None.
    :param connector: opens connections to backends.
    :param native: the same, where it is of the native data path; None elsewhere.
    :param wheel: the timer of the sessions' deadlines.
    :param clock: seconds on a monotonic clock, which times all that a session does.
    :param wall_clock: seconds since the epoch, for when a session began and for what certificates say.
    :param rng: spreads the ages at which connections end.
    :param registry: keeps the open sessions.
    :param debug: the clients whose sessions are logged step by step.
    :cvar reads_requests: whether what clients send are requests, each of which may go to another pool.
    :ivar bare: what sessions begin with that need no more in the beginning than two sockets; None where none
        begins so.
    :ivar look_every: seconds that a session may go without being looked at: half the shorter of the two
        limits that follow from silence, and at most a quarter of the minute of ``min_rate``.
    :raises SettingError: for neither a pool nor routes to one.
    """

    reads_requests: ClassVar[bool] = False

    name: str
    timeouts: TimeoutsConfig
    limits: LimitsConfig
    pool: Pool | None
    preread: PrereadSettings | None
    admission: LoggedAdmission | None
    dry_run: DryRun | None
    connector: Connector
    native: NativeConnector | None
    wheel: Wheel
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    rng: Random
    registry: SessionRegistry
    debug: DebugClients
    look_every: float = field(init=False)
    bare: BareStart | None = field(init=False)

    @look_every.default
    def _half_the_shorter(self) -> float:
        quiet = min(self.timeouts.idle_timeout, self.timeouts.half_close_timeout) / 2
        return quiet if self.limits.min_rate is None else min(quiet, MINUTE / 4)

    @bare.default
    def _where_two_sockets_are_enough(self) -> BareStart | None:
        pool, native, limits = self.pool, self.native, self.limits
        limited = limits.bandwidth_per_connection is not None or limits.min_rate is not None
        if native is None or pool is None or limited:
            return None
        ends_tls = self.preread is not None and self.preread.tls is not None
        return BareStart(pool, native, native.data_path.poller, native.wheel, self.look_every, ends_tls)

    def __attrs_post_init__(self) -> None:
        if self.pool is None and (self.preread is None or self.preread.routes is None):
            raise SettingError(
                f"frontend {self.name}: without a pool it must have a preread with routes to one"
            )

    @property
    def pools(self) -> Iterator[Pool]:
        """The pools that may serve a session: the frontend's own, and those that routes lead to."""
        if self.pool is not None:
            yield self.pool
        if self.preread is not None and self.preread.routes is not None:
            yield from self.preread.routes.values()

    def pool_for(self, server_name: str | None) -> Pool | None:
        """Give the pool of the route for a server name, or the frontend's for names without a route.

        :param server_name: of a ClientHello; None without one.
        """
        routes = None if self.preread is None else self.preread.routes
        return self.pool if routes is None else routes.lookup(server_name) or self.pool

    def begins_bare(self, client: ClientAddress) -> bool:
        """Whether the session of a client begins with ``bare``."""
        start, preread = self.bare, self.preread
        return (
            start is not None
            and start.pool.is_plain
            and (preread is None or not preread.asks_in_the_clear(client))
        )

    def age_limit(self) -> float:
        """How old the next session may get, in seconds; infinite without a limit."""
        age = self.timeouts.max_connection_age
        if age is None:
            return math.inf
        return age * self.rng.uniform(1 - AGE_JITTER, 1 + AGE_JITTER)

    def flush_logs(self) -> None:
        """Write what the logs of admission, limits and pools hold back."""
        if self.admission is not None:
            self.admission.flush_logs()
        if self.dry_run is not None:
            self.dry_run.flush_logs()
        for pool in self.pools:
            pool.flush_logs()
