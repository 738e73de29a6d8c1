"""Judges from readings alone whether there is an overload, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from attrs import frozen

Resource: TypeAlias = Literal["memory", "descriptors"]

RESUME_BELOW = 0.95
"""Part of a bound below which an overload is over. Without a gap, accepting would go on and off with each
session; down to here sessions are ended, too, so that there is capacity for some time."""

CALM_AFTER = 10
"""Readings below the bound after which an overload is over, too: where no session ends by itself, the gap
would keep accepting paused for hours."""

ABOVE_REST = 1.1
"""How far beyond what the process has when no session is open a bound is moved that is below that. Memory
that was given back may stay resident, and there is no session left to end."""

MAX_AT_ONCE = 256
"""Sessions that are ended after one reading, for that takes some 50 microseconds each."""

SESSION_MEMORY = 4 * 1024
"""Bytes that a session takes besides its buffers, roughly; `make bench` finds 2.4 KiB in the clear."""

MAX_BUFFERED = 128 * 1024
"""Bytes of what a session buffers that are the process's own, at most: 64 KiB for either side. The kernel has
the rest, which is in no reading."""

SESSION_DESCRIPTORS = 2


class Step(enum.Enum):
    """What is to be done after a reading."""

    NOTHING = enum.auto()
    PAUSE = enum.auto()
    END = enum.auto()
    RESUME = enum.auto()


@frozen
class Reading:
    """What the process has of a resource.

    :param used: bytes of memory, or a number of descriptors.
    :param bound: what it is to have at most, in the same unit.
    """

    resource: Resource
    used: int
    bound: int


class Judge:
    """Says what to do, reading by reading.

    1. A reading that has reached its bound pauses accepting.
    2. So does the next one, if it has: then sessions are ended.
    3. Readings that are all well below their bounds resume accepting, and so do some in a row that are
       just below.

    While no session is open, what there is in use is what the process needs at rest. A bound that is not
    above that cannot be kept by ending sessions: it is moved a little above it, for as long as that is so.

    :ivar shut: whether accepting is paused.
    """

    def __init__(self) -> None:
        self.shut = False
        self._calm = 0
        self._at_rest: Mapping[Resource, int] = {}

    def step(self, readings: Sequence[Reading], sessions: int) -> Step:
        """Say what to do.

        :param readings: at most one of each resource; what could not be read is left out.
        :param sessions: that are open.
        """
        if not sessions:
            self._at_rest = {reading.resource: reading.used for reading in readings}
        if any(map(self.reached, readings)):
            return self._reached()
        return self._below(readings)

    def reached(self, reading: Reading) -> bool:
        """Whether so much is in use that it is an overload."""
        return reading.used >= self._bound(reading)

    def excess(self, reading: Reading) -> float:
        """How much is in use that would have to be set free for an overload to be over; 0 for nothing."""
        return max(0.0, reading.used - RESUME_BELOW * self._bound(reading))

    def _reached(self) -> Step:
        self._calm = 0
        if self.shut:
            return Step.END
        self.shut = True
        return Step.PAUSE

    def _below(self, readings: Iterable[Reading]) -> Step:
        self._calm += 1
        if self.shut and (self._calm >= CALM_AFTER or not any(map(self.excess, readings))):
            self.shut = False
            return Step.RESUME
        return Step.NOTHING

    def _bound(self, reading: Reading) -> float:
        return max(reading.bound, self._at_rest.get(reading.resource, 0) * ABOVE_REST)


def how_many(buffered: Iterable[int], excess: Mapping[Resource, float]) -> int:
    """Count the sessions to be ended: as many as it takes, at least one.

    :param buffered: bytes that each of those that may be ended holds, in the order in which they would be.
    :param excess: what is to be set free, by resource.
    """
    memory, descriptors = excess.get("memory", 0.0), excess.get("descriptors", 0.0)
    count = 0
    for size in buffered:
        count += 1
        memory -= min(size, MAX_BUFFERED) + SESSION_MEMORY
        descriptors -= SESSION_DESCRIPTORS
        if memory <= 0 and descriptors <= 0:
            break
    return count
