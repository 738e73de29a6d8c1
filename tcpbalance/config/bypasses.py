"""Routes with `access` past which the same pages can be reached: a client chooses the host it asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TypeAlias

from tcpbalance.config.draft import tables
from tcpbalance.config.errors import KeyPath, Mistake, Severity, key_text
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http_rules import places_of
from tcpbalance.config.route_values import PathPattern
from tcpbalance.config.routes import HttpRouteConfig

MAX_BYPASSES = 20
"""Routes of a frontend that are reported; more would hide everything else."""

_OpenRoutes: TypeAlias = dict[tuple[str, str], list[tuple[int, str | None]]]


def bypasses(frontends: Mapping[str, FrontendConfig]) -> Iterator[Mistake]:
    """Warn of each route with `access` and `paths` whose paths another route, or the pool of the frontend,
    takes to the same backends without `access`.

    A longer path without `access` is an exception that the operator has made. So is a route to other
    backends.
    """
    for path, frontend in tables("frontends", frontends):
        if any(route.access is not None for route in frontend.routes):
            yield from islice(_of_frontend(path, frontend), MAX_BYPASSES)


def _of_frontend(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    open_routes, takes_all = _open_routes(frontend), set(_taken_whole(frontend))
    for number, route in enumerate(frontend.routes):
        if route.access is None:
            continue
        pools = _pools(route, frontend)
        for pattern in route.paths:
            found = _way_past(pattern, pools, frontend.pool, open_routes, takes_all)
            if found is not None:
                yield _warning(path, number, pattern, *found)
                break


def _open_routes(frontend: FrontendConfig) -> _OpenRoutes:
    """Give the numbers and hosts of the routes without `access`, by pool and path."""
    found: _OpenRoutes = defaultdict(list)
    for number, route in enumerate(frontend.routes):
        if route.access is None:
            pools = _pools(route, frontend)
            for host, pattern in places_of(route):
                for pool in pools:
                    found[pool, pattern].append((number, host))
    return found


def _taken_whole(frontend: FrontendConfig) -> Iterator[tuple[str | None, str]]:
    """Give each host and path of which a route takes all requests, whatever their methods and headers."""
    for route in frontend.routes:
        if not route.methods and not route.headers:
            yield from places_of(route)


def _way_past(
    pattern: PathPattern,
    pools: set[str],
    default: str | None,
    open_routes: _OpenRoutes,
    takes_all: set[tuple[str | None, str]],
) -> tuple[int | None, str | None] | None:
    """Give the number of a route that takes a path past another one, and the host of it; None where there is
    none.

    :returns: no number for the pool of the frontend; no host for any.
    """
    chain = list(_from_longest(pattern))
    for depth, above in enumerate(chain):
        for pool in sorted(pools):
            for number, host in open_routes.get((pool, above), ()):
                # Where a longer path of the same host takes all requests, none comes here.
                if not any((host, longer) in takes_all for longer in chain[:depth]):
                    return number, host
    if default in pools and not any((None, above) in takes_all for above in chain):
        return None, None
    return None


def _from_longest(pattern: PathPattern) -> Iterator[str]:
    """Give the patterns that stand for all that one does, in the order in which they are looked at."""
    base = pattern.base
    if not pattern.is_prefix:
        yield pattern
    while base:
        yield f"{base}/*"
        base = base.rpartition("/")[0]
    yield "/*"


def _pools(route: HttpRouteConfig, frontend: FrontendConfig) -> set[str]:
    """Give the pools that serve the requests of a route."""
    if route.redirect is not None or route.answer is not None:
        return set()
    names = route.pools or (route.pool or frontend.pool,)
    return {name for name in names if name is not None}


def _warning(path: KeyPath, number: int, pattern: PathPattern, by: int | None, host: str | None) -> Mistake:
    if by is None:
        way = f"the pool of {key_text(path)}, which takes all that no route takes"
        fix = "leave out hosts, methods and headers here, or leave out the pool of the frontend"
    else:
        way = f"{key_text((*path, 'routes', by))}, which takes {pattern} of {host or 'any host'}"
        fix = "add access there, or a route with access for this host and path"
    return Mistake(
        (*path, "routes", number, "access"),
        f"does not protect {pattern}: the same backends are reached without access by {way}; {fix}",
        Severity.WARNING,
    )
