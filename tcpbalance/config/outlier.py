"""What an operator can write about backends that fail, or are slow, where others are not."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Duration, Fraction


@frozen(kw_only=True)
class OutlierConfig:
    """`[pools.NAME.outlier]`: backends are ejected for what real traffic shows of them.

    Ejected backends get no new connections for a while, and keep those that they have. At least one backend
    always stays.
    """

    consecutive_failures: int = field(
        default=5,
        validator=checks.at_least(1),
        metadata=doc(
            "How many connections in a row have to fail before a backend is ejected: that it refuses, does "
            "not accept in time, or breaks off before its first byte."
        ),
    )
    eject_for: Duration = field(
        default=Duration(30),
        validator=checks.longer_than_zero,
        metadata=doc(
            "How long the first ejection lasts. Each further one lasts twice as long, up to ten times this; "
            "each time like this that passes without one halves it again. Where there are health checks, one "
            "has to pass besides."
        ),
    )
    max_ejected: Fraction = field(
        default=Fraction(0.5),
        validator=checks.between(Fraction(0.01), Fraction(1)),
        metadata=doc("The part of the pool that may be ejected at once; one backend may in any case."),
    )
    slow_factor: float | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "A backend is ejected, too, when `consecutive_failures` connections in a row have each taken "
            "more than this multiple of the pool's median to come about, and of what the other backends took "
            "last: the round trip as the kernel has measured it, above a millisecond, and the TLS handshake, "
            "above 20 ms; absent means that none is too slow."
        ),
    )
