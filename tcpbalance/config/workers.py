"""How many processes serve."""

from __future__ import annotations

import os
from typing import ClassVar, Self

from tcpbalance.config.messages import value_text
from tcpbalance.config.quantities import Duration
from tcpbalance.errors import SettingError

MAX_WORKERS = 256

MIN_WORKER_TIMEOUT = Duration(1)
"""A worker that is well may be busy for a part of this, as with a large configuration, or wait for a CPU."""


class Workers(int):
    """A number of processes; written as a whole number, or ``"auto"``: one for each CPU that may be used."""

    words: ClassVar[str] = 'whole number or `"auto"`'

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read it.

        :raises SettingError: for anything else, or a number below 1 or above `MAX_WORKERS`.
        """
        if value == "auto":
            return cls(min(available_cpus(), MAX_WORKERS))
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WORKERS:
            raise SettingError(f'must be "auto" or 1 to {MAX_WORKERS}, got {value_text(value)}')
        return cls(value)


def available_cpus() -> int:
    """Count the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
