"""What has to hold between the tables of a configuration for `mode = "http"`; see `rules`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, islice
from typing import TypeAlias

from attrs import evolve

from tcpbalance.config.checks import is_given
from tcpbalance.config.destinations import ANYWHERE
from tcpbalance.config.draft import UNREAD, readable, tables
from tcpbalance.config.errors import KeyPath, Mistake, key_text
from tcpbalance.config.frontends import FrontendConfig, pools_of
from tcpbalance.config.http import ForwardedConfig
from tcpbalance.config.messages import value_text
from tcpbalance.config.pools import BY_COOKIE, RESET_BEFORE_ANSWER, PoolConfig
from tcpbalance.config.route_values import PathPattern
from tcpbalance.config.routes import HttpRouteConfig

MAX_PLACES = 100_000
"""Pairs of a host and a path of one frontend, each of which is an entry of a table."""

MAX_ALTERNATIVES = 64
"""Routes for one host and path, which differ by methods and headers: a request may be compared with all."""

MAX_TIES = 20
"""Pairs of routes that are reported; more would hide everything else."""

SENT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "x-forwarded": ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
    "forwarded": ("forwarded",),
    "via": ("via",),
    "x-real-ip": ("x-real-ip",),
    "x-request-id": ("x-request-id",),
}
"""The headers that `forwarded.send` writes, by its words."""

_HTTP_1 = ("http/1.1", "http/1.0")

_Place: TypeAlias = tuple[str | None, str]
_Route: TypeAlias = tuple[KeyPath, HttpRouteConfig]


def broken_for_http(
    frontends: Mapping[str, FrontendConfig], pools: Mapping[str, PoolConfig]
) -> Iterator[Iterator[Mistake]]:
    """Give the rules, each of which yields what breaks it."""
    for path, frontend in tables("frontends", frontends):
        routes = (*path, "routes")
        yield _alpn(path, frontend)
        yield _ranges(path, frontend)
        yield _names(routes, frontend)
        yield _ties(routes, frontend)
        yield _redirects(routes, frontend)
        for place, route in readable(routes, frontend.routes):
            yield _leads_somewhere(place, route, frontend)
            yield _one_cookie_each(place, route, pools)
            yield _takes_copies(place, route, frontend, pools)
            yield _sent_anyway(place, route, frontend)
        yield _without_effect(path, frontend)
        yield _open_proxy(path, frontend)
    yield _pools(frontends, pools)


def mistakes_for_http(frontend: FrontendConfig) -> Iterator[Mistake]:
    """Give what is wrong in a frontend that is in no configuration, with paths from its table on."""
    for rule in broken_for_http({"NAME": frontend}, {}):
        for mistake in rule:
            yield evolve(mistake, path=mistake.path[2:])


def _alpn(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    if frontend.mode == "http" and frontend.tls is not None:
        for place, protocol in readable((*path, "tls", "alpn"), frontend.tls.alpn):
            if protocol not in _HTTP_1:
                yield Mistake(
                    place, f'must be "http/1.1" with mode = "http", got {value_text(protocol)}, leave it out'
                )


def _without_effect(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    limits = frontend.limits
    if limits is None:
        return
    if frontend.mode != "http":
        for key in ("max_requests", "requests_per_client"):
            if is_given(limits, key):
                yield Mistake((*path, "limits", key), 'has no effect without mode = "http"')
    elif is_given(limits, "min_rate"):
        body_min_rate = key_text((*path, "http", "body_min_rate"))
        yield Mistake((*path, "limits", "min_rate"), f'has no effect with mode = "http", use {body_min_rate}')


def _open_proxy(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Find a proxy that would serve the whole internet for the whole internet."""
    connect, access = frontend.connect, frontend.access
    if connect is None or not any(to.name == ANYWHERE for _, to in readable(path, connect.allow)):
        return
    if not (connect.clients or connect.users_file or (access is not None and access.allow)):
        yield Mistake(
            (*path, "connect", "allow"),
            f'cannot have "*" for all clients, add clients or users_file, or allow to '
            f"{key_text((*path, 'access'))}",
        )


def _ranges(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Find the pages of which several are for one status."""
    taken: dict[int, str] = {}
    for status in frontend.error_pages:
        code = next((code for code in status.codes if code in taken), None)
        if code is not None:
            yield Mistake((*path, "error_pages", str(status)), f"{code} is already in {taken[code]}")
        taken.update(dict.fromkeys(status.codes, value_text(str(status))))


def _names(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    taken: dict[str, KeyPath] = {}
    for place, route in readable(path, frontend.routes):
        if route.name is UNREAD or route.name is None:
            continue
        if taken.setdefault(route.name, place) != place:
            yield Mistake(
                (*place, "name"),
                f"{value_text(route.name)} is already that of {key_text(taken[route.name])}, choose another",
            )


def _leads_somewhere(place: KeyPath, route: HttpRouteConfig, frontend: FrontendConfig) -> Iterator[Mistake]:
    ways = (route.pool, route.pools, route.redirect, route.answer, frontend.pool)
    if all(way is None for way in ways):
        yield Mistake(place, "must have pool, pools, redirect or answer where the frontend has no pool")


def _one_cookie_each(
    place: KeyPath, route: HttpRouteConfig, pools: Mapping[str, PoolConfig]
) -> Iterator[Mistake]:
    """Find a cookie of a route that is that of affinity as well: each value would replace the other one."""
    cookie = route.pools_cookie
    if cookie is None or cookie.name is None:
        return
    for name in route.pool_names:
        affinity = None if name not in pools else pools[name].affinity
        if affinity is not None and affinity.cookie is not None and affinity.cookie.name == cookie.name:
            used = key_text(("pools", name, "affinity", "cookie"))
            yield Mistake(
                (*place, "pools_cookie", "name"),
                f"{value_text(str(cookie.name))} is already that of {used}, choose another",
            )


def _takes_copies(
    place: KeyPath, route: HttpRouteConfig, frontend: FrontendConfig, pools: Mapping[str, PoolConfig]
) -> Iterator[Mistake]:
    if route.mirror is None:
        return
    if route.mirror in (route.pools or (route.pool or frontend.pool,)):
        yield Mistake(
            (*place, "mirror"),
            f"{value_text(route.mirror)} serves these requests already, choose another pool",
        )
    mirror = pools.get(route.mirror)
    if mirror is not None and mirror.send_proxy_protocol is not None:
        yield Mistake(
            (*place, "mirror"),
            f"cannot be {value_text(route.mirror)}, a pool with send_proxy_protocol: copies of several "
            "clients share a connection",
        )


def _sent_anyway(place: KeyPath, route: HttpRouteConfig, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Find rules for headers that are written for each request, which would undo one another."""
    rules = route.request_headers
    if rules is None:
        return
    send = (frontend.forwarded or ForwardedConfig()).send
    sent = {name: word for word in send for name in SENT_FIELDS[word]}
    for key in ("set", "remove"):
        for name in getattr(rules, key):
            if word := sent.get(name.lower()):
                yield Mistake(
                    (*place, "request_headers", key),
                    f"cannot have {name}, which {value_text(word)} in forwarded.send writes, leave out one "
                    "of them",
                )


# Ties


def _ties(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Find routes of which a request could take either."""
    routes = list(readable(path, frontend.routes))
    count = sum(max(1, len(route.hosts)) * max(1, len(route.paths)) for _, route in routes)
    if count > MAX_PLACES:
        yield Mistake(
            path,
            f"must have at most {MAX_PLACES} pairs of hosts and paths, got {count}, use wildcards and /*",
        )
        return
    places: defaultdict[_Place, list[_Route]] = defaultdict(list)
    for place, route in routes:
        for at in places_of(route):
            places[at].append((place, route))
    tied = _tied(there for there in places.items() if len(there[1]) <= MAX_ALTERNATIVES)
    for earlier, place, at in islice(tied, MAX_TIES):
        yield Mistake(
            place,
            f"takes the same requests as {key_text(earlier)}, {place_text(at)}: give one of them another "
            "host or path, or more headers or methods",
        )
    for at, there in places.items():
        if len(there) > MAX_ALTERNATIVES:
            yield Mistake(
                there[MAX_ALTERNATIVES][0],
                f"is one of {len(there)} routes for {place_text(at)}, at most {MAX_ALTERNATIVES} may have "
                "the same host and path",
            )


def places_of(route: HttpRouteConfig) -> Iterator[_Place]:
    """Give each pair of a host and a path that a route is for; no host is any, and no path is all below /."""
    for host in route.hosts or (None,):
        for path in route.paths or (PathPattern("/*"),):
            yield host, path


def place_text(at: _Place) -> str:
    """Word such a pair."""
    host, path = at
    return f"{host or 'any host'} and {path}"


def _tied(places: Iterable[tuple[_Place, list[_Route]]]) -> Iterator[tuple[KeyPath, KeyPath, _Place]]:
    """Give each pair of routes of which neither asks more, the earlier first, with a place of both."""
    compared: set[tuple[int, int]] = set()
    for at, there in places:
        # Where each place has one route, there is nothing to compare.
        for (first, one), (second, other) in combinations(there, 2):
            pair = id(one), id(other)
            if pair not in compared:
                compared.add(pair)
                if one is not other and one.rank == other.rank and one.overlaps(other):
                    yield first, second, at


# Redirects


def _redirects(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Find redirects to where they come from, which browsers give up after twenty rounds."""
    index: Mapping[str, set[int]] | None = None
    for number, (place, route) in enumerate(readable(path, frontend.routes)):
        # With methods or headers, the next request may be another one.
        if route.redirect is None or route.methods or route.headers:
            continue
        target = str(route.redirect.to)
        if target.startswith("/"):
            index = index or _index(frontend)
            if _best_for(target, index) == {number}:
                yield Mistake((*place, "redirect", "to"), "leads back to this route, name another path")
        elif mistake := _same_url(target, route, frontend):
            yield Mistake((*place, "redirect", "to"), mistake)


def _same_url(target: str, route: HttpRouteConfig, frontend: FrontendConfig) -> str | None:
    """Say what is wrong with a URL that is that of the request; None where it is another."""
    scheme, port, other = ("http", 80, "https") if frontend.tls is None else ("https", 443, "http")
    origin = target.removesuffix("{path}{query}").removesuffix("{target}")
    listens = any(address.port == port for _, address in readable((), frontend.listen))
    if origin == target or not listens:
        return None
    if origin == f"{scheme}://{{host}}":
        return f"leads back to this frontend, did you mean {value_text(other + target.removeprefix(scheme))}?"
    back = any(origin == f"{scheme}://{host}" for _, host in readable((), route.hosts))
    return "leads back to this route, which takes the same host" if back else None


def _index(frontend: FrontendConfig) -> Mapping[str, set[int]]:
    """Give the routes of each path, by their numbers."""
    index: defaultdict[str, set[int]] = defaultdict(set)
    for number, (_, route) in enumerate(readable((), frontend.routes)):
        for path in route.paths or (PathPattern("/*"),):
            index[path].add(number)
    return index


def _best_for(target: str, index: Mapping[str, set[int]]) -> set[int]:
    """Give the routes that a path may lead to, whatever the host; none for one with a placeholder."""
    path = target.partition("#")[0].removesuffix("{query}").partition("?")[0]
    if "{" in path:
        return set()
    if path in index:
        return index[path]
    while f"{path}/*" not in index and path:
        path = path.rpartition("/")[0]
    return index.get(f"{path}/*", set())


# Pools


def _pools(frontends: Mapping[str, FrontendConfig], pools: Mapping[str, PoolConfig]) -> Iterator[Mistake]:
    modes: defaultdict[str, set[str]] = defaultdict(set)
    for _, frontend in tables("frontends", frontends):
        for name in pools_of(frontend):
            modes[name].add(frontend.mode)
    for path, pool in tables("pools", pools):
        used = modes.get(str(path[-1]), set())
        if used == {"tcp"}:
            yield from _of_requests(path, pool)
        elif used == {"http"}:
            yield from _of_connections(path, pool)


def _of_requests(path: KeyPath, pool: PoolConfig) -> Iterator[Mistake]:
    """Find what makes sense only where a frontend has requests."""
    without = 'without mode = "http" at a frontend of this pool'
    if pool.http is not None:
        yield Mistake((*path, "http"), f"has no effect {without}")
    if pool.outlier is not None and is_given(pool.outlier, "statuses"):
        yield Mistake((*path, "outlier", "statuses"), f"has no effect {without}")
    if pool.affinity is not None and pool.affinity.by == BY_COOKIE:
        yield Mistake((*path, "affinity", "by"), f'must be "source_ip" {without}, got "cookie"')


def _of_connections(path: KeyPath, pool: PoolConfig) -> Iterator[Mistake]:
    """Find what makes sense only where a frontend has connections alone."""
    if pool.rebalance is not None:
        yield Mistake(
            (*path, "rebalance"),
            'has no effect with mode = "http", whose requests are spread anyway',
        )
    if RESET_BEFORE_ANSWER in pool.retry_on:
        yield Mistake(
            (*path, "retry_on"),
            f'"{RESET_BEFORE_ANSWER}" has no effect with mode = "http", use retry_on in '
            f"{key_text((*path, 'http'))}",
        )
