"""What has to hold between the tables of a configuration; what one table alone has to keep, its class says.

The rules look at the models, or at drafts of them, where other things are wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from tcpbalance.config import http_rules
from tcpbalance.config.addresses import Address
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.checks import is_given, mistake_in_name
from tcpbalance.config.counted import MAX_COUNTED, counted
from tcpbalance.config.draft import UNREAD, CannotTell, readable, tables
from tcpbalance.config.errors import KeyPath, Mistake, key_text
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.log import AccessLogConfig
from tcpbalance.config.loops import WILDCARDS, inlets, loops, outlets, ports_of
from tcpbalance.config.messages import choices, guess, value_text
from tcpbalance.config.paths import straight
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.quantities import Duration

_WILDCARDS = tuple(WILDCARDS)
_ANYWHERE = "any address"

_LISTS = ("allow", "deny", "deny_file")
_PER_CLIENT = ("connections_per_client", "connect_rate_per_client")

Frontends = Mapping[str, FrontendConfig]
Pools = Mapping[str, PoolConfig]


def broken(
    frontends: Frontends,
    pools: Pools,
    workers: int,
    access_log: AccessLogConfig | None,
    admin: AdminConfig | None,
) -> Iterator[Mistake]:
    """Yield each rule that is broken, at the key that breaks it."""
    for rule in _rules(frontends, pools, workers, access_log, admin):
        # What a rule needs may be wrong itself, which has been said.
        with contextlib.suppress(CannotTell):
            yield from rule


def _rules(
    frontends: Frontends,
    pools: Pools,
    workers: int,
    access_log: AccessLogConfig | None,
    admin: AdminConfig | None,
) -> Iterator[Iterator[Mistake]]:
    yield _any_frontend(frontends)
    yield _names("frontends", frontends)
    yield _names("pools", pools)
    yield _listens(frontends, admin)
    for path, frontend in tables("frontends", frontends):
        yield _pool_is_there((*path, "pool"), frontend.pool, pools)
        for place, route in readable((*path, "sni_routes"), frontend.sni_routes):
            yield _pool_is_there((*place, "pool"), route.pool, pools)
        for place, http_route in readable((*path, "routes"), frontend.routes):
            yield _pool_is_there((*place, "pool"), http_route.pool, pools)
            yield _pools_are_there((*place, "pools"), http_route.pools, pools)
            yield _pool_is_there((*place, "mirror"), http_route.mirror, pools)
        yield _routed_twice(path, frontend)
        yield _bans(path, frontend)
    for path, pool in tables("pools", pools):
        yield _doubles(path, pool)
        yield from _server_names(path, pool)
    yield from http_rules.broken_for_http(frontends, pools)
    yield _state_files(pools)
    yield _idle_for(frontends, pools)
    yield _loops(frontends, pools)
    yield _counted_together(frontends, pools, workers)
    yield _log_of_requests(frontends, access_log)


def _log_of_requests(frontends: Frontends, access_log: AccessLogConfig | None) -> Iterator[Mistake]:
    if access_log is None or access_log.format != "combined":
        return
    if all(frontend.mode == "tcp" for _, frontend in tables("frontends", frontends)):
        yield Mistake(
            ("access_log", "format"),
            'must be "text" or "json" where no frontend has mode = "http": "combined" has lines for requests '
            "alone",
        )


def _counted_together(frontends: Frontends, pools: Pools, workers: int) -> Iterator[Mistake]:
    if workers > 1 and (count := len(counted(frontends, pools))) > MAX_COUNTED:
        yield Mistake(
            ("workers",),
            f"must be 1 where more than {MAX_COUNTED} backends, queues and frontends have a limit or a load "
            f"that all workers count together, got {workers} with {count} of them",
        )


def _loops(frontends: Frontends, pools: Pools) -> Iterator[Mistake]:
    listeners = list(inlets(frontends))
    yield from loops(listeners, outlets(pools, ports_of(listeners)))


def _any_frontend(frontends: Frontends) -> Iterator[Mistake]:
    if not frontends:
        yield Mistake(("frontends",), "must have at least one frontend, such as [frontends.web]")


def _names(section: str, named: Mapping[str, object]) -> Iterator[Mistake]:
    for name in named:
        if mistake := mistake_in_name(name):
            yield Mistake((section, name), mistake)


def _pool_is_there(path: KeyPath, pool: str | None, pools: Pools) -> Iterator[Mistake]:
    if pool is not None and pool not in pools:
        fix = guess(pool, list(pools), "the pools are") if pools else "add its table [pools.NAME]"
        yield Mistake(path, f"no pool is named {value_text(pool)}, {fix}")


def _pools_are_there(path: KeyPath, names: Iterable[str] | None, pools: Pools) -> Iterator[Mistake]:
    for name in names or ():
        yield from _pool_is_there((*path, name), name, pools)


def _routed_twice(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    taken: dict[str, KeyPath] = {}
    for place, route in readable((*path, "sni_routes"), frontend.sni_routes):
        for _, name in readable(place, route.names):
            if name in taken:
                yield Mistake(
                    (*place, "names"), f"{value_text(name)} stands already in {key_text(taken[name])}"
                )
            taken.setdefault(name, (*place, "names"))


def _bans(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    limits, access = frontend.limits, frontend.access
    if limits is None or limits.ban_after is None:
        return
    listed = access is not None and any(is_given(access, key) for key in _LISTS)
    has_passwords = frontend.connect is not None and frontend.connect.users_file is not None
    if not listed and not has_passwords and not any(is_given(limits, key) for key in _PER_CLIENT):
        yield Mistake(
            (*path, "limits", "ban_after"),
            f"has no effect where no client is refused, add {choices(_PER_CLIENT)}, or lists to "
            f"{key_text((*path, 'access'))}",
        )


def _listens(frontends: Frontends, admin: AdminConfig | None) -> Iterator[Mistake]:
    taken: dict[tuple[object, ...], KeyPath] = {}
    for table, frontend in tables("frontends", frontends):
        listen = (*table, "listen")
        for path, address in readable(listen, frontend.listen):
            mapped = _mapped(address)
            if mapped is not None:
                yield Mistake(
                    path,
                    f"{address} is an IPv4 address in the form of IPv6, on which the system does not listen, "
                    f"write {mapped}:{address.port}",
                )
            yield from _taken(path, address, taken)
            for place in _takes(address):
                taken.setdefault(place, listen)
    if admin is not None and not admin.listen.is_endpoint:
        yield from _taken(("admin", "listen"), admin.listen, taken)


def _taken(path: KeyPath, address: Address, taken: Mapping[tuple[object, ...], KeyPath]) -> Iterator[Mistake]:
    rival = next((taken[place] for place in _shut_by(address) if place in taken), None)
    if rival is not None:
        yield Mistake(path, f"{address} is taken by {key_text(rival)}, choose another address or port")


def _mapped(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that is written in the form of IPv6."""
    return IPv6Address(address.host).ipv4_mapped if address.is_numeric and _family(address) else None


def _takes(address: Address) -> list[tuple[object, ...]]:
    """Give the places that an address takes; port 0 takes none, because the system finds a free port."""
    if address.is_unix:
        return [("unix", address.path)]
    if address.port == 0:
        return []
    return [(address.host, address.port), (_family(address), _ANYWHERE, address.port)]


def _shut_by(address: Address) -> list[tuple[object, ...]]:
    """Give the places of which none may be taken.

    On one port, the system refuses an address beside all addresses of its family. The families do not meet:
    an IPv6 listener takes no IPv4.
    """
    if address.is_unix:
        return [("unix", address.path)]
    if address.host in _WILDCARDS:
        return [(_family(address), _ANYWHERE, address.port)]
    return [(address.host, address.port), (_WILDCARDS[_family(address)], address.port)]


def _family(address: Address) -> int:
    """Give the index of the address's family in `_WILDCARDS`."""
    return int(":" in (address.host or ""))


def _server_names(path: KeyPath, pool: PoolConfig) -> Iterator[Iterator[Mistake]]:
    for place, backend in readable((*path, "backends"), pool.backends):
        # In most pools no backend has any; there may be thousands.
        if pool.tls is not None or backend.server_name is not None:
            yield _server_name(place, backend, path, pool)


def _server_name(
    path: KeyPath, backend: BackendConfig, pool_path: KeyPath, pool: PoolConfig
) -> Iterator[Mistake]:
    tls = (*pool_path, "tls")
    if pool.tls is None:
        if backend.server_name is not None:
            yield Mistake(
                (*path, "server_name"), f"has no effect without TLS, add the table [{key_text(tls)}]"
            )
    elif (
        # Its certificate would have to be verified with nothing to verify it by.
        backend.server_name is None
        and pool.tls.server_name is None
        and pool.tls.verify
        and backend.address.is_unix
    ):
        yield Mistake(
            path,
            "is a unix socket, which has no host that its certificate could be for, add server_name to "
            f"it or to {key_text(tls)}",
        )


def _state_files(pools: Pools) -> Iterator[Mistake]:
    taken: dict[str, KeyPath] = {}
    for table, pool in tables("pools", pools):
        with contextlib.suppress(CannotTell):
            if pool.affinity is None or pool.affinity.state_file is None:
                continue
            file, path = straight(pool.affinity.state_file), (*table, "affinity", "state_file")
            if taken.setdefault(file, path) != path:
                yield Mistake(path, f"{file} is already {key_text(taken[file])}, choose another file")


def _idle_for(frontends: Frontends, pools: Pools) -> Iterator[Mistake]:
    rebalanced = {
        path[1]: ((*path, "rebalance", "idle_for"), pool.rebalance.idle_for)
        for path, pool in tables("pools", pools)
        if pool.rebalance is not None
    }
    longest: dict[str, Duration] = {}
    for inlet in inlets(frontends) if rebalanced else ():
        timeout = frontends[str(inlet.path[1])].idle_timeout
        for name in inlet.pools & rebalanced.keys():
            longest[name] = max(timeout, longest.get(name, timeout))
    for name, timeout in longest.items():
        path, idle_for = rebalanced[name]
        if idle_for >= timeout:
            yield Mistake(
                path, f"must be shorter than the idle_timeout of its frontends, {timeout}, got {idle_for}"
            )


def _doubles(path: KeyPath, pool: PoolConfig) -> Iterator[Mistake]:
    if _are_distinct(pool):
        return
    addresses: dict[Address, KeyPath] = {}
    names: dict[str, KeyPath] = {}
    for place, backend in readable((*path, "backends"), pool.backends):
        address, name = backend.address, backend.name
        if address is not UNREAD and addresses.setdefault(address, place) != place:
            yield Mistake(place, f"{address} is already the address of {key_text(addresses[address])}")
        elif name is not UNREAD and names.setdefault(name, place) != place:
            yield Mistake(
                place,
                f"the name {value_text(name)} is already that of {key_text(names[name])}, choose another",
            )


def _are_distinct(pool: PoolConfig) -> bool:
    """Whether no two backends have a name or address in common, which is found quickly."""
    try:
        names = {backend.name for backend in pool.backends}
        addresses = {backend.address for backend in pool.backends}
        return len(names) == len(addresses) == len(pool.backends)
    except CannotTell:
        return False
