"""What an operator can write about admission control."""

from __future__ import annotations

from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Network
from tcpbalance.config.metadata import doc
from tcpbalance.config.paths import FilePath
from tcpbalance.config.quantities import Bandwidth, Duration, Rate
from tcpbalance.config.strict import strict

_ANY_BANDWIDTH = checks.at_least(Bandwidth(1))


@frozen(kw_only=True, field_transformer=strict)
class AccessConfig:
    """`[frontends.NAME.access]`: which clients are admitted, by their address."""

    allow: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose clients are admitted; all others are refused. An empty list admits all clients.",
            default="all clients",
        ),
    )
    deny: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose clients are refused. `deny` takes precedence over `allow`.",
            default="none",
        ),
    )
    deny_file: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        metadata=doc(
            "File with further networks to refuse: one network or address on each line, and comments "
            "after `#`."
        ),
    )
    dry_run: bool = field(
        default=False,
        validator=checks.needs("allow", "deny", "deny_file"),
        metadata=doc("Only report: clients that the lists would refuse are counted, logged and admitted."),
    )


@frozen(kw_only=True, field_transformer=strict)
class LimitsConfig:
    """`[frontends.NAME.limits]`: how much there may be of everything; what is absent has no limit.

    A client is an IPv4 address, or an IPv6 network of 64 bits, in which a machine changes its address as it
    likes. Connections of a unix socket belong to no client.
    """

    connections: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "Maximum number of open connections of the frontend. At the limit the frontend stops "
            "accepting, and clients wait in the system's queue (`backlog`)."
        ),
    )
    connections_per_client: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc("Maximum number of open connections of one client. Further connections are refused."),
    )
    connect_rate_per_client: Rate | None = field(
        default=None,
        converter=converters.optional(plain.rate),
        metadata=doc(
            "Maximum rate of new connections of one client. Connections above the rate are refused."
        ),
    )
    burst_per_client: int | None = field(
        default=None,
        validator=[optional(checks.at_least(1)), checks.needs("connect_rate_per_client")],
        metadata=doc(
            "How many connections a client that was idle may open at once before the rate applies.",
            default="what the rate allows in one second, at least 1",
        ),
    )
    max_requests: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            'Maximum number of requests under way of the frontend, with `mode = "http"`; an upgraded '
            "connection counts as one until it ends. Further requests are answered with 503."
        ),
    )
    requests_per_client: Rate | None = field(
        default=None,
        converter=converters.optional(plain.rate),
        metadata=doc(
            'Maximum rate of requests of one client, with `mode = "http"`: of the one that a proxy in '
            "`forwarded.trust` reports, where there is one. Requests above the rate are answered with 429, "
            "which says in `Retry-After` when the next one is served. They do not count towards `ban_after`."
        ),
    )
    request_burst_per_client: int | None = field(
        default=None,
        validator=[optional(checks.at_least(1)), checks.needs("requests_per_client")],
        metadata=doc(
            "How many requests a client that was idle may send at once before `requests_per_client` applies: "
            "at least as many as a page has parts.",
            default="what the rate allows in one second, at least 1",
        ),
    )
    bandwidth_per_connection: Bandwidth | None = field(
        default=None,
        converter=converters.optional(plain.bandwidth),
        validator=optional(_ANY_BANDWIDTH),
        metadata=doc(
            "Maximum rate of bytes from the client, and the same again from the backend. Bytes above "
            "the rate wait in the system, whose TCP window slows the sender down."
        ),
    )
    min_rate: Bandwidth | None = field(
        default=None,
        converter=converters.optional(plain.bandwidth),
        validator=optional([_ANY_BANDWIDTH, checks.less_than("bandwidth_per_connection")]),
        metadata=doc(
            "Minimum rate over one minute, both directions together. A slower connection in which "
            "bytes move or wait to be read is ended with `too_slow`. A connection in which nothing "
            "moves is left to `idle_timeout`."
        ),
    )
    ban_after: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "Number of refusals within `ban_window`, for any reason, after which a client is banned: "
            "all its connections are refused for `ban_for`. A wrong password for a tunnel is one."
        ),
    )
    ban_window: Duration = field(
        default=Duration(10),
        converter=plain.duration,
        validator=[checks.longer_than_zero, checks.needs("ban_after")],
        metadata=doc("The time in which refusals add up to a ban, from the first refusal."),
    )
    ban_for: Duration = field(
        default=Duration(600),
        converter=plain.duration,
        validator=[checks.longer_than_zero, checks.needs("ban_after")],
        metadata=doc("Duration of a ban. Refusals during the ban do not extend it."),
    )
    dry_run: bool = field(
        default=False,
        validator=checks.needs(
            "connections",
            "connections_per_client",
            "connect_rate_per_client",
            "max_requests",
            "requests_per_client",
            "ban_after",
            "bandwidth_per_connection",
            "min_rate",
        ),
        metadata=doc(
            "Only report: what the limits would do is counted and logged. No connection or request is "
            "refused, slowed down, ended, or left waiting because of `connections`."
        ),
    )
