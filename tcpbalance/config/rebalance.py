"""What an operator can write about moving idle connections to backends that have fewer."""

from __future__ import annotations

from attrs import field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Duration, Rate
from tcpbalance.config.strict import strict


@frozen(kw_only=True, field_transformer=strict)
class RebalanceConfig:
    """`[pools.NAME.rebalance]`: idle connections of backends that have more than their share are closed.

    Their clients connect anew, and the policy sends them to the backends that have fewer.
    """

    rate: Rate = field(
        converter=plain.rate,
        metadata=doc("Maximum rate at which connections of the pool are closed.", example='"5/s"'),
    )
    idle_for: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "How long no byte must have passed in either direction before a connection may be closed. "
            "Longer than the longest wait for an answer, shorter than the `idle_timeout` of its frontends."
        ),
    )
