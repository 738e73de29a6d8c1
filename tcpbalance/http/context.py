"""What a session of mode "http" needs to know of the frontend that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import field, frozen

from tcpbalance.errors import SettingError
from tcpbalance.http.answers import DateClock
from tcpbalance.http.connect.access import ConnectAccess
from tcpbalance.http.heads import RouteHeads
from tcpbalance.http.idle import IdleConnections
from tcpbalance.http.request_limits import RequestLimits
from tcpbalance.http.routes import Route, Routes
from tcpbalance.http.settings import HttpSettings
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import BareStart, SessionContext


@frozen
class HttpContext(SessionContext):
    """A snapshot of one frontend of mode "http", which each request begins by.

    :param http: what holds for requests.
    :param routes: which of them go where.
    :param current: gives the present snapshot.
    :param idle_connections: gives the connections to the backends of a pool that wait for requests.
    :param next_turn: makes a call in the next turn of the reactor.
    :param date: gives the time as answers have it.
    :param request_limits: how many requests there may be; None where there is no limit.
    :param connect: lets clients have tunnels; None where no client may.
    :ivar bare: None; no session begins so.
    """

    reads_requests = True

    http: HttpSettings = field(kw_only=True)
    routes: Routes = field(kw_only=True)
    current: Callable[[], HttpContext] = field(kw_only=True)
    idle_connections: Callable[[Pool], IdleConnections] = field(kw_only=True)
    next_turn: Callable[[Callable[[], None]], object] = field(kw_only=True)
    date: DateClock = field(kw_only=True)
    request_limits: RequestLimits | None = field(kw_only=True)
    connect: ConnectAccess | None = field(kw_only=True, default=None)
    bare: BareStart | None = field(init=False, default=None)
    _heads: dict[Route, RouteHeads] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.pool is None and not self.routes.routes and self.connect is None:
            raise SettingError(f"frontend {self.name}: without a pool it must have routes, or connect")

    @property
    def pools(self) -> Iterator[Pool]:
        """The pools that may serve a request: the frontend's own, and those that routes lead to."""
        yield from dict.fromkeys(pool for pool in (self.pool, *self.routes.pools) if pool is not None)

    def heads(self, route: Route) -> RouteHeads:
        """Give what writes the heads of all that take a route."""
        heads = self._heads.get(route)
        if heads is None:
            heads = self._heads[route] = RouteHeads(route, self.http)
        return heads
