"""What admission control says of a client before it comes."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.admission.refusal import Refusal


@frozen
class Allowance:
    """How much of something a client may have, and has had.

    :ivar used: what it has.
    :ivar limit: what it may have.
    """

    used: int
    limit: int

    @property
    def left(self) -> int:
        """What it may have beside that."""
        return max(0, self.limit - self.used)


@frozen(kw_only=True)
class AdmissionAnswer:
    """What would be if a client came now, and what is left to it before it has come.

    :ivar refusal: why it would be refused; None where it would be admitted.
    :ivar would_refuse: why it would be refused, were it not for a dry run; None where it would not.
    :ivar decisive_list: the key of the list that decides about it; None where none does.
    :ivar banned_for: seconds that are left of its ban; 0 without one.
    :ivar connections: those that it may have at once; None without a limit.
    :ivar rate: those that it may open now, one after the other; None without a limit.
    :ivar next_in: seconds until it may open one by the rate; 0 for now.
    :ivar refusals: those that turn into a ban when the limit is reached; None where none do.
    """

    refusal: Refusal | None
    would_refuse: Refusal | None
    decisive_list: str | None
    banned_for: float = 0.0
    connections: Allowance | None = None
    rate: Allowance | None = None
    next_in: float = 0.0
    refusals: Allowance | None = None
