"""What has to hold between the tables of a configuration.

The rules look at facts, which can be gathered from the models as well as from a document in which other
things are still wrong, so that a broken rule is reported together with every other mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv6Address

from attrs import frozen

from tcpbalance.config.addresses import Address
from tcpbalance.config.checks import is_name, not_a_name
from tcpbalance.config.errors import KeyPath, Mistake, key_text
from tcpbalance.config.messages import choices, guess, shown

SOURCE_HASH = "source_hash"
"""The policy that ``bounded_load`` belongs to; the others look at load themselves, or are blind by choice.
And the one that ``slow_start`` would spoil: it has to send each client to the same backend at any time."""

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # recognised here, not listened on
_ANY = "any address"

_OF_UNIX_SOCKETS = ("listen_mode", "listen_user", "listen_group")
_LISTS = ("allow", "deny", "deny_file")
_WATCHED = ("memory", "descriptors")
_OF_DNS = ("servers", "timeout")
_PER_CLIENT = ("connections_per_client", "connect_rate_per_client")
_BANDWIDTHS = ("bandwidth_per_connection", "min_rate")


@frozen
class RouteFacts:
    """A route by server name, as far as it can be read.

    :param path: where it stands.
    :param names: its patterns, as they are compared.
    :param pool: the name of its pool, None when it cannot be read.
    """

    path: KeyPath
    names: tuple[str, ...]
    pool: str | None


@frozen
class FrontendFacts:
    """A frontend, as far as it can be read.

    :param path: where it stands.
    :param listens: its addresses, each with where it stands.
    :param pool: the name of its pool, None when it has none or that cannot be read.
    :param routes: to other pools.
    :param served: whether it says who serves its clients.
    :param tls: the keys of its TLS table, None without one.
    :param access: those keys of its access lists that say anything.
    :param limits: those keys of its limits that say anything.
    :param keys: its own keys that say anything.
    """

    path: KeyPath
    listens: tuple[tuple[KeyPath, Address], ...]
    pool: str | None = None
    routes: tuple[RouteFacts, ...] = ()
    served: bool = True
    tls: Collection[str] | None = None
    access: Collection[str] = ()
    limits: Collection[str] = ()
    keys: Collection[str] = ()


@frozen
class BackendFacts:
    """A backend, as far as it can be read; what cannot be is None."""

    path: KeyPath
    name: str | None
    address: Address | None
    backup: bool = False
    has_server_name: bool = False
    has_limit: bool = False


@frozen
class PoolFacts:
    """A pool, as far as it can be read.

    :param path: where it stands.
    :param tls: the keys of its TLS table, None without one.
    :param verified: whether the certificates of its backends are.
    :param keys: its own keys that say anything.
    :param balance: its policy, None when that cannot be read.
    :param sends_v2: whether its backends get PROXY headers of version 2.
    """

    path: KeyPath
    backends: tuple[BackendFacts, ...]
    tls: Collection[str] | None = None
    verified: bool = True
    keys: Collection[str] = ()
    balance: str | None = None
    sends_v2: bool = False


@frozen
class Facts:
    """A configuration, as far as it can be read.

    :param overload: the keys of its overload table, None without one.
    :param resolver: the keys of its resolver table.
    :param system_names: whether the system looks names up.
    """

    frontends: tuple[FrontendFacts, ...]
    pools: tuple[PoolFacts, ...]
    overload: Collection[str] | None = None
    resolver: Collection[str] = ()
    system_names: bool = False


def broken(facts: Facts) -> Iterator[Mistake]:
    """Yield each rule that is broken, at the key that breaks it."""
    if not facts.frontends:
        yield Mistake(("frontends",), "must have at least one frontend, such as [frontends.web]")
    for path in [frontend.path for frontend in facts.frontends] + [pool.path for pool in facts.pools]:
        yield from _unreadable_name(path)
    if facts.overload is not None and not facts.overload:
        yield Mistake(("overload",), f"has no effect without {choices(_WATCHED)}")
    for key in _OF_DNS:
        if facts.system_names and key in facts.resolver:
            yield Mistake(("resolver", key), 'has no effect with engine = "system", leave out one of them')
    yield from _missing_pools(facts)
    yield from _listens(facts)
    for frontend in facts.frontends:
        yield from _routed_twice(frontend)
        yield from _ended_tls(frontend)
        yield from _admission(frontend)
        yield from _socket_file(frontend)
    for pool in facts.pools:
        yield from _pool(pool)


def _unreadable_name(path: KeyPath) -> Iterator[Mistake]:
    name = str(path[-1])
    if not is_name(name):
        yield Mistake(path, not_a_name(name))


def _missing_pools(facts: Facts) -> Iterator[Mistake]:
    names = [str(pool.path[-1]) for pool in facts.pools]
    for frontend in facts.frontends:
        if not frontend.served:
            yield Mistake((*frontend.path, "pool"), 'is required, such as pool = "db"')
        wanted = [(frontend.path, frontend.pool), *((route.path, route.pool) for route in frontend.routes)]
        for path, pool in wanted:
            if pool is not None and pool not in names:
                mend = guess(pool, names, "the pools are") if names else "add its table [pools.NAME]"
                yield Mistake((*path, "pool"), f"no pool is named {shown(pool)}, {mend}")


def _routed_twice(frontend: FrontendFacts) -> Iterator[Mistake]:
    taken: dict[str, KeyPath] = {}
    for route in frontend.routes:
        for name in route.names:
            if name in taken:
                yield Mistake(
                    (*route.path, "names"), f"{shown(name)} stands already in {key_text(taken[name])}"
                )
            taken.setdefault(name, (*route.path, "names"))


def _ended_tls(frontend: FrontendFacts) -> Iterator[Mistake]:
    if frontend.tls is None:
        return
    if frontend.routes:
        yield Mistake(
            (*frontend.path, "sni_routes"),
            "not together with tls: either TLS ends here or it is passed through, so leave out one of them",
        )
    if "client_crl" in frontend.tls and "client_ca" not in frontend.tls:
        yield Mistake(
            (*frontend.path, "tls", "client_crl"),
            "has no effect without client_ca, which makes clients show a certificate",
        )


def _admission(frontend: FrontendFacts) -> Iterator[Mistake]:
    access, limits = (*frontend.path, "access"), (*frontend.path, "limits")
    listed = any(key in frontend.access for key in _LISTS)
    if "dry_run" in frontend.access and not listed:
        yield Mistake((*access, "dry_run"), f"has no effect without {choices(_LISTS)}")
    for key, needed in (
        ("burst_per_client", ("connect_rate_per_client",)),
        ("ban_window", ("ban_after",)),
        ("ban_for", ("ban_after",)),
        ("dry_run", ("connections", *_PER_CLIENT, "ban_after", *_BANDWIDTHS)),
    ):
        if key in frontend.limits and not any(other in frontend.limits for other in needed):
            yield Mistake((*limits, key), f"has no effect without {choices(needed)}")
    refuses = listed or any(key in frontend.limits for key in _PER_CLIENT)
    if "ban_after" in frontend.limits and not refuses:
        yield Mistake(
            (*limits, "ban_after"),
            f"has no effect where nobody is refused, add {choices(_PER_CLIENT)}, or lists to "
            f"{key_text(access)}",
        )


def _socket_file(frontend: FrontendFacts) -> Iterator[Mistake]:
    if not frontend.listens or any(address.is_unix for _, address in frontend.listens):
        return
    for key in _OF_UNIX_SOCKETS:
        if key in frontend.keys:
            yield Mistake((*frontend.path, key), "has no effect without a unix socket in listen")


def _listens(facts: Facts) -> Iterator[Mistake]:
    taken: dict[tuple[object, ...], KeyPath] = {}
    for path, address in (listen for frontend in facts.frontends for listen in frontend.listens):
        mapped = IPv6Address(address.host).ipv4_mapped if address.is_numeric and _family(address) else None
        if mapped is not None:
            yield Mistake(
                path,
                f"{address} is an IPv4 address in the form of IPv6, on which the system does not listen, "
                f"write {mapped}:{address.port}",
            )
        rival = next((taken[place] for place in _shut_by(address) if place in taken), None)
        if rival is not None:
            yield Mistake(path, f"{address} is taken by {key_text(rival)}, choose another address or port")
        for place in _takes(address):
            taken.setdefault(place, path)


def _takes(address: Address) -> list[tuple[object, ...]]:
    """Give the places that an address takes; port 0 takes none, because the system finds a free port."""
    if address.is_unix:
        return [("unix", address.path)]
    if address.port == 0:
        return []
    return [(address.host, address.port), (_family(address), _ANY, address.port)]


def _shut_by(address: Address) -> list[tuple[object, ...]]:
    """Give the places of which none may be taken.

    On one port, the system refuses an address beside all addresses of its family. The families do not meet:
    an IPv6 listener takes no IPv4.
    """
    if address.is_unix:
        return [("unix", address.path)]
    if address.host in _WILDCARDS:
        return [(_family(address), _ANY, address.port)]
    return [(address.host, address.port), (_WILDCARDS[_family(address)], address.port)]


def _family(address: Address) -> int:
    """Give the index of the address's family in `_WILDCARDS`."""
    return int(":" in (address.host or ""))


def _pool(pool: PoolFacts) -> Iterator[Mistake]:
    if pool.backends and all(backend.backup for backend in pool.backends):
        yield Mistake((*pool.path, "backends"), "must have at least one backend without backup = true")
    yield from _doubles(pool)
    yield from _spoken_tls(pool)
    yield from _queue(pool)
    yield from _without_effect(pool)


def _queue(pool: PoolFacts) -> Iterator[Mistake]:
    if "queue_timeout" in pool.keys and "queue" not in pool.keys:
        yield Mistake((*pool.path, "queue_timeout"), "has no effect without queue")
    if "queue" in pool.keys and pool.backends and not any(backend.has_limit for backend in pool.backends):
        yield Mistake((*pool.path, "queue"), "has no effect without max_connections at a backend")


def _without_effect(pool: PoolFacts) -> Iterator[Mistake]:
    by_hash = pool.balance == SOURCE_HASH
    if "bounded_load" in pool.keys and not by_hash and pool.balance is not None:
        yield Mistake(
            (*pool.path, "bounded_load"),
            f"has no effect with balance = {shown(pool.balance)}, only with {shown(SOURCE_HASH)}",
        )
    if "slow_start" in pool.keys and by_hash:
        yield Mistake(
            (*pool.path, "slow_start"),
            f"has no effect with balance = {shown(SOURCE_HASH)}, leave out one of them",
        )
    if "pass_tlvs" in pool.keys and not pool.sends_v2:
        yield Mistake((*pool.path, "pass_tlvs"), 'has no effect without send_proxy_protocol = "v2"')


def _spoken_tls(pool: PoolFacts) -> Iterator[Mistake]:
    for key in ("ca", "crl"):
        if pool.tls is not None and not pool.verified and key in pool.tls:
            yield Mistake(
                (*pool.path, "tls", key), "has no effect with verify = false, leave out one of them"
            )
    for backend in pool.backends:
        if pool.tls is None and backend.has_server_name:
            yield Mistake(
                (*backend.path, "server_name"),
                f"has no effect without TLS, add the table [{key_text((*pool.path, 'tls'))}]",
            )
        if _is_nameless(backend, pool):
            yield Mistake(
                backend.path,
                "is a unix socket, which has no host that its certificate could be for, add server_name to "
                f"it or to {key_text((*pool.path, 'tls'))}",
            )


def _is_nameless(backend: BackendFacts, pool: PoolFacts) -> bool:
    """Tell whether its certificate would have to be verified with nothing to verify it by."""
    verified = pool.tls is not None and pool.verified and "server_name" not in pool.tls
    on_unix = backend.address is not None and backend.address.is_unix
    return verified and on_unix and not backend.has_server_name


def _doubles(pool: PoolFacts) -> Iterator[Mistake]:
    addresses: dict[Address, KeyPath] = {}
    names: dict[str, KeyPath] = {}
    for backend in pool.backends:
        address, name = backend.address, backend.name
        if address is not None and addresses.setdefault(address, backend.path) != backend.path:
            yield Mistake(backend.path, f"{address} is already the address of {key_text(addresses[address])}")
        elif name is not None and names.setdefault(name, backend.path) != backend.path:
            yield Mistake(
                backend.path,
                f"the name {shown(name)} is already that of {key_text(names[name])}, choose another",
            )
