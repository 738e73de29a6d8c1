"""What an operator can write about backends that fail, or are slow, where others are not."""

from __future__ import annotations

import attrs
from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.messages import value_text
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Duration, Fraction
from tcpbalance.config.statuses import StatusSet
from tcpbalance.config.strict import strict

MIN_FAILURE = 500
"""The first status by which a server says that it has failed: RFC 9110, section 15.6."""


def _of_servers(_: object, key: attrs.Attribute[StatusSet], value: StatusSet) -> None:
    if any(first < MIN_FAILURE for first, _ in value.ranges):
        raise InvalidValue(key.name, f"must be status codes from {MIN_FAILURE}, got {value_text(str(value))}")


@frozen(kw_only=True, field_transformer=strict)
class OutlierConfig:
    """`[pools.NAME.outlier]`: backends are ejected for what real traffic shows of them.

    Ejected backends get no new connections for a while, and keep those that they have. At least one backend
    always stays.
    """

    consecutive_failures: int = field(
        default=5,
        validator=checks.at_least(1),
        metadata=doc(
            "How many connections in a row must fail before a backend is ejected. A connection fails "
            "when the backend refuses it, does not accept it in time, or resets it before sending a "
            'byte. With `mode = "http"`, requests count as well: see `statuses`.'
        ),
    )
    statuses: StatusSet = field(
        default=StatusSet(((502, 504),)),
        converter=plain.statuses,
        validator=_of_servers,
        metadata=doc(
            "Status codes from 500 to 599 of responses that count as failures, of frontends with "
            '`mode = "http"`; all others end a row of failures. 500 is mostly a fault of one page, which all '
            "backends have. The balancer's own answers do not count."
        ),
    )
    eject_for: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Duration of the first ejection. Each further ejection lasts twice as long, up to ten "
            "times this value; each period of this length without an ejection halves it again. With "
            "health checks, one check must also pass before the backend returns."
        ),
    )
    max_ejected: Fraction = field(
        default=Fraction(0.5),
        converter=plain.fraction,
        validator=checks.between(Fraction(0.01), Fraction(1)),
        metadata=doc(
            "The maximum part of the pool that is ejected at the same time. One backend may be ejected "
            "in any case."
        ),
    )
    slow_factor: float | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "A backend is also ejected when each of `consecutive_failures` connections in a row took "
            "longer to establish than this multiple of the pool's median and of the last values of the "
            "other backends. What counts is the round trip as measured by the kernel, above 1 ms, and "
            "the TLS handshake, above 20 ms. Absent: no backend is too slow."
        ),
    )
