"""What is reported of a ban."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network
from typing import Any

from tcpbalance.admission.clients import IPV6_NETWORK


def client_text(client: bytes) -> str:
    """Word what a client is known by: an IPv4 address, or a network of IPv6; see ``clients.group``."""
    if len(client) == 4:
        return str(IPv4Address(client))
    return str(IPv6Network((client.ljust(16, b"\0"), IPV6_NETWORK * 8)))


def ban_facts(frontend: str, client: bytes, seconds: float) -> dict[str, Any]:
    """Say which client a frontend has banned, and for how long."""
    return {"frontend": frontend, "client": client_text(client), "seconds": round(seconds, 3)}
