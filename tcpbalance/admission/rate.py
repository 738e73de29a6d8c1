"""How fast a client may come: the generic cell rate algorithm."""

from __future__ import annotations

import math
from typing import Self

from attrs import frozen

from tcpbalance.admission.answer import Allowance
from tcpbalance.admission.clients import Client
from tcpbalance.config.quantities import Rate

_GRAIN = 2**-22
"""Seconds, a quarter of a microsecond: the resolution of a clock below 2**31, even of the time since 1970.
Intervals are so many of them; then adding many up is off by less than one, and the last of a burst comes in.
"""


@frozen
class ClientRate:
    """The rate at which each client may have connections, or requests.

    This is the generic cell rate algorithm in the form of virtual scheduling: ITU-T I.371 (03/2004), annex
    A.1. In any time it lets through at most the burst and what the rate allows in that time.

    :param interval: seconds from one to the next, when they come as steadily as the rate allows.
    :param tolerance: seconds by which the last one of a burst may come too early.
    """

    interval: float
    tolerance: float

    @classmethod
    def of(cls, rate: Rate, burst: int | None) -> Self:
        """Make it of what the configuration says.

        :param burst: how many may come at once; None for what the rate allows in a second, at least 1.
        """
        interval = math.ceil(1 / (rate.per_second * _GRAIN)) * _GRAIN
        burst = burst or max(1, int(rate.per_second))
        return cls(interval, (burst - 1) * interval + _GRAIN)

    def passes(self, client: Client, now: float) -> bool:
        """Let one more of a client through, if it does not come too early; else nothing changes."""
        due = client.due
        if due - now > self.tolerance:
            return False
        client.due = (due if due > now else now) + self.interval
        return True

    def left(self, client: Client, now: float) -> Allowance:
        """Say how many would pass now, one after the other."""
        late = self._late(client, now)
        burst = 1 + int(self.tolerance / self.interval)
        may = 0 if late > 0 else min(burst, 1 + int(-late / self.interval))
        return Allowance(burst - may, burst)

    def next_in(self, client: Client, now: float) -> float:
        """Give the seconds until one passes; 0 for now."""
        return max(0.0, self._late(client, now))

    def _late(self, client: Client, now: float) -> float:
        return max(client.due, now) - now - self.tolerance
