"""What is reported of a ban."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from tcpbalance.admission.banned_networks import client_of, is_network
from tcpbalance.admission.clients import IPV6_NETWORK


def client_text(key: bytes) -> str:
    """Word what is banned: an IPv4 address, or a network; see ``clients.group`` and
    ``banned_networks.network_key``."""
    client = client_of(key) if is_network(key) else key
    if client is None:
        network = key[:-1], key[-1]
        return str(IPv4Network(network) if len(key) == 5 else IPv6Network(network))
    if len(client) == 4:
        return str(IPv4Address(client))
    return str(IPv6Network((client.ljust(16, b"\0"), IPV6_NETWORK * 8)))


def ban_facts(frontend: str, client: bytes, seconds: float) -> dict[str, Any]:
    """Say which client a frontend has banned, and for how long."""
    return {"frontend": frontend, "client": client_text(client), "seconds": round(seconds, 3)}
