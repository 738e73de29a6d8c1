"""A gate from defaults, which a test changes in one place, at a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.net.addresses import packed

DENIED = "192.0.2.66"
"""The one host that is denied where a test does not say otherwise."""


def lists(deny: Sequence[str] = (DENIED,), allow: Sequence[str] = (), *, dry_run: bool = False) -> Access:
    """Access lists of networks as they are written."""
    return Access(NetworkSet(map(ip_network, allow)), NetworkSet(map(ip_network, deny)), dry_run=dry_run)


class CountedAdmission(AdmissionControl):
    """Counts its answers, as a frontend does.

    :ivar refused: how often clients were refused, and why.
    :ivar would_refuse: how often clients were admitted that would have been refused, but for a dry run.
    """

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.refused: Counter[Refusal] = Counter()
        self.would_refuse: Counter[Refusal] = Counter()

    def admit(self, client: bytes | None) -> Refusal | None:
        refusal = super().admit(client)
        if refusal is not None:
            self.refused[refusal] += 1
        elif self.last_would_refuse is not None:
            self.would_refuse[self.last_would_refuse] += 1
        return refusal


class Guarded:
    """A gate, whose clients are called by their hosts."""

    def __init__(
        self, *, access: Access | None = None, trial: str = "", max_clients: int = 100, **limits: Any
    ) -> None:
        """Make a gate.

        :param trial: which parts are on trial: "", "access", "limits" or "access limits".
        """
        self.clock = Clock()
        self.admission = CountedAdmission(
            access or lists(dry_run="access" in trial),
            LimitsConfig(dry_run="limits" in trial, **limits),
            self.clock.seconds,
            max_clients=max_clients,
        )

    def come(self, host: str, times: int = 1) -> list[str]:
        """Connect a few times; gives a word for each, "in" for who came in."""
        answers = [self.admission.admit(packed(host)) for _ in range(times)]
        return [word(answer) for answer in answers]

    def go(self, host: str, times: int = 1) -> None:
        """End a few connections."""
        for _ in range(times):
            self.admission.release(packed(host))

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
        return {refusal.word: count for refusal, count in self.admission.refused.items()}

    @property
    def would_refuse(self) -> dict[str, int]:
        """How often they would have been, but for a trial."""
        return {refusal.word: count for refusal, count in self.admission.would_refuse.items()}


def word(answer: Refusal | None) -> str:
    """Say what a gate answered."""
    return "in" if answer is None else answer.word
