"""What the limits on the connections of a client come to."""

from __future__ import annotations

from tcpbalance.admission.rate import ClientRate
from tcpbalance.config.admission import LimitsConfig


def limits_clients(limits: LimitsConfig) -> bool:
    """Whether there is any limit for the connections of a client."""
    each = (limits.connections_per_client, limits.connect_rate_per_client, limits.ban_after)
    return any(limit is not None for limit in each)


def connect_rate(limits: LimitsConfig) -> ClientRate | None:
    """Give the rate of connections that each client may have; None for any."""
    rate = limits.connect_rate_per_client
    return None if rate is None else ClientRate.of(rate, limits.burst_per_client)
