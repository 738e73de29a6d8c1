"""How much of the machine other programs took meanwhile: what makes a run worth less."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from attrs import frozen

from bench import usage

_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Reading:
    """What all cores together have done so far, in seconds.

    :param busy: doing anything at all, time stolen by another machine on the same hardware included.
    :param idle: doing nothing.
    :param ours: working for us: this process, those below it, and those that were below it and have ended.
    """

    busy: float
    idle: float
    ours: float

    @classmethod
    def now(cls) -> Reading:
        """Read the kernel's counters."""
        busy, idle = core_seconds(Path("/proc/stat").read_text())
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(busy, idle, usage.cpu(os.getpid()) / 1e9 + ended.ru_utime + ended.ru_stime)

    def others(self, earlier: Reading) -> float:
        """Give the share of all cores that others took since an earlier reading, 0 to 1."""
        busy, idle = self.busy - earlier.busy, self.idle - earlier.idle
        others = busy - (self.ours - earlier.ours)
        return min(max(others / (busy + idle), 0.0), 1.0) if busy + idle else 0.0


def core_seconds(stat: str) -> tuple[float, float]:
    """Read the first line of /proc/stat: how long all cores were busy, and how long idle."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, stat.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS, (idle + iowait) / _TICKS
