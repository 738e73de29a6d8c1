"""How long a backend takes lately: an average that follows peaks at once and falls slowly."""

from __future__ import annotations

from math import exp

TAU = 10.0
"""Seconds in which an old observation loses 63 % of its weight; as in Finagle: long enough to remember a slow
backend over some connections, short enough to forgive it within a minute."""


class PeakEwma:
    """An exponentially weighted moving average that jumps to every peak (Finagle's ``PeakEwma``).

    Finagle describes it in its user guide, "Clients", "Power of Two Choices (P2C) + Peak EWMA".

    :param tau: seconds of the decay.
    """

    __slots__ = ("_stamp", "_tau", "_value", "measured")

    def __init__(self, tau: float = TAU) -> None:
        self._tau = tau
        self._value = 0.0
        self._stamp = 0.0
        self.measured = False

    def observe(self, seconds: float, now: float) -> None:
        """Take in one observation.

        :param seconds: how long it took.
        :param now: the clock, in seconds.
        """
        if seconds >= self._value:
            self._value = seconds
        else:
            kept = self._kept(now)
            self._value = self._value * kept + seconds * (1.0 - kept)
        self._stamp = now
        self.measured = True

    def value(self, now: float) -> float:
        """Give the average in seconds; it decays, so that a backend that was avoided is tried again.

        :returns: 0.0 when nothing was ever observed (`measured` distinguishes that from a fast backend).
        """
        return self._value * self._kept(now)

    def _kept(self, now: float) -> float:
        return exp((self._stamp - now) / self._tau) if now > self._stamp else 1.0
