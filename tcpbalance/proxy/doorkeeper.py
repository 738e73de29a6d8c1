"""Asks the gate of a frontend, and tells the log whom it has refused: in one line a second, at most."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from tcpbalance.gate.gate import Gate
from tcpbalance.gate.refusal import Refusal
from tcpbalance.net.addresses import shown
from tcpbalance.net.wheel import Wheel
from tcpbalance.pool.client import packed_host
from tcpbalance.proxy.report import Report, Untold


class Doorkeeper:
    """Stands at the gate of one frontend.

    :param name: the frontend's.
    :param gate: decides.
    :param wheel: the frontend's, for what is told a little later.
    :ivar report: what the log is told.
    """

    _log = Logger("tcpbalance.gate")

    def __init__(self, name: str, gate: Gate, wheel: Wheel) -> None:
        self._name = name
        self._gate = gate
        self._last: Any = None
        self._refused, self._tried = Untold(gate.refused), Untold(gate.would_refuse)
        self.report = Report(wheel, self._tell)

    def refuses(self, address: Any) -> Refusal | None:
        """Let a client in, or refuse it.

        :param address: of the client, one of Twisted's.
        :returns: why it was refused; None when it came in, and holds a connection until ``leave``.
        """
        gate = self._gate
        tried = gate.tried
        refusal = gate.admit(packed_host(address))
        if refusal is not None or gate.tried != tried:
            self._last = address
            self.report.note()
        return refusal

    def leave(self, address: Any) -> None:
        """Take note that a connection that came in has ended."""
        self._gate.leave(packed_host(address))

    def _tell(self) -> None:
        for untold, what in ((self._refused, "refused"), (self._tried, "not refused, because of dry_run")):
            if count := untold.take():
                self._log.warn(
                    "frontend {name}: connections {what}: {total} ({reasons}), the last from {last}",
                    name=self._name,
                    what=what,
                    total=count.total(),
                    reasons=", ".join(f"{reason.word}: {number}" for reason, number in count.items()),
                    last=shown(self._last),
                )
