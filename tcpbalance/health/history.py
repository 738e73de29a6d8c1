"""The last results of the checks of each backend of a pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import define

from tcpbalance.pool.backend import Backend

if TYPE_CHECKING:
    from tcpbalance.health.probe_run import Outcome

MAX_RESULTS = 100
"""That are kept of a backend."""


@define
class CheckResult:
    """One check that is over.

    :ivar time: when it was over, seconds since the epoch.
    :ivar passed: None where it says nothing about the backend.
    :ivar cause: why it did not pass; empty where it did.
    :ivar seconds: that it took.
    """

    time: float
    passed: bool | None
    cause: str
    seconds: float


class CheckHistory:
    """Keeps the last results of each backend.

    :param wall_clock: seconds since the epoch.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._results: dict[Backend, deque[CheckResult]] = {}

    def note(self, backend: Backend, outcome: Outcome, seconds: float) -> None:
        """A check is over.

        :param seconds: that it took.
        """
        result = CheckResult(self._wall_clock(), outcome.passed, outcome.cause, seconds)
        self._results.setdefault(backend, deque(maxlen=MAX_RESULTS)).append(result)

    def forget(self, backends: Iterable[Backend]) -> None:
        """Backends are gone."""
        for backend in backends:
            self._results.pop(backend, None)

    def of(self, backend: Backend) -> Sequence[CheckResult]:
        """Give the results of a backend, the last one last."""
        return self._results.get(backend, ())

    def last(self, backend: Backend) -> CheckResult | None:
        """Give the last result of a backend; None where there is none."""
        results = self._results.get(backend)
        return results[-1] if results else None
