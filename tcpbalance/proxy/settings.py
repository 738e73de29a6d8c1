"""The bounds on the sessions of a frontend: how long, how many, how fast."""

from __future__ import annotations

import math

from attrs import field, frozen

from tcpbalance import bounds
from tcpbalance.admission.gcra import MINUTE
from tcpbalance.errors import SettingError


@frozen
class FrontendSettings:
    """How long things may last at a frontend, in seconds, how many sessions there may be, and how fast they
    are.

    :param idle_timeout: without a byte either way.
    :param half_close_timeout: without a byte once one side has finished sending, and for the last bytes to
        go out at the end.
    :param max_connection_age: from accepting a client, give or take a tenth; None for no limit.
    :param max_sessions: open at once; beyond it nobody is accepted, and who comes waits in the kernel's
        backlog. None for no limit.
    :param bandwidth_per_connection: bytes a second that are read from either side of a session; None for no
        limit.
    :param min_rate: bytes a second, both directions together, that a session in which anything moves has to
        reach in each minute; None for no such bound.
    :param dry_run: whether these three are only tried: what they would have done is counted, and not done.
    :raises SettingError: for a time that is not above 0 and finite, fewer than one session or byte a second,
        or a rate that has to be reached and cannot.
    """

    idle_timeout: float = 3600.0
    half_close_timeout: float = 30.0
    max_connection_age: float | None = None
    max_sessions: int | None = None
    bandwidth_per_connection: int | None = None
    min_rate: int | None = None
    dry_run: bool = False
    look_every: float = field(init=False, default=math.inf, eq=False, repr=False)
    """How long a session may go without being looked at: half the shorter of the two limits that follow from
    silence, and no more than a quarter of the minute in which ``min_rate`` has to be reached."""

    def __attrs_post_init__(self) -> None:
        for name in ("idle_timeout", "half_close_timeout", "max_connection_age"):
            if getattr(self, name) is not None:
                bounds.above_zero(f"frontend settings: {name}", getattr(self, name))
        for name in ("max_sessions", "bandwidth_per_connection", "min_rate"):
            if getattr(self, name) is not None:
                bounds.count(f"frontend settings: {name}", getattr(self, name), 1)
        bandwidth, min_rate = self.bandwidth_per_connection, self.min_rate
        if bandwidth is not None and min_rate is not None and min_rate >= bandwidth:
            raise SettingError(
                f"frontend settings: min_rate must be less than bandwidth_per_connection, {bandwidth}, got "
                f"{min_rate}"
            )
        quiet = min(self.idle_timeout, self.half_close_timeout) / 2
        look_every = quiet if min_rate is None else min(quiet, MINUTE / 4)
        object.__setattr__(self, "look_every", look_every)  # It is frozen from here on.
