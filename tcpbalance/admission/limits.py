"""The rate of connections that a client may have, in the terms of the generic cell rate algorithm."""

from __future__ import annotations

import math

from tcpbalance.config.admission import LimitsConfig

_GRAIN = 2**-22
"""Seconds, a quarter of a microsecond: the resolution of a clock below 2**31, even of the time since 1970.
Intervals are so many of them; then adding many up is off by less than one, and the last of a burst comes in.
"""


def limits_clients(limits: LimitsConfig) -> bool:
    """Whether there is any limit for a client."""
    each = (limits.connections_per_client, limits.connect_rate_per_client, limits.ban_after)
    return any(limit is not None for limit in each)


def interval(limits: LimitsConfig) -> float | None:
    """Give the seconds from one connection to the next, when they come as steadily as the rate allows."""
    rate = limits.connect_rate_per_client
    return None if rate is None else math.ceil(1 / (rate.per_second * _GRAIN)) * _GRAIN


def tolerance(limits: LimitsConfig) -> float:
    """Give the seconds by which the last connection of a burst may come too early."""
    rate, pause = limits.connect_rate_per_client, interval(limits)
    if rate is None or pause is None:
        return 0.0
    burst = limits.burst_per_client or max(1, int(rate.per_second))
    return (burst - 1) * pause + _GRAIN
