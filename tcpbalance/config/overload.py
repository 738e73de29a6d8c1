"""What an operator can write about how much the process may take."""

from __future__ import annotations

from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Fraction, Size
from tcpbalance.config.strict import strict

_SHARES = (Fraction(0.01), Fraction(1))


@frozen(kw_only=True, field_transformer=strict)
class OverloadConfig:
    """`[overload]`: how much the process may take; at a bound, accepting pauses.

    If that does not help within a second, sessions are ended, those that buffer most first.
    """

    memory: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=optional(checks.at_least(Size(1))),
        metadata=doc("Maximum resident memory of the process. Absent: memory is not watched."),
    )
    descriptors: Fraction | None = field(
        default=None,
        converter=converters.optional(plain.fraction),
        validator=optional(checks.between(*_SHARES)),
        metadata=doc(
            "Maximum number of open descriptors, as a part of the process's limit (`LimitNOFILE`, "
            "`ulimit -n`). Absent: descriptors are not watched."
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.memory is None and self.descriptors is None:
            raise InvalidValue("overload", 'has no effect without "memory" or "descriptors"')
