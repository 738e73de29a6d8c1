"""The access log: a service that takes records and never makes the reactor wait."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from tcpbalance.config.messages import must_be_one_of
from tcpbalance.errors import SettingError
from tcpbalance.logs.log_file import STANDARD_OUTPUT, AccessLogError, LogFile
from tcpbalance.logs.log_format import FORMATS, with_worker
from tcpbalance.logs.log_writer import LogWriter
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.reactor import Reactor

if TYPE_CHECKING:
    from tcpbalance.proxy.record import SessionRecord

__all__ = ["AccessLog", "AccessLogError"]

_HAND_OVER_AFTER: Final = 0.1
_STOP_WITHIN: Final = 2.0
_ABANDON_AFTER: Final = 0.5
_BEHIND: Final = "lines arrive faster than they can be written"


class AccessLog(Service):
    """Writes one line a session or request, in a thread of its own.

    A record that comes before `startService` or after `stopService` is not written.

    :param path: a file, or "-" for standard output.
    :param form: "text", "json" or "combined".
    :param reactor: Reactor and IReactorFromThreads.
    :param bound: records that may wait to be written; more are dropped, counted and reported.
    :param worker: the number of this process among several that write; it stands in each line then.
    :raises SettingError: for another form.
    """

    _log = Logger()

    def __init__(
        self, path: str, form: str, reactor: Reactor, bound: int = 10_000, *, worker: int | None = None
    ) -> None:
        if form not in FORMATS:
            raise SettingError(f"access log {path}: format {must_be_one_of(form, FORMATS)}")
        self._path = path
        self._line = FORMATS[form] if worker is None else with_worker(FORMATS[form], worker)
        self._reactor = reactor
        self._bound = bound
        self._pending: list[SessionRecord] = []
        self._hand_over_call: IDelayedCall | None = None
        self._writer: LogWriter | None = None
        self._losses = RateLimitedLog(self._take_losses, reactor.seconds, cast(IReactorTime, reactor))
        self._unreported: Counter[str] = Counter()
        self._stopped: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    def startService(self) -> None:
        """Open the file; the thread starts with the first record, so that a daemon may fork in between.

        :raises AccessLogError: when the file cannot be opened.
        """
        file = LogFile(self._path)
        call = IReactorFromThreads(self._reactor).callFromThread
        self._writer = LogWriter(
            file,
            self._line,
            self._bound,
            on_trouble=lambda what, lost: call(self._trouble, what, lost),
            on_end=lambda: call(self._ended),
        )
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated

    def log(self, record: SessionRecord) -> None:
        """Take one record; it is written within about 100 ms."""
        if not self.running:
            return
        self._pending.append(record)
        if self._hand_over_call is None:
            self._hand_over_call = self._reactor.callLater(_HAND_OVER_AFTER, self._hand_over)

    def reopen(self) -> None:
        """Open the file anew, as logrotate asks for: records logged until now still go to the old one."""
        if self.running and self._writer is not None:
            self._hand_over_now()
            self._writer.reopen()

    def stopService(self) -> Deferred[None]:
        """Write what is left and end the thread.

        :returns: fires when that is done, within about two seconds whatever the file's reader does.
        """
        if not self.running or self._writer is None:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._hand_over_now()
        self._writer.finish()
        self._stopped = Deferred()
        self._deadline = self._reactor.callLater(_STOP_WITHIN, self._give_up)
        return self._stopped

    def _hand_over_now(self) -> None:
        if self._hand_over_call is not None:
            self._hand_over_call.cancel()
            self._hand_over()

    def _hand_over(self) -> None:
        assert self._writer is not None
        self._hand_over_call = None
        records, self._pending = self._pending, []
        refused = self._writer.give(records)
        if refused:
            self._trouble(_BEHIND, refused)
        elif self._unreported and not self._must_be_silent:
            unreported, self._unreported = self._unreported, Counter()
            for what, lost in unreported.items():
                self._trouble(what, lost)

    def _trouble(self, what: str, lost: int) -> None:
        self._losses.note(what, None, lost)

    @property
    def _must_be_silent(self) -> bool:
        """Twisted's log may go to standard output too: a line for one that stalls would stall the reactor."""
        return self._path == STANDARD_OUTPUT and self._writer is not None and self._writer.stalled

    def _take_losses(self, losses: Counter[str], _: None) -> None:
        self._unreported.update(losses)
        if not self._must_be_silent:
            self._report()

    def _report(self) -> None:
        losses, self._unreported = self._unreported, Counter()
        what = "; ".join([f"{cause} (records lost: {lost})" for cause, lost in losses.items()])
        self._log.warn("access log {path}: {what}", path=self._path, what=what)

    def _give_up(self) -> None:
        assert self._writer is not None
        self._writer.give_up()
        self._deadline = self._reactor.callLater(_ABANDON_AFTER, self._abandon)

    def _abandon(self) -> None:
        """Leave the thread to the system, in whose write it hangs and out of which nothing brings it."""
        assert self._writer is not None
        self._trouble("a write to it does not return", self._writer.waiting)
        self._finish()

    def _ended(self) -> None:
        """Clear up after the thread."""
        assert self._writer is not None
        self._writer.close()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._finish()

    def _finish(self) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is None:
            return
        self._losses.flush()
        if self._unreported:
            self._report()
        stopped.callback(None)
