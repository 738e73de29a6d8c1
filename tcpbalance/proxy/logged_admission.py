"""Admission control of one frontend, with counters and a log of refusals: at most one line a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.refusal import Refusal
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.stats import FrontendStats


class LoggedAdmission:
    """Decides about clients, and counts and logs those that are refused.

    :param name: the frontend's.
    :param admission: decides.
    :param clock: seconds on a monotonic clock.
    :param timer: for what is logged a little later.
    :param stats: the frontend's counters.
    :ivar control: what decides.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        admission: AdmissionControl,
        clock: Callable[[], float],
        timer: IReactorTime,
        stats: FrontendStats,
    ) -> None:
        self._name = name
        self.control = admission
        self._stats = stats
        self._refused = RateLimitedLog(self._write_refused, clock, timer)
        self._would_refuse = RateLimitedLog(self._write_would_refuse, clock, timer)

    def admit(self, client: ClientAddress) -> Refusal | None:
        """Admit a client, or refuse it.

        :returns: why it was refused; None when it was admitted, and holds a connection until ``release``.
        """
        admission = self.control
        refusal = admission.admit(client.packed)
        if refusal is not None:
            self._stats.refused[refusal] += 1
            self._refused.note(refusal, client)
        elif admission.last_would_refuse is not None:
            self._stats.would_refuse[admission.last_would_refuse] += 1
            self._would_refuse.note(admission.last_would_refuse, client)
        return refusal

    def release(self, client: ClientAddress) -> None:
        """Take note that an admitted connection has ended."""
        self.control.release(client.packed)

    def flush_logs(self) -> None:
        """Write what is held back now."""
        self._refused.flush()
        self._would_refuse.flush()

    def _write_refused(self, counts: Counter[Refusal], last: ClientAddress) -> None:
        self._write("refused", counts, last)

    def _write_would_refuse(self, counts: Counter[Refusal], last: ClientAddress) -> None:
        self._write("not refused, because of dry_run", counts, last)

    def _write(self, what: str, counts: Counter[Refusal], last: ClientAddress) -> None:
        self._log.warn(
            "frontend {name}: connections {what}: {total} ({reasons}), the last from {last}",
            name=self._name,
            what=what,
            total=counts.total(),
            reasons=", ".join(f"{reason.word}: {number}" for reason, number in counts.items()),
            last=str(last),
        )
