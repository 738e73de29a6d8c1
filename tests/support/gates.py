"""A gate from defaults, which a test changes in one place, at a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from tcpbalance.gate.access import Access
from tcpbalance.gate.gate import Gate
from tcpbalance.gate.limits import Limits
from tcpbalance.gate.networks import NetworkSet
from tcpbalance.gate.refusal import Refusal
from tcpbalance.pool.client import packed

DENIED = "192.0.2.66"
"""The one host that is denied where a test does not say otherwise."""


def lists(deny: Sequence[str] = (DENIED,), allow: Sequence[str] = ()) -> Access:
    """Access lists of networks as they are written."""
    return Access(NetworkSet(map(ip_network, allow)), NetworkSet(map(ip_network, deny)))


class Guarded:
    """A gate, whose clients are called by their hosts."""

    def __init__(
        self, *, access: Access | None = None, trial: str = "", most_clients: int = 100, **limits: Any
    ) -> None:
        """Make a gate.

        :param trial: which parts are on trial: "", "access", "limits" or "access limits".
        """
        self.clock = Clock()
        self.gate = Gate(
            access or lists(),
            Limits(**limits),
            self.clock.seconds,
            access_dry_run="access" in trial,
            limits_dry_run="limits" in trial,
            most_clients=most_clients,
        )

    def come(self, host: str, times: int = 1) -> list[str]:
        """Connect a few times; gives a word for each, "in" for who came in."""
        answers = [self.gate.admit(packed(host)) for _ in range(times)]
        return [word(answer) for answer in answers]

    def go(self, host: str, times: int = 1) -> None:
        """End a few connections."""
        for _ in range(times):
            self.gate.leave(packed(host))

    def visit(self, host: str) -> str:
        """Connect, and end that at once."""
        (answer,) = self.come(host)
        if answer == "in":
            self.go(host)
        return answer

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @property
    def refused(self) -> dict[str, int]:
        """How often clients were refused, by the word."""
        return {refusal.word: count for refusal, count in self.gate.refused.items()}

    @property
    def would_refuse(self) -> dict[str, int]:
        """How often they would have been, but for a trial."""
        return {refusal.word: count for refusal, count in self.gate.would_refuse.items()}


def word(answer: Refusal | None) -> str:
    """Say what a gate answered."""
    return "in" if answer is None else answer.word
