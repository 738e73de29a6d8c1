"""What connections show of backends, reported to another process, which decides about ejections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.members import Members
from tcpbalance.pool.outlier import OutlierDetection


class OutlierReports(Protocol):
    """Takes what is to be reported of the backends of a pool."""

    def failed(self, backend: Backend, cause: str) -> None:
        """A connection failed, or ended before the backend's first byte."""
        ...

    def answered(self, backend: Backend) -> None:
        """The backend's first byte has come, and before it some connection had failed."""
        ...

    def found_slow(self, backend: Backend, cause: str) -> None:
        """The connections of this process have shown that the backend is slow."""
        ...


class ReportedEjections:
    """Takes the place of `Ejections` where another process ejects the backends.

    A backend's first byte is reported only where a failure came before it, here or in another process: so
    connections that succeed cost nothing, and failures count as consecutive over all processes.

    Whether a backend is slow is judged here: by the connect times of this process alone, which the delay of
    its loop is in. The process that decides has no connections, and none to compare them with.

    :param detection: knows the connect times.
    :param reports: takes the reports.
    """

    def __init__(self, detection: OutlierDetection, reports: OutlierReports) -> None:
        self._detection = detection
        self._reports = reports

    def adopt(self, members: Members) -> None:
        """Follow other members of the pool from now on."""
        self._detection.members = members

    @property
    def config(self) -> OutlierConfig:
        """When backends are slow."""
        return self._detection.config

    def go_on_by(self, config: OutlierConfig, checked: bool) -> None:
        """Judge by other settings from now on."""
        self._detection.config = config

    def failed(self, backend: Backend, cause: str) -> None:
        """See `Ejections`."""
        if not backend.ejected:
            backend.host_stats.failures += 1
            self._reports.failed(backend, cause)

    def connected(self, backend: Backend, seconds: float, noticeable: float) -> None:
        """See `Ejections`."""
        if not backend.ejected and self._detection.connected(backend, seconds, noticeable):
            backend.host_stats.slow = 0
            self._reports.found_slow(backend, self._detection.why_slow(seconds))

    def answered(self, backend: Backend) -> None:
        """See `Ejections`."""
        if backend.host_stats.failures:
            backend.host_stats.failures = 0
            self._reports.answered(backend)

    def expect_answer(self, backend: Backend) -> None:
        """Report the next first byte of a backend: connections of other processes to it have failed."""
        if not backend.ejected:
            backend.host_stats.failures = max(1, backend.host_stats.failures)

    def passed_a_check(self, backend: Backend) -> None:
        """The process that checks backends takes note of that."""

    def readmit_expired(self, now: float) -> None:
        """The process that ejects backends readmits them."""

    def expired(self, now: float) -> Sequence[Backend]:
        """As `readmit_expired`: none."""
        return ()
