"""Bans as the API has them: of clients as admission control knows them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from tcpbalance.admission.clients import IPV6_NETWORK, group
from tcpbalance.admission.limits import limits_clients
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.report import client_text
from tcpbalance.config.addresses import IpNetwork, Network
from tcpbalance.config.messages import value_text
from tcpbalance.config.models import Config
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.finding import no_such
from tcpbalance.control.parameters import DEFAULT_LIMIT, check_parameters, read_limit, read_parameter
from tcpbalance.control.timestamps import timestamp
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import packed

Ban: TypeAlias = tuple[str, bytes, float]
"""The frontend, what the client is known by there, and the seconds that are left."""


@frozen(kw_only=True)
class BansQuery:
    """All that is given must be so of a ban.

    :param frontend: its name.
    :param client: networks that the client is in.
    :param limit: how many are given at most.
    """

    frontend: str | None = None
    client: NetworkSet | None = None
    limit: int = DEFAULT_LIMIT

    def matches(self, ban: Ban) -> bool:
        """Whether a ban is one of those that are asked for."""
        frontend, client, left = ban
        return (
            left > 0
            and self.frontend in (None, frontend)
            and (self.client is None or _whole(client) in self.client)
        )


def read_bans_query(query: Mapping[str, str]) -> BansQuery:
    """Read the parameters of a request.

    :raises ApiError: one is not known, or makes no sense.
    """
    check_parameters(query, ("frontend", "client", "limit"))
    return BansQuery(
        frontend=query.get("frontend"),
        client=read_parameter(query, "client", _networks, None),
        limit=read_parameter(query, "limit", read_limit, DEFAULT_LIMIT),
    )


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
    frontend, client, left = ban
    return {
        "frontend": frontend,
        "client": client_text(client),
        "until": timestamp(now + left),
        "seconds": round(left, 3),
    }


def read_client(value: object) -> bytes:
    """Read which client is meant.

    :returns: what it is known by; see ``clients.group``.
    :raises SettingError: it is no client.
    """
    network = Network.parse(value).network
    first = packed(str(network.network_address))
    assert first is not None
    if network.prefixlen < (network.max_prefixlen if len(first) == 4 else 8 * IPV6_NETWORK):
        raise SettingError(
            "must be one client: an IPv4 address, or an IPv6 address, which stands for its /64; a network is "
            f"denied by the frontend's access.deny; got {value_text(value)}"
        )
    return group(first)


def frontends_with_bans(config: Config, name: str | None) -> list[str]:
    """Give the frontends that can ban clients: those with limits on clients, with which bans come.

    :param name: of one of them; None for all.
    :raises ApiError: there is no such frontend, or it cannot.
    """
    able = [
        known
        for known, its in config.frontends.items()
        if its.limits is not None and limits_clients(its.limits) and not its.limits.dry_run
    ]
    if name is None or name in able:
        return able if name is None else [name]
    if name not in config.frontends:
        raise no_such("frontend", name, list(config.frontends))
    raise ApiError(
        409,
        "no_limits",
        f"frontend {name} cannot ban clients: it has no limits on clients that are in force; set "
        "connections_per_client, connect_rate_per_client or ban_after, or use access.deny",
    )


def _whole(client: bytes) -> bytes:
    """Give the first address of a client."""
    return client if len(client) == 4 else client + bytes(16 - len(client))


def _networks(text: str) -> NetworkSet:
    return NetworkSet([_no_smaller_than_a_client(Network.parse(text).network)])


def _no_smaller_than_a_client(network: IpNetwork) -> IpNetwork:
    bits = 8 * IPV6_NETWORK
    return network if network.version == 4 or network.prefixlen <= bits else network.supernet(new_prefix=bits)
