"""Reports to the service manager how the balancer goes, for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tcpbalance.steady_loop import SteadyLoop
from tcpbalance.systemd import notification
from tcpbalance.systemd.notification import Summary

DELIVER_WITHIN = 5.0
"""Seconds that the end of the program waits for a service manager that has no space for messages."""

_TRY_EVERY = 0.05

STATUS_EVERY = 2.0
"""Seconds between two looks at the counts; the status is sent where it has changed."""


class Balanced(Protocol):
    """What is needed of a ``Balancer``."""

    def when_listening(self) -> Deferred[bool]: ...

    def stopService(self) -> Deferred[None]: ...

    def summary(self) -> Summary: ...


class Manager(Protocol):
    """What is needed of a ``NotifySocket``."""

    def send(self, message: str) -> None: ...

    def send_or_drop(self, message: str) -> None: ...

    def flush(self) -> bool: ...


class Notifier(Service):
    """Reports to the service manager: ready, reloading, stopping, the status, and signs of life.

    The signs of life come from the reactor's own loop: where that is stuck, they stay away, and the service
    manager starts the program again. They go on until the last session has ended.

    :param clock: IReactorTime.
    :param manager: gets the messages.
    :param balancer: is reported on.
    :param watchdog: seconds within which a sign of life has to come; None where none is asked for.
    :param monotonic: the system's monotonic clock, in seconds.
    """

    def __init__(
        self,
        clock: Any,
        manager: Manager,
        balancer: Balanced,
        watchdog: float | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._manager = manager
        self._balancer = balancer
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._is_ready = False
        self._is_handed_over = False
        self._reported_status = ""
        self._looking = SteadyLoop("the report to the service manager", self._report, clock)
        # sd_watchdog_enabled(3) recommends half the time.
        self._interval = STATUS_EVERY if watchdog is None else min(STATUS_EVERY, watchdog / 2)

    def startService(self) -> None:
        """Begin; the word that the balancer is ready follows when all frontends accept clients."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._looking.start(self._interval)
        self._balancer.when_listening().addCallbacks(self._report_ready, lambda _: None)

    def _report_ready(self, _: bool) -> None:
        self._is_ready = True
        self.reloaded()

    @property
    def _reports_reloads(self) -> bool:
        return bool(self.running) and self._is_ready and not self._is_handed_over

    def reloading(self) -> None:
        """Report that files are being read again."""
        if self._reports_reloads:
            self._manager.send(notification.reloading(self._monotonic()))

    def reloaded(self) -> None:
        """Report that they have been read, or cannot be used."""
        if self._reports_reloads:
            self._reported_status = self._status()
            self._manager.send(notification.ready(self._reported_status))

    def _report(self) -> None:
        if self._is_handed_over:
            self._manager.flush()
            return
        status, before = self._status(), self._reported_status
        self._reported_status = status
        if self._watchdog is not None:
            # With the status, changed or not: the first messages of a program that takes over are ignored.
            self._manager.send_or_drop(f"{notification.WATCHDOG}\n{notification.status_line(status)}")
        elif status != before:
            self._manager.send_or_drop(notification.status_line(status))

    def _status(self) -> str:
        return str(self._balancer.summary())

    def hand_over(self, pid: int) -> None:
        """Report that another process is the service from here on, and nothing more from this one.

        :param pid: of the other.
        """
        self._is_handed_over = True
        self._manager.send(notification.main_process(pid))

    def stopService(self) -> Deferred[None]:
        """Report that the program ends.

        :returns: fires when the balancer has stopped, and the service manager has got all that must arrive.
        """
        if self.running and not self._is_handed_over:
            self._manager.send(notification.stopping(self._status()))
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        return self._balancer.stopService().addBoth(self._end)

    def _end(self, _: object) -> Deferred[None]:
        self._looking.stop()
        return Deferred.fromCoroutine(self._deliver())

    async def _deliver(self) -> None:
        """Try again and again to send what must arrive."""
        deadline = self._clock.seconds() + DELIVER_WITHIN
        while not self._manager.flush() and self._clock.seconds() < deadline:
            await deferLater(self._clock, _TRY_EVERY)
