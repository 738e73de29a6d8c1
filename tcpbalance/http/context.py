"""What a session of mode "http" needs to know of the frontend that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import field, frozen

from tcpbalance.errors import SettingError
from tcpbalance.http.answers import DateClock
from tcpbalance.http.connect.access import ConnectAccess
from tcpbalance.http.heads import HeadsOfRoutes
from tcpbalance.http.idle import IdleOfPools
from tcpbalance.http.mirrors import Mirrors
from tcpbalance.http.request_limits import RequestLimits
from tcpbalance.http.routes import Routes
from tcpbalance.http.settings import HttpSettings
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import BareStart, SessionContext


class HttpFrontend(Protocol):
    """What a snapshot is of."""

    @property
    def context(self) -> HttpContext:
        """The present snapshot."""
        ...


@frozen
class HttpContext(SessionContext):
    """A snapshot of one frontend of mode "http", which each request begins by.

    :param http: what holds for requests.
    :param routes: which of them go where.
    :param frontend: has the present snapshot.
    :param idle: the connections to backends that wait for requests, by their pool.
    :param next_turn: makes a call in the next turn of the reactor.
    :param date: gives the time as answers have it.
    :param mirrors: copies requests for other pools.
    :param request_limits: how many requests there may be; None where there is no limit.
    :param connect: lets clients have tunnels; None where no client may.
    :ivar bare: None; no session begins so.
    :ivar heads: what writes the heads of all that take a route.
    :ivar looks_at_paths: whether the path of a request decides anything.
    """

    reads_requests = True

    http: HttpSettings = field(kw_only=True)
    routes: Routes = field(kw_only=True)
    frontend: HttpFrontend = field(kw_only=True)
    idle: IdleOfPools = field(kw_only=True)
    next_turn: Callable[[Callable[[], None]], object] = field(kw_only=True)
    date: DateClock = field(kw_only=True)
    mirrors: Mirrors = field(kw_only=True)
    request_limits: RequestLimits | None = field(kw_only=True)
    connect: ConnectAccess | None = field(kw_only=True, default=None)
    bare: BareStart | None = field(init=False, default=None)
    heads: HeadsOfRoutes = field(init=False)
    looks_at_paths: bool = field(init=False)

    @heads.default
    def _make_heads(self) -> HeadsOfRoutes:
        return HeadsOfRoutes(self.http)

    @looks_at_paths.default
    def _decide_by_paths(self) -> bool:
        return self.routes.looks_at_paths or self.http.ambiguous_path == "reject"

    def __attrs_post_init__(self) -> None:
        if self.pool is None and not self.routes.routes and self.connect is None:
            raise SettingError(f"frontend {self.name}: without a pool it must have routes, or connect")

    @property
    def pools(self) -> Iterator[Pool]:
        """The pools that may serve a request: the frontend's own, and those that routes lead to."""
        yield from dict.fromkeys(pool for pool in (self.pool, *self.routes.pools) if pool is not None)
