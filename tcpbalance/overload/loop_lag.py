"""How late the event loop of this process comes to what is due: as late as clients are served."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from tcpbalance.reactor import Reactor
from tcpbalance.stats import Durations

LAG_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)
"""Seconds."""

SAMPLED_EVERY = 0.25
"""Seconds."""

WORST_OF = 240
"""Samples after which the worst of them is forgotten, or twice as many: a minute or two."""


class LoopLag:
    """Measures it by one timer, which runs until the process ends.

    :param reactor: whose loop it is.
    :param clock: seconds on a monotonic clock.
    :ivar times: all samples.
    """

    def __init__(self, reactor: Reactor, clock: Callable[[], float] = monotonic) -> None:
        self.times = Durations(LAG_BOUNDS)
        self._reactor = reactor
        self._clock = clock
        self._due = 0.0
        self._count = 0
        self._worst = self._worst_before = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock() + SAMPLED_EVERY
        self._reactor.callLater(SAMPLED_EVERY, self._take_sample)

    def _take_sample(self) -> None:
        late = max(0.0, self._clock() - self._due)
        self.times.note(late)
        self._worst = max(self._worst, late)
        self._count += 1
        if self._count % WORST_OF == 0:
            self._worst_before, self._worst = self._worst, 0.0
        self.start()

    @property
    def worst(self) -> float:
        """Seconds that the worst sample of the last minute was late."""
        return max(self._worst, self._worst_before)
