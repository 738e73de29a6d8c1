"""Ejects the backends that outlier detection names for a while, and readmits them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from twisted.logger import Logger

from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.members import Members
from tcpbalance.pool.outlier import OutlierDetection


class Ejections:
    """The ejections of one pool.

    A backend comes back when its time is over: where it is checked, with the next check that passes, else
    with the next connection to the pool. Each step is logged once, with its cause.

    :param pool: the pool's name, for the log.
    :param detection: says which backends to eject.
    :param availability: keeps at least one backend.
    :param checked: whether health checks report their passes.
    :param changed: called with a backend that was ejected or has come back.
    """

    _log = Logger()

    def __init__(
        self,
        pool: str,
        detection: OutlierDetection,
        availability: Availability,
        checked: bool,
        changed: Callable[[Backend], None],
    ) -> None:
        self._pool = pool
        self._detection = detection
        self._availability = availability
        self._checked = checked
        self._changed = changed
        self._next_expiry = inf

    def adopt(self, members: Members) -> None:
        """Follow other members of the pool from now on."""
        self._detection.members = members
        self._next_expiry = self._find_next_expiry()

    @property
    def config(self) -> OutlierConfig:
        """When backends are ejected, and for how long."""
        return self._detection.config

    def go_on_by(self, config: OutlierConfig, checked: bool) -> None:
        """Judge by other settings from now on; ejections under way last as long as they were to last.

        :param checked: whether health checks report their passes.
        """
        self._detection.config = config
        self._checked = checked
        self._next_expiry = self._find_next_expiry()

    def failed(self, backend: Backend, cause: str) -> None:
        """A connection failed, or ended before the backend's first byte; or a response says so.

        :param cause: why, in a word or two.
        """
        if not backend.ejected and self._detection.failed(backend):
            self._eject(backend, f"consecutive failures, the last: {cause}")

    def connected(self, backend: Backend, seconds: float, noticeable: float) -> None:
        """A connection was established.

        :param seconds: what that took.
        :param noticeable: seconds up to which that says nothing about the backend.
        """
        if not backend.ejected and self._detection.connected(backend, seconds, noticeable):
            self._eject(backend, self._detection.why_slow(seconds))

    def found_slow(self, backend: Backend, cause: str) -> None:
        """Another process has found that a backend is slow.

        :param cause: as `OutlierDetection.why_slow` gives it.
        """
        if not backend.ejected:
            self._eject(backend, cause)

    def answered(self, backend: Backend) -> None:
        """The backend's first byte on a connection has come, or a response that is no failure."""
        self._detection.answered(backend)

    def passed_a_check(self, backend: Backend) -> None:
        """A health check has found nothing wrong."""
        if backend.ejected and self._detection.ejection_expired(backend):
            self._readmit(backend)

    def readmit_expired(self, now: float) -> None:
        """Readmit backends whose time is over, where no check has to pass before."""
        for backend in self.expired(now):
            if backend.ejected:
                self._readmit(backend)

    def expired(self, now: float) -> Sequence[Backend]:
        """Give those whose time is over, where no check has to pass before."""
        if now < self._next_expiry:
            return ()
        return [backend for backend in self._detection.ejected() if self._detection.ejection_expired(backend)]

    @property
    def next_expiry(self) -> float:
        """When time alone readmits a backend, by the pool's clock; infinite where it does not."""
        return self._next_expiry

    def _eject(self, backend: Backend, cause: str) -> None:
        # At least one eligible backend stays; a removed one gets no new connections anyway.
        if (
            backend.removed
            or self._detection.is_full()
            or not self._availability.would_be_left(without=backend)
        ):
            return
        backend.stats.ejections += 1
        seconds = self._detection.eject(backend)
        backend.host_stats.cause = cause
        self._flip(backend, ejected=True)
        self._log.warn(
            "pool {pool}: backend {backend} is ejected for {seconds:g} s: {cause}",
            pool=self._pool,
            backend=backend.described,
            seconds=seconds,
            cause=cause,
        )

    def _readmit(self, backend: Backend) -> None:
        self._detection.readmitted(backend)
        self._flip(backend, ejected=False)
        self._log.info(
            "pool {pool}: backend {backend} is no longer ejected",
            pool=self._pool,
            backend=backend.described,
        )

    def _flip(self, backend: Backend, ejected: bool) -> None:
        backend.ejected = ejected
        self._next_expiry = self._find_next_expiry()
        self._changed(backend)

    def _find_next_expiry(self) -> float:
        """When time alone readmits a backend; never where a check has to pass as well."""
        return inf if self._checked else self._detection.next_expiry()
