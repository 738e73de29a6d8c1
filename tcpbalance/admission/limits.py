"""How much of everything a client may have."""

from __future__ import annotations

import math

from attrs import frozen

from tcpbalance import bounds
from tcpbalance.errors import SettingError

_GRAIN = 2**-22
"""Seconds, a quarter of a microsecond: what a clock below 2**31 can tell apart, be it the time since 1970.
Intervals are so many of them; then adding many up is off by less than one, and the last of a burst comes in.
"""


@frozen(kw_only=True)
class Limits:
    """What holds for each client; None is no limit.

    :param connections_per_client: open at once, at least 1.
    :param connect_rate_per_client: connections a second in the long run, more than 0.
    :param burst_per_client: connections at once after a quiet time, at least 1; None for as many as the rate
        allows in one second. Needs a rate.
    :param ban_after: refusals within the window that turn into a ban, at least 1.
    :param ban_window: seconds, from the first refusal that counts.
    :param ban_for: seconds.
    :raises SettingError: for any other value.
    """

    connections_per_client: int | None = None
    connect_rate_per_client: float | None = None
    burst_per_client: int | None = None
    ban_after: int | None = None
    ban_window: float = 10.0
    ban_for: float = 600.0

    def __attrs_post_init__(self) -> None:
        for name in ("connections_per_client", "burst_per_client", "ban_after"):
            if getattr(self, name) is not None:
                bounds.count(f"limits: {name}", getattr(self, name), 1)
        for name in ("ban_window", "ban_for"):
            bounds.above_zero(f"limits: {name}", getattr(self, name))
        rate = self.connect_rate_per_client
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise SettingError(
                f"limits: connect_rate_per_client must be a finite number a second above 0, got {rate}"
            )
        if rate is None and self.burst_per_client is not None:
            raise SettingError("limits: burst_per_client has no effect without connect_rate_per_client")

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return not (
            self.connections_per_client is None
            and self.connect_rate_per_client is None
            and self.ban_after is None
        )

    @property
    def interval(self) -> float | None:
        """Seconds from one connection to the next, when they come as steadily as the rate allows."""
        rate = self.connect_rate_per_client
        return None if rate is None else math.ceil(1 / (rate * _GRAIN)) * _GRAIN

    @property
    def tolerance(self) -> float:
        """Seconds by which the last connection of a burst may come too early."""
        rate = self.connect_rate_per_client
        if rate is None or self.interval is None:
            return 0.0
        burst = max(1, int(rate)) if self.burst_per_client is None else self.burst_per_client
        return (burst - 1) * self.interval + _GRAIN
