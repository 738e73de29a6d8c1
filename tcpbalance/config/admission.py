"""What an operator can write about who may come in."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks
from tcpbalance.config.addresses import Network
from tcpbalance.config.metadata import doc
from tcpbalance.config.paths import FilePath
from tcpbalance.config.quantities import Bandwidth, Duration, Rate


@frozen(kw_only=True)
class AccessConfig:
    """`[frontends.NAME.access]`: who may come in, by their address."""

    allow: tuple[Network, ...] = field(
        default=(),
        metadata=doc(
            "Networks whose clients may come in; the others are refused. None at all means that everybody "
            "may.",
            default="everybody",
        ),
    )
    deny: tuple[Network, ...] = field(
        default=(),
        metadata=doc(
            "Networks whose clients are refused, even where a network of `allow` has them too.",
            default="none",
        ),
    )
    deny_file: FilePath | None = field(
        default=None,
        metadata=doc(
            "File of further networks to refuse: a network or an address on each line, and comments behind "
            "`#`."
        ),
    )
    dry_run: bool = field(
        default=False,
        metadata=doc(
            "Whether the lists are only tried: whom they would have refused is counted, and let in."
        ),
    )


@frozen(kw_only=True)
class LimitsConfig:
    """`[frontends.NAME.limits]`: how much there may be of everything; what is absent has no limit.

    A client is an IPv4 address, or an IPv6 network of 64 bits, in which a machine changes its address as it
    likes. What comes through a unix socket is nobody's.
    """

    connections: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "How many connections the frontend may have at once. Beyond that no more are accepted, and "
            "clients wait in the system's queue (`backlog`)."
        ),
    )
    connections_per_client: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc("How many connections a client may have at once; further ones are refused."),
    )
    connect_rate_per_client: Rate | None = field(
        default=None,
        metadata=doc("How often a client may connect in the long run; what comes faster is refused."),
    )
    burst_per_client: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "How many connections a client that was quiet may open at once, before the rate counts.",
            default="what the rate allows in one second, at least 1",
        ),
    )
    bandwidth_per_connection: Bandwidth | None = field(
        default=None,
        metadata=doc(
            "How fast bytes may come from the client, and as fast again from the backend; what comes faster "
            "waits in the system, which slows the sender down."
        ),
    )
    min_rate: Bandwidth | None = field(
        default=None,
        validator=optional(checks.less_than("bandwidth_per_connection")),
        metadata=doc(
            "A connection in which anything moves or waits to be fetched, but over a minute less than this, "
            "both directions together, is ended (`too_slow`). One in which nothing moves is left to "
            "`idle_timeout`."
        ),
    )
    ban_after: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "A client that was refused this often within `ban_window`, for whatever reason, is banned: it is "
            "refused for `ban_for`, whatever it does."
        ),
    )
    ban_window: Duration = field(
        default=Duration(10),
        validator=checks.longer_than_zero,
        metadata=doc("The time in which refusals add up to a ban, from the first of them on."),
    )
    ban_for: Duration = field(
        default=Duration(600),
        validator=checks.longer_than_zero,
        metadata=doc("How long a ban lasts; refusals meanwhile do not make it longer."),
    )
    dry_run: bool = field(
        default=False,
        metadata=doc(
            "Whether the limits are only tried: what they would have done is counted and logged, and nobody "
            "is refused, held back or ended, or has to wait because of `connections`."
        ),
    )
