"""What is reported of a ban."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from tcpbalance.admission.banned_networks import is_network
from tcpbalance.admission.clients import IPV6_NETWORK


def client_text(key: bytes) -> str:
    """Word what is banned: an IPv4 address, or a network; see ``clients.group`` and
    ``banned_networks.network_key``."""
    if len(key) == 4:
        return str(IPv4Address(key))
    first, bits = (key[:-1], key[-1]) if is_network(key) else (key, IPV6_NETWORK * 8)
    return str(IPv4Network((first, bits)) if len(first) == 4 else IPv6Network((first.ljust(16, b"\0"), bits)))


def ban_facts(frontend: str, client: bytes, seconds: float) -> dict[str, Any]:
    """Say which client a frontend has banned, and for how long."""
    return {"frontend": frontend, "client": client_text(client), "seconds": round(seconds, 3)}
