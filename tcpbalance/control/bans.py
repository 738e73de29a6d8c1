"""Bans as the API has them: of clients as admission control knows them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from tcpbalance.admission.banned_networks import MAX_BANNED_NETWORKS, client_of, is_network, network_key
from tcpbalance.admission.clients import IPV6_NETWORK
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.report import client_text
from tcpbalance.config.addresses import IpNetwork, Network
from tcpbalance.config.messages import must_be_one_of
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.finding import check_frontend
from tcpbalance.control.parameters import DEFAULT_LIMIT, check_parameters, read_limit, read_parameter
from tcpbalance.control.timestamps import timestamp
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import packed

Ban: TypeAlias = tuple[str, bytes, float]
"""The frontend, what the client or network is known by there, and the seconds that are left."""

BY_OPERATOR, BY_LIMITS = "operator", "limits"
"""By what something is banned. A client may be banned by both; each ban has its own end."""


@frozen(kw_only=True)
class BansQuery:
    """All that is given must be so of a ban.

    :param frontend: its name.
    :param client: a network that the client is in, or that has something in common with a network that is
        banned.
    :param by: by what it is banned; None for both.
    :param limit: how many are given at most.
    """

    frontend: str | None = None
    client: IpNetwork | None = None
    by: str | None = None
    limit: int = DEFAULT_LIMIT
    _clients: NetworkSet = field(init=False)

    @_clients.default
    def _make_clients(self) -> NetworkSet:
        return NetworkSet([] if self.client is None else [self.client])

    def matches(self, ban: Ban) -> bool:
        """Whether a ban is one of those that are asked for."""
        frontend, client, left = ban
        return (
            left > 0
            and self.frontend in (None, frontend)
            and self.by in (None, by_of(client))
            and (self.client is None or self._has(client))
        )

    def _has(self, key: bytes) -> bool:
        if not is_network(key):
            return _whole(key) in self._clients
        assert self.client is not None
        first = packed(str(self.client.network_address))
        return key[:-1] in self._clients or (
            first is not None and len(first) == len(key) - 1 and _begin(first, key[-1]) == key[:-1]
        )


def read_bans_query(query: Mapping[str, str]) -> BansQuery:
    """Read the parameters of a request.

    :raises ApiError: one is not known, or makes no sense.
    """
    check_parameters(query, ("frontend", "client", "by", "limit"))
    return BansQuery(
        frontend=query.get("frontend"),
        client=read_parameter(query, "client", _network, None),
        by=read_by(query),
        limit=read_parameter(query, "limit", read_limit, DEFAULT_LIMIT),
    )


def read_by(query: Mapping[str, str]) -> str | None:
    """Read by what something is banned that a request is about; None for anything.

    :raises ApiError: it makes no sense.
    """
    return read_parameter(query, "by", _by, None)


def _by(text: str) -> str:
    if text not in (BY_OPERATOR, BY_LIMITS):
        raise SettingError(must_be_one_of(text, (BY_OPERATOR, BY_LIMITS)))
    return text


def by_of(key: bytes) -> str:
    """Say by what something is banned.

    :param key: see `Ban`.
    """
    return BY_OPERATOR if is_network(key) else BY_LIMITS


def list_bans(bans: Iterator[Ban], query: BansQuery, now: float) -> Generator[None, None, dict[str, Any]]:
    """Give the bans that are asked for, and how many there are of them.

    :param bans: all that there are.
    :param now: seconds since the epoch.
    """
    shown: list[dict[str, Any]] = []
    total = 0
    for ban in bans:
        if query.matches(ban):
            total += 1
            if total <= query.limit:
                shown.append(shown_ban(ban, now))
        yield
    return {"bans": shown, "total": total}


def shown_ban(ban: Ban, now: float) -> dict[str, Any]:
    """Give a ban as the API shows it.

    :param now: seconds since the epoch.
    """
    frontend, banned, left = ban
    return {"frontend": frontend, "by": by_of(banned), **shown_end(banned, left, now)}


def shown_end(banned: bytes, left: float, now: float) -> dict[str, Any]:
    """Give what is banned, and the end of that, as the API shows it.

    :param left: seconds until then.
    :param now: seconds since the epoch.
    """
    return {
        "client": client_text(banned),
        "until": timestamp(now + left),
        "seconds": round(left, 3),
    }


def read_banned(value: object) -> bytes:
    """Read which client or network is meant.

    :returns: what it is known by; see ``banned_networks.network_key``.
    :raises SettingError: it is neither.
    """
    network = Network.parse(value).network
    first = packed(str(network.network_address))
    assert first is not None
    # IPv4 in the form of IPv6 is IPv4.
    bits = network.prefixlen - (network.max_prefixlen - 8 * len(first))
    if len(first) == 4:
        return network_key(first, bits)
    bits = min(bits, 8 * IPV6_NETWORK)
    return network_key(_begin(first, bits), bits)


def check_space(frontend: str, networks: int) -> None:
    """See whether an operator may ban one more.

    :param networks: how many others are banned by operators at the frontend.
    :raises ApiError: that is too many.
    """
    if networks >= MAX_BANNED_NETWORKS:
        raise ApiError(
            409,
            "too_many_bans",
            f"frontend {frontend} has {networks} bans by operators: lift some, or use access.deny_file",
        )


def frontends_meant(frontends: Iterable[str], name: str | None) -> list[str]:
    """Give the frontends that a request is about.

    :param frontends: all that there are.
    :param name: of one of them; None for all.
    :raises ApiError: there is no such frontend.
    """
    known = list(frontends)
    if name is None:
        return known
    check_frontend(known, name)
    return [name]


def keys_meant(banned: bytes, by: str | None) -> list[bytes]:
    """Give all that may be banned that a request is about.

    :param banned: see `read_banned`.
    :param by: by what it is banned; None for anything.
    """
    client = client_of(banned)
    by_limits = [] if client is None or by == BY_OPERATOR else [client]
    return by_limits if by == BY_LIMITS else [banned, *by_limits]


def _whole(client: bytes) -> bytes:
    """Give the first address of a client."""
    return client if len(client) == 4 else client + bytes(16 - len(client))


def _begin(first: bytes, bits: int) -> bytes:
    """Give the first address of the network of an address."""
    shift = 8 * len(first) - bits
    return (int.from_bytes(first) >> shift << shift).to_bytes(len(first))


def _network(text: str) -> IpNetwork:
    return _no_smaller_than_a_client(Network.parse(text).network)


def _no_smaller_than_a_client(network: IpNetwork) -> IpNetwork:
    bits = 8 * IPV6_NETWORK
    return network if network.version == 4 or network.prefixlen <= bits else network.supernet(new_prefix=bits)
