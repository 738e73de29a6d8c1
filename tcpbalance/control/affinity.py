"""Affinity as the API has it: which clients belong to which backends."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Generator, Iterable, Mapping
from ipaddress import ip_address
from math import isinf
from typing import Any

from attrs import field, frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import IpNetwork, Network
from tcpbalance.config.messages import value_text
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.parameters import DEFAULT_LIMIT, check_parameters, read_limit, read_parameter
from tcpbalance.errors import SettingError
from tcpbalance.pool.affinity import Affinity, StickyEntry
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

Place = tuple[str, bytes]
"""Of a client in the list: the name of the pool, and the client as that remembers it."""


@frozen(kw_only=True)
class AffinityQuery:
    """All that is given must be so of a client and what is remembered of it.

    :param pool: the name of the pool.
    :param client: a network that the client is in, or that is a part of the client where that is a network.
    :param backend: the name of a backend that it belongs to.
    :param limit: how many are given at most.
    :param after: the last one of the page before; None for the first page.
    :param parameters: that say all this.
    """

    pool: str | None = None
    client: IpNetwork | None = None
    backend: str | None = None
    limit: int = DEFAULT_LIMIT
    after: Place | None = None
    parameters: Mapping[str, str] = field(factory=dict)


@frozen
class Forgotten:
    """What has come of having clients forgotten.

    :param count: of how many clients something was remembered.
    :param unanswered: the workers that have not answered; those forget as soon as they go on.
    """

    count: int
    unanswered: tuple[int, ...] = ()


def read_affinity_query(query: Mapping[str, str]) -> AffinityQuery:
    """Read the parameters of a request to list.

    :raises ApiError: one is not known, or makes no sense.
    """
    check_parameters(query, ("pool", "client", "backend", "limit", "after"))
    return AffinityQuery(
        pool=query.get("pool"),
        client=read_parameter(query, "client", _network, None),
        backend=query.get("backend"),
        limit=read_parameter(query, "limit", read_limit, DEFAULT_LIMIT),
        after=read_parameter(query, "after", _after, None),
        parameters=query,
    )


def read_what_to_forget(query: Mapping[str, str]) -> AffinityQuery:
    """Read the parameters of a request to forget.

    :raises ApiError: one is not known, or makes no sense, or there is none.
    """
    check_parameters(query, ("pool", "client", "backend"))
    if not query:
        raise ApiError(400, "missing_parameter", "what is to be forgotten: give pool, client or backend")
    return read_affinity_query(query)


def list_affinity(pools: Iterable[Pool], query: AffinityQuery) -> Generator[None, None, dict[str, Any]]:
    """Give a page of the clients that are remembered."""
    first: list[Place] = []
    known: dict[str, tuple[Pool, Affinity]] = {}
    for pool, affinity in _asked(pools, query):
        known[pool.name] = pool, affinity
        is_meant, now = _clients(affinity.config, query), pool.clock()
        for client in affinity.clients_in_any_order():
            yield
            place = pool.name, client
            if query.after is not None and place <= query.after:
                continue
            if len(first) > query.limit and place > first[-1]:
                continue
            if is_meant(client) and any(_matches(entry, query, now) for entry in affinity.entries(client)):
                insort(first, place)
                del first[query.limit + 1 :]
    page = first[: query.limit]
    shown = []
    for name, client in page:
        yield
        pool, affinity = known[name]
        entries = [entry for entry in affinity.entries(client) if entry.lasts(pool.clock())]
        if entries:
            shown.append(_shown(name, client, entries, affinity.config, pool.clock()))
    return {"affinity": shown, "next": _place_text(page[-1]) if len(first) > query.limit else None}


def forget_affinity(pools: Iterable[Pool], query: AffinityQuery) -> Generator[None, None, int]:
    """Forget what is remembered of clients; those that are connected stay so.

    :returns: of how many.
    """
    count = 0
    for pool, affinity in list(_asked(pools, query)):
        backends: set[Backend] = {
            backend for backend in pool.backends if query.backend in (None, backend.name)
        }
        count += yield from affinity.forget(backends, _clients(affinity.config, query))
    return count


def _asked(pools: Iterable[Pool], query: AffinityQuery) -> Iterable[tuple[Pool, Affinity]]:
    for pool in pools:
        if pool.affinity is not None and query.pool in (None, pool.name):
            yield pool, pool.affinity


def _matches(entry: StickyEntry, query: AffinityQuery, now: float) -> bool:
    return entry.lasts(now) and query.backend in (None, entry.backend.name)


def _clients(config: AffinityConfig, query: AffinityQuery) -> Callable[[bytes], bool]:
    """Give what says whether a client is meant."""
    network = query.client
    if network is None:
        return lambda _: True
    bits = config.ipv4_prefix if network.version == 4 else config.ipv6_prefix
    meant = NetworkSet([network if network.prefixlen <= bits else network.supernet(new_prefix=bits)])
    return meant.__contains__


def _shown(
    pool: str, client: bytes, entries: list[StickyEntry], config: AffinityConfig, now: float
) -> dict[str, Any]:
    sticky, *fallback = (_shown_entry(entry, now) for entry in entries)
    return {
        "pool": pool,
        "client": _client_text(client, config),
        **sticky,
        "fallback": fallback[0] if fallback else None,
    }


def _shown_entry(entry: StickyEntry, now: float) -> dict[str, Any]:
    is_connected = entry.open > 0 or isinf(entry.expires)
    return {
        "backend": entry.backend.name,
        "connected": is_connected,
        "seconds": None if is_connected else round(entry.expires - now, 3),
    }


def _client_text(client: bytes, config: AffinityConfig) -> str:
    bits = config.ipv4_prefix if len(client) == 4 else config.ipv6_prefix
    text = str(ip_address(client))
    return text if bits == 8 * len(client) else f"{text}/{bits}"


def _network(text: str) -> IpNetwork:
    return Network.parse(text).network


def _place_text(place: Place) -> str:
    return f"{place[1].hex()}:{place[0]}"


def _after(text: str) -> Place:
    client, colon, pool = text.partition(":")
    try:
        packed = bytes.fromhex(client)
    except ValueError:
        packed = b""
    if not colon or len(packed) not in (4, 16):
        raise SettingError(f'must be what "next" of the page before says, got {value_text(text)}')
    return pool, packed
