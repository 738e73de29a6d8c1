"""Watches what the process has of memory and descriptors, and sheds load when it comes to its bounds."""

from __future__ import annotations

import gc
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.logger import Logger

from tcpbalance.config.overload import OverloadConfig
from tcpbalance.event import OnEvent, no_report
from tcpbalance.net import descriptors
from tcpbalance.net.errnos import OUT_OF_DESCRIPTORS
from tcpbalance.overload import gauges
from tcpbalance.overload.judge import MAX_AT_ONCE, Judge, Reading, Resource, Step, how_many
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.steady_loop import SteadyLoop

READ_EVERY = 1.0
"""Seconds between two readings: what comes within one must fit between the bound and the limit."""

_REASON = "overload"


@frozen
class Watch:
    """One resource that is watched.

    :param gauge: how much of it is in use.
    :param bound: how much may be.
    """

    resource: Resource
    gauge: gauges.Gauge
    bound: Callable[[], int]

    def read(self) -> Reading:
        """Take a reading.

        :raises OSError: there is none to be had.
        """
        return Reading(self.resource, self.gauge(), self.bound())


def watches(config: OverloadConfig) -> list[Watch]:
    """Make the watches that a configuration asks for."""
    memory, share = config.memory, config.descriptors
    made = []
    if memory is not None:
        made.append(Watch("memory", gauges.resident_memory, lambda: memory))
    if share is not None:
        made.append(Watch("descriptors", gauges.open_descriptors, lambda: int(share * descriptors.limit())))
    return made


class OverloadGuard(Service):
    """Pauses accepting while there is an overload, and ends sessions where that is not enough.

    It logs each step, at most one line a second. Accepting does not stay paused while no session is open,
    because no end could help then.

    :param reactor: IReactorTime.
    :param registries: the open sessions of each frontend.
    :param watched: what is read, each second.
    :ivar on_event: called when an overload begins and ends.
    """

    _log = Logger()

    def __init__(self, reactor: Any, registries: Sequence[SessionRegistry], watched: Sequence[Watch]) -> None:
        self.on_event: OnEvent = no_report
        self._registries = registries
        self._asked = watched
        self._watched: list[Watch] = []
        self._judge = Judge()
        self._too_low: set[Resource] = set()
        self._looking = SteadyLoop("overload: a reading", self._look, reactor)

    def startService(self) -> None:
        """Begin to take readings, the first one now."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._judge = Judge()
        self._too_low.clear()
        self._watched = [watch for watch in self._asked if self._can_be_read(watch)]
        if self._watched:
            self._looking.start(READ_EVERY)

    def stopService(self) -> None:
        """Take no more readings, and resume accepting."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._looking.stop()
        self._resume()

    def watch(self, watched: Sequence[Watch]) -> None:
        """Read other resources, or keep them within other bounds, from now on."""
        self._asked = watched
        if self.running:
            self.stopService()
            self.startService()

    def watch_over(self, registries: Sequence[SessionRegistry]) -> None:
        """Count and end the sessions of these frontends from now on; new ones are paused while others are."""
        self._registries = registries
        if self.running and self._judge.shut:
            for registry in registries:
                registry.accept_pause.pause(_REASON)

    def _can_be_read(self, watch: Watch) -> bool:
        try:
            watch.read()
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                self._log.warn(
                    "overload: {resource} cannot be watched on this system: {error}",
                    resource=watch.resource,
                    error=str(error),
                )
                return False
        return True

    def _look(self) -> None:
        if self._judge.shut:
            gauges.trim_memory()
        self._act(list(self._readings()))

    def _readings(self) -> Iterator[Reading]:
        for watch in self._watched:
            try:
                yield watch.read()
            except OSError:
                continue  # No descriptor is left for the reading; the watch on descriptors reports that.

    def _act(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        sessions = sum(len(registry.sessions) for registry in self._registries)
        step = self._judge.step(readings, sessions)
        if not sessions:
            self._report_too_low(readings)
        if step is Step.PAUSE:
            self._pause()
            self._log.warn("overload: {state}; accepting is paused", state=_worded(readings))
            self.on_event("overload_begins", {"state": _worded(readings)})
        elif step is Step.END:
            self._end_some(readings, sessions)
        elif step is Step.RESUME:
            self._resume()
            self._log.info("overload: {state}; clients are accepted again", state=_worded(readings))
            self.on_event("overload_ends", {"state": _worded(readings)})

    def _pause(self) -> None:
        # Garbage in reference cycles must not lead to the end of sessions.
        gc.collect()
        for registry in self._registries:
            registry.accept_pause.pause(_REASON)

    def _resume(self) -> None:
        for registry in self._registries:
            registry.accept_pause.resume(_REASON)

    def _end_some(self, readings: Sequence[Reading], sessions: int) -> None:
        """End the sessions that buffer most, as many as it takes."""
        judge = self._judge
        excess = {found.resource: judge.excess(found) for found in readings if judge.reached(found)}
        ended = self._end_biggest(excess)
        self._log.warn(
            "overload: {state}; ended {count} of {sessions} sessions, those that buffered most "
            "({size} in flight)",
            state=_worded(readings),
            count=len(ended),
            sessions=sessions,
            size=_mebibytes(sum(ended)),
        )

    def _end_biggest(self, excess: Mapping[Resource, float]) -> list[int]:
        """End sessions; give what each of them had buffered, in bytes."""
        sizes = [
            (session.buffered, session, registry)
            for registry in self._registries
            for session in registry.sessions
        ]
        biggest = heapq.nlargest(MAX_AT_ONCE, sizes, key=lambda found: found[0])
        ended = biggest[: how_many((size for size, *_ in biggest), excess)]
        for registry in self._registries:
            registry.end((session for _, session, its in ended if its is registry), EndReason.OVERLOAD)
        return [size for size, *_ in ended]

    def _report_too_low(self, readings: Sequence[Reading]) -> None:
        """Say of a bound, once, that it cannot be kept even where there is nothing to do."""
        too_low = {found.resource: found for found in readings if found.used >= found.bound}
        for resource in too_low.keys() - self._too_low:
            self._log.warn(
                "overload: {state} with no session open, which no ended session can change, so clients are "
                "accepted up to a little more than that; raise {resource} in [overload]",
                state=_worded([too_low[resource]]),
                resource=resource,
            )
        self._too_low = set(too_low)


def _worded(readings: Sequence[Reading]) -> str:
    return ", ".join(map(_words, readings))


def _words(reading: Reading) -> str:
    if reading.resource == "memory":
        return f"memory {_mebibytes(reading.used)} of {_mebibytes(reading.bound)}"
    return f"descriptors {reading.used} of {reading.bound}"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
