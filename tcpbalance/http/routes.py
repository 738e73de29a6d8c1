"""Which route a request takes: compiled once, looked up in dicts.

A request takes the route with the host that fits best: the same one, then the longest wildcard, then any.
Among those, the longest path; then the most headers; then the one with methods. A route that fits by host
and path and not by the rest leaves the request to the next best.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Protocol

from attrs import field, frozen

from tcpbalance.admission.access import Access
from tcpbalance.config.cookies import CookieConfig
from tcpbalance.config.route_values import PathPattern, RedirectTarget
from tcpbalance.config.routes import WEBSOCKET, HttpRouteConfig, Rank
from tcpbalance.http.pages import Page
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools
from tcpbalance.wire.http.cookie import CookieReader
from tcpbalance.wire.http.rewrite import NO_EDITS, FieldEdits

_EVERYTHING = PathPattern("/*")
# What clients send in a target and RFC 3986 has in no URL.
_not_in_urls = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]")


class HasFields(Protocol):
    """What is asked of the head of a request."""

    def values(self, name: bytes, /) -> list[bytes]:
        """Give the values of a field by its name in lower case."""
        ...


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("latin-1"))


@frozen(eq=False)
class Redirect:
    """Sends clients elsewhere.

    :param status: 301, 302, 303, 307 or 308.
    :param to: where to.
    """

    status: int
    to: RedirectTarget

    def location(self, host: str | None, target: str) -> str | None:
        """Give the value of Location.

        :param host: that was asked for, without its port; None where none was.
        :param target: of the request, path and query as they came; ``*`` for the server as a whole.
        :returns: None where the host is needed and there is none.
        """
        if host is None and self.to.needs_host:
            return None
        path, mark, query = target.removeprefix("*").partition("?")
        return _not_in_urls.sub(_escaped, self.to.filled(host or "", path, mark + query))


@frozen(eq=False)
class FixedAnswer:
    """Answers without a backend.

    :param status: the status code.
    :param page: the body; None where the answer has none of its own.
    """

    status: int
    page: Page | None


class PoolsCookie:
    """The cookie by which a route with several pools knows a client again.

    :param config: says how to make it.
    :ivar name: its name.
    :ivar reader: finds it.
    """

    __slots__ = ("config", "name", "reader")

    def __init__(self, config: CookieConfig) -> None:
        self.config = config
        self.name = config.name or "tcpbalance_pools"
        self.reader = CookieReader(self.name.encode("ascii"))


@frozen(eq=False, kw_only=True)
class Route:
    """Which requests, and what becomes of them: one of ``pool``, ``pools``, ``redirect`` and ``answer``.

    :param name: for logs; None for what takes the requests that no route of the configuration takes.
    :param access: which clients may send them; None for all.
    :param pool: serves them.
    :param pools: of which each serves some of their clients.
    :param pools_cookie: by which these clients are known; None for by their addresses.
    :param mirror: gets a copy of each request; None for none.
    :param redirect: where they are sent instead.
    :param answer: what is answered instead.
    :param strip_prefix: what paths begin with, and backends do not get; empty for nothing.
    :param request_headers: what backends get besides the fields of the client, or not.
    :param response_headers: what clients get besides the fields of the response, or not.
    :param response_timeout: seconds to the head of a response; None for the pool's.
    :param stall_timeout: seconds of a pause in a response, also in an event stream; None for the pool's.
    :param body_timeout: seconds of a pause in a request's body; None for the frontend's.
    :param body_min_rate: bytes a second of such a body; None for the frontend's.
    :param body_size: bytes of a request's body; None for any number.
    :param upgrade: protocols that connections may switch to, in lower case.
    :param methods: with which it takes requests; none for any.
    :param headers: which requests must have: each with its name in lower case, and its value or None for any.
    :ivar is_plain: whether all its requests go to one pool and nowhere else, whichever client has sent them.
    :ivar has_time_limits: whether it has limits of its own for pauses in bodies.
    """

    name: str | None = None
    access: Access | None = None
    pool: Pool | None = None
    pools: WeightedPools | None = None
    pools_cookie: PoolsCookie | None = None
    mirror: Pool | None = None
    redirect: Redirect | None = None
    answer: FixedAnswer | None = None
    strip_prefix: bytes = b""
    request_headers: FieldEdits = NO_EDITS
    response_headers: FieldEdits = NO_EDITS
    response_timeout: float | None = None
    stall_timeout: float | None = None
    body_timeout: float | None = None
    body_min_rate: int | None = None
    body_size: int | None = None
    upgrade: frozenset[str] = frozenset({WEBSOCKET})
    methods: frozenset[bytes] = frozenset()
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    is_plain: bool = field(init=False)
    has_time_limits: bool = field(init=False)

    @is_plain.default
    def _needs_no_further_look(self) -> bool:
        return self.access is None and self.pool is not None and self.mirror is None

    @has_time_limits.default
    def _has_time_limits(self) -> bool:
        return self.stall_timeout is not None or self.body_timeout is not None

    @property
    def all_pools(self) -> tuple[Pool, ...]:
        """Those that may get a request, or a copy of it."""
        several = () if self.pools is None else self.pools.weights
        return tuple(pool for pool in (self.pool, *several, self.mirror) if pool is not None)

    @property
    def asks_more(self) -> bool:
        """Whether host and path are not enough."""
        return bool(self.methods or self.headers)

    def fits(self, method: bytes, head: HasFields) -> bool:
        """Whether a request has a method and the headers that this is for."""
        if self.methods and method not in self.methods:
            return False
        for name, wanted in self.headers:
            values = head.values(name)
            # Several lines are one value: RFC 9110, section 5.3.
            if not values or wanted not in (None, b", ".join(values)):
                return False
        return True


class _Paths:
    """The routes of one host, by path.

    :ivar looks_at_paths: whether the path of a request decides anything.
    :ivar only: the one that takes all requests, where there is no other; else None.
    """

    __slots__ = ("_below", "_depth", "_everything", "_exact", "looks_at_paths", "only")

    only: Route | None

    def __init__(self, routes: Iterable[tuple[PathPattern, Route, Rank]]) -> None:
        exact: defaultdict[bytes, list[tuple[Rank, Route]]] = defaultdict(list)
        below: defaultdict[bytes, list[tuple[Rank, Route]]] = defaultdict(list)
        for path, route, rank in routes:
            (below if path.is_prefix else exact)[path.base.encode("ascii")].append((rank, route))
        self._exact = {path: _by_rank(there) for path, there in exact.items()}
        self._everything = _by_rank(below.pop(b"", []))
        self._below = {path: _by_rank(there) for path, there in below.items()}
        self._depth = max((path.count(b"/") for path in below), default=0)
        self.looks_at_paths = bool(exact or below)
        self.only = None
        if not self.looks_at_paths and self._everything and not self._everything[0].asks_more:
            self.only = self._everything[0]

    def find(self, path: bytes, method: bytes, head: HasFields) -> Route | None:
        """Give the route that fits best."""
        for route in self._exact.get(path, ()):
            if route.fits(method, head):
                return route
        # Deeper than any route leads, nothing is looked at, however many slashes a path has.
        parts = path.split(b"/", self._depth + 1)
        for count in range(min(len(parts), self._depth + 1), 1, -1):
            for route in self._below.get(b"/".join(parts[:count]), ()):
                if route.fits(method, head):
                    return route
        for route in self._everything:
            if route.fits(method, head):
                return route
        return None


def _by_rank(routes: list[tuple[Rank, Route]]) -> tuple[Route, ...]:
    return tuple(route for _, route in sorted(routes, key=lambda one: one[0], reverse=True))


class Routes:
    """All routes of a frontend.

    :param routes: each with what it was made of.
    :param otherwise: takes the requests that no other route takes; None where they are answered with 404.
    :ivar looks_at_paths: whether the path of a request decides anything; if not, `match` takes any path.
    :ivar routes: all of them, that for all others among them.
    :ivar pools: those that may get any request, or a copy of it.
    :ivar pages: the bodies of their answers, in the order of routes.
    """

    __slots__ = ("_any", "_exact", "_otherwise", "_wild", "looks_at_paths", "pages", "pools", "routes")

    def __init__(
        self, routes: Iterable[tuple[HttpRouteConfig, Route]] = (), otherwise: Route | None = None
    ) -> None:
        by_host: defaultdict[str, list[tuple[PathPattern, Route, Rank]]] = defaultdict(list)
        all_routes = [] if otherwise is None else [otherwise]
        for config, route in routes:
            all_routes.append(route)
            for host in config.hosts or ("",):
                by_host[host] += [(path, route, config.rank) for path in config.paths or (_EVERYTHING,)]
        tables = {host: _Paths(there) for host, there in by_host.items()}
        self._any = tables.pop("", None)
        self._wild: dict[bytes, _Paths] = {}
        self._exact: dict[bytes, _Paths] = {}
        for host, there in tables.items():
            names = self._wild if host.startswith("*") else self._exact
            names[host.removeprefix("*").encode("ascii")] = there
        self._otherwise = otherwise
        self.looks_at_paths = any(there.looks_at_paths for there in self._all())
        self.routes = tuple(all_routes)
        self.pages = tuple(route.answer.page for route in all_routes if route.answer is not None)
        self.pools = tuple(dict.fromkeys(pool for route in all_routes for pool in route.all_pools))

    def _all(self) -> Iterator[_Paths]:
        yield from (*self._exact.values(), *self._wild.values())
        if self._any is not None:
            yield self._any

    def match(self, host: bytes, path: bytes, method: bytes, head: HasFields) -> Route | None:
        """Give the route of a request.

        :param host: without a port, in lower case, an IPv6 address in brackets; empty for none.
        :param path: cleaned, beginning with a slash; ``*`` for that of all.
        :param head: asked only where headers decide.
        :returns: None where no route takes it.
        """
        there = self._exact.get(host)
        if there is not None:
            # Most requests end here.
            found = there.only or there.find(path, method, head)
            if found is not None:
                return found
        for there in self._less_exact(host):
            found = there.only or there.find(path, method, head)
            if found is not None:
                return found
        return self._otherwise

    def _less_exact(self, host: bytes) -> Iterator[_Paths]:
        """Give the routes of the wildcards that a host fits, the longest first, then those of any host."""
        if self._wild:
            dot = host.find(b".", 1)
            while dot >= 0:
                there = self._wild.get(host[dot:])
                if there is not None:
                    yield there
                dot = host.find(b".", dot + 1)
        if self._any is not None:
            yield self._any
