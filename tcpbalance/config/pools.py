"""What an operator can write about pools: the backends, how one is chosen, and how they are looked after."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import MAX_PORT, Address, HostName
from tcpbalance.config.cookies import AffinityCookieConfig
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.http import PoolHttpConfig
from tcpbalance.config.messages import choices, value_text
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import TlvType
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.config.quantities import Duration, Fraction
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.config.strict import strict
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.errors import SettingError
from tcpbalance.wire.proxy_protocol import ProxyVersion

MAX_WEIGHT = 256
"""As HAProxy's; more would only make the cycle of round robin longer."""

SOURCE_HASH = "source_hash"
"""The policy that ``bounded_load`` belongs to; the others look at load themselves, or are blind by choice.
And the one that ``slow_start`` would spoil: it has to send each client to the same backend at any time."""

BY_COOKIE: Final = "cookie"

PEAK_EWMA = "peak_ewma"
"""The policy that gives slow backends fewer connections than their weight says."""

BackendState: TypeAlias = Literal["ready", "drain", "maintenance"]
Initial: TypeAlias = Literal["checked", "up", "down"]
OnDown: TypeAlias = Literal["keep", "reset"]
ProbeHeader: TypeAlias = Literal["v1", "v2", "none"]

RetryOn: TypeAlias = Literal["connect_failed", "reset_before_answer"]
CONNECT_FAILED: Final = "connect_failed"
RESET_BEFORE_ANSWER: Final = "reset_before_answer"


@frozen(kw_only=True, field_transformer=strict)
class BackendConfig:
    """An element of `backends` in `[pools.NAME]`: an address, or a table with these keys."""

    address: Address = field(
        converter=plain.address,
        validator=checks.connectable,
        metadata=doc(
            "Where the backend listens. Host names are looked up as `[resolver]` says.",
            example='"10.0.0.11:5432"',
        ),
    )
    name: str = field(
        default=attrs.Factory(lambda self: str(self.address), takes_self=True),
        validator=checks.name,
        metadata=doc(
            "The name in logs, and the name by which `source_hash` places the backend. Unique in its pool.",
            default="the address",
        ),
    )
    weight: int = field(
        default=1,
        validator=checks.between(1, MAX_WEIGHT),
        metadata=doc(f"The share of connections relative to the other backends, 1 to {MAX_WEIGHT}."),
    )
    max_connections: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            'Maximum number of open connections to the backend; with `mode = "http"`, of requests in '
            "progress. Absent: no limit."
        ),
    )
    backup: bool = field(
        default=False, metadata=doc("Whether the backend serves only when none of the others can.")
    )
    server_name: HostName | None = field(
        default=None,
        converter=converters.optional(plain.host),
        metadata=doc(
            "The name, or IP address, that is requested (SNI) and that the certificate must be valid "
            "for, where the pool uses TLS.",
            default="that of the pool's `tls`",
        ),
    )
    state: BackendState = field(
        default="ready",
        metadata=doc(
            '`"drain"`: the backend gets no new clients; those that have affinity to it still come. '
            '`"maintenance"`: it gets no clients. Open sessions go on, for `drain_timeout` at most.'
        ),
    )


_of_a_table: checks.Validator[Any] = checks.not_with("by", BY_COOKIE)


@frozen(kw_only=True, field_transformer=strict)
class AffinityConfig:
    """`[pools.NAME.affinity]`: the same client gets the same backend."""

    by: Literal["source_ip", "cookie"] = field(
        default="source_ip",
        metadata=doc(
            'What identifies a client: `"source_ip"`, its address; `"cookie"`, with `mode = "http"`, a '
            "cookie that it gets with its first response, and that says which backend it belongs to."
        ),
    )
    cookie: AffinityCookieConfig | None = field(
        default=None,
        validator=checks.needs_value("by", BY_COOKIE),
        metadata=doc("The cookie.", default="as its keys say"),
    )
    ttl: Duration = field(
        default=Duration(1800),
        converter=plain.duration,
        validator=[checks.longer_than_zero, _of_a_table],
        metadata=doc("How long a client is remembered after its last connection has ended."),
    )
    max_entries: int = field(
        default=100_000,
        validator=[checks.at_least(1), _of_a_table],
        metadata=doc(
            "Maximum number of clients that are remembered. When it is reached, the least recently "
            "seen client is removed."
        ),
    )
    ipv4_prefix: int = field(
        default=32,
        validator=[checks.between(1, 32), _of_a_table],
        metadata=doc(
            "Prefix length of an IPv4 client: addresses that agree in this many bits are one client."
        ),
    )
    ipv6_prefix: int = field(
        default=64,
        validator=[checks.between(1, 128), _of_a_table],
        metadata=doc(
            "Prefix length of an IPv6 client. A /64 is one network, in which a host can change its "
            "address freely."
        ),
    )
    state_file: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        validator=_of_a_table,
        metadata=doc(
            "A file in which the table survives a restart and a crash. Each pool and each process needs its "
            "own. Absent: the table is in memory only."
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class HealthConfig:
    """`[pools.NAME.health]`: probes that mark backends up and down.

    Without this table a backend counts as up until dialling it fails.
    """

    check: str = field(default="tcp", metadata=doc("The probe. Its own keys stand in the same table."))
    interval: Duration = field(
        default=Duration(2),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("Time from one check of a backend to its next."),
    )
    timeout: Duration = field(
        default=Duration(1),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("A check that has not passed within this time has failed."),
    )
    rise: int = field(
        default=2,
        validator=checks.at_least(1),
        metadata=doc("How many checks in a row must pass before the backend is up."),
    )
    fall: int = field(
        default=3,
        validator=checks.at_least(1),
        metadata=doc("How many checks in a row must fail before the backend is down."),
    )
    initial: Initial = field(
        default="checked",
        metadata=doc(
            'The state of a backend before its first check: `"checked"`, no connections until the '
            'first check, whose result decides; `"up"`, connections at once; `"down"`, no connections '
            "until `rise` checks have passed."
        ),
    )
    down_interval: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional(checks.longer_than_zero),
        metadata=doc("Time from one check to the next while the backend is down.", default="as `interval`"),
    )
    on_down: OnDown = field(
        default="keep",
        metadata=doc(
            'What happens to open connections when their backend goes down: `"keep"` leaves them open, '
            '`"reset"` resets them.'
        ),
    )
    port: int | None = field(
        default=None,
        validator=optional(checks.between(1, MAX_PORT)),
        metadata=doc("The port to check.", default="the backend's"),
    )
    address: HostName | None = field(
        default=None,
        converter=converters.optional(plain.host),
        metadata=doc(
            "The host to check for every backend, a name or an IP address.", default="the backend's"
        ),
    )
    send_proxy_protocol: ProbeHeader | None = field(
        default=None,
        metadata=doc(
            'Version of the PROXY header that a check sends first, `"v1"` or `"v2"`; it names no '
            'client (UNKNOWN, LOCAL). `"none"` is for a port that expects no header.',
            default="as the pool's `send_proxy_protocol`",
        ),
    )
    probe: object = field(metadata=doc("The probe made from the further keys of the table."))

    def checked_address(self, own: Address) -> Address:
        """Give the address at which a backend is checked.

        :param own: the backend's.
        :raises SettingError: of a unix socket only the host or the port is replaced.
        """
        if self.address is None and self.port is None:
            return own
        host, port = self.address or own.host, self.port or own.port
        if host is None or port is None:
            raise SettingError(
                f"health: unix socket {own.path} can be checked elsewhere by host and port only"
            )
        return Address(host, port)


def _retry_on(pool: Any, key: attrs.Attribute[Any], value: object) -> None:
    """Refuse another collection than one of these words, with the first of them."""
    words = get_args(RetryOn)
    if not isinstance(value, tuple | list | set | frozenset) or any(word not in words for word in value):
        raise InvalidValue(key.name, f"must be a list of {choices(words)}, got {value_text(value)}")
    if CONNECT_FAILED not in value:
        raise InvalidValue(key.name, 'must have "connect_failed"; retries = 0 makes no further attempt')
    if RESET_BEFORE_ANSWER in value and pool.retries == 0:
        raise InvalidValue(key.name, f'"{RESET_BEFORE_ANSWER}" has no effect with retries = 0')


def _a_primary(_: object, key: attrs.Attribute[Any], backends: tuple[BackendConfig, ...]) -> None:
    if not backends:
        raise InvalidValue(key.name, "must have at least one backend")
    if all(backend.backup for backend in backends):
        raise InvalidValue(key.name, "must have at least one backend without backup = true")


def _something_to_wait_for(pool: Any, key: attrs.Attribute[Any], queue: int | None) -> None:
    # Without any backend, that is what is wrong.
    if queue is None or not pool.backends:
        return
    if all(backend.max_connections is None for backend in pool.backends):
        raise InvalidValue(key.name, "has no effect without max_connections at a backend")


def _probes_somewhere(pool: Any, key: attrs.Attribute[Any], health: HealthConfig | None) -> None:
    """Refuse half an address for backends that have none of their own to make it whole."""
    if health is None or (health.port is None) is (health.address is None):
        return
    for backend in pool.backends:
        if backend.address.is_unix:
            has, lacks = ("port", "address") if health.address is None else ("address", "port")
            raise InvalidValue(
                key.name, f"must have {lacks} besides {has}, backend {backend.name} is a unix socket"
            )


@frozen(kw_only=True, field_transformer=strict)
class PoolConfig:
    """`[pools.NAME]`: the backends behind one or more frontends, and how one of them is chosen."""

    backends: tuple[BackendConfig, ...] = field(
        validator=_a_primary,
        metadata=doc(
            "The servers: each an address, or a table with the keys below.",
            example='["10.0.0.11:5432", "10.0.0.12:5432"]',
        ),
    )
    balance: str = field(
        default="round_robin", metadata=doc("The balancing policy: how a backend is chosen.")
    )
    bounded_load: float | None = field(
        default=None,
        validator=[optional(checks.at_least(1)), checks.needs_value("balance", SOURCE_HASH)],
        metadata=doc(
            "Maximum load of a backend as a multiple of the mean load. Only with `balance = "
            '"source_hash"`. Absent: no bound.'
        ),
    )
    panic_threshold: Fraction = field(
        default=Fraction(0),
        converter=plain.fraction,
        validator=checks.between(Fraction(0), Fraction(1)),
        metadata=doc(
            "When a smaller part of the backends than this is available, health is ignored and all of "
            'them serve. `"0%"`: never.'
        ),
    )
    connect_timeout: Duration = field(
        default=Duration(3),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("Time limit of one attempt to connect to a backend, its TLS handshake included."),
    )
    dial_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional([checks.longer_than_zero, checks.not_less_than("connect_timeout")]),
        metadata=doc(
            "Time limit, for one connection, of all attempts to reach a backend and the pauses between "
            "them. Time in the queue is not counted; `queue_timeout` limits it.",
            default='`"15s"`, or `connect_timeout` where that is longer',
        ),
    )
    retries: int = field(
        default=2,
        validator=checks.at_least(0),
        metadata=doc(
            "How many further attempts follow when a backend does not accept: first at the other "
            "backends, then, after a growing pause, at all of them again. At most a fifth of the "
            "pool's connections, and at least 3, may be retries at the same time."
        ),
    )
    retry_on: tuple[RetryOn, ...] = field(
        default=("connect_failed",),
        validator=_retry_on,
        metadata=doc(
            'Which failures are retried. `"connect_failed"`: the connection to a backend, or its TLS '
            'handshake, failed. `"reset_before_answer"`, if listed: a backend accepted the connection '
            "and reset it before sending a byte. The bytes of the client (up to 64 KiB) are then sent "
            "again, and two backends may process them."
        ),
    )
    queue: int | None = field(
        default=None,
        validator=[optional(checks.at_least(1)), _something_to_wait_for],
        metadata=doc(
            "How many connections, or requests, may wait while each available backend has `max_connections`. "
            "Absent: they are closed, or get 503, instead."
        ),
    )
    queue_timeout: Duration = field(
        default=Duration(10),
        converter=plain.duration,
        validator=[checks.longer_than_zero, checks.needs("queue")],
        metadata=doc("Maximum time of a connection in the queue."),
    )
    slow_start: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=[optional(checks.longer_than_zero), checks.not_with("balance", SOURCE_HASH)],
        metadata=doc(
            "Time until a backend that is new or has returned gets its full weight. Absent: it gets it "
            'at once. Not together with `balance = "source_hash"`, which needs a fixed backend for '
            "each client."
        ),
    )
    drain_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional(checks.longer_than_zero),
        metadata=doc(
            "How long open sessions of a backend may continue once it gets no new clients: it was removed, "
            'or its `state` is not `"ready"`, or the frontend was removed. A change applies to backends that '
            "begin to drain after it. Absent: no limit."
        ),
    )
    send_proxy_protocol: ProxyVersion | None = field(
        default=None,
        metadata=doc(
            "Sends a PROXY header of this version, with the client's address, at the start of each "
            "connection to a backend. The backends must expect it."
        ),
    )
    pass_tlvs: tuple[TlvType, ...] = field(
        default=(),
        converter=plain.tlv_types,
        validator=checks.needs_value("send_proxy_protocol", "v2"),
        metadata=doc(
            "Fields (TLVs) of the client's own PROXY header to pass on with `send_proxy_protocol = "
            '"v2"`: `"alpn"`, `"authority"`, `"unique_id"`, `"ssl"`, `"netns"`, or numbers.',
            default="none",
        ),
    )
    tls: PoolTlsConfig | None = field(default=None, metadata=doc("TLS to the backends."))
    http: PoolHttpConfig | None = field(
        default=None,
        metadata=doc('HTTP to the backends, for frontends with `mode = "http"`.', default="as its keys say"),
    )
    affinity: AffinityConfig | None = field(
        default=None, metadata=doc("Affinity: the same client gets the same backend.")
    )
    health: HealthConfig | None = field(
        default=None,
        validator=_probes_somewhere,
        metadata=doc("Health checks, which mark backends up and down."),
    )
    outlier: OutlierConfig | None = field(
        default=None, metadata=doc("Outlier detection: ejects backends whose connections fail or are slow.")
    )
    rebalance: RebalanceConfig | None = field(
        default=None,
        # Clients would come back to the backends whose connections were closed.
        validator=[checks.not_with("balance", SOURCE_HASH), checks.not_with("balance", PEAK_EWMA)],
        metadata=doc(
            "Rebalancing: closes idle connections of backends that have more than their share, as after a "
            "backend was added. Absent: open connections stay where they are. Not together with "
            '`balance = "source_hash"` or `"peak_ewma"`, which do not distribute clients by the number of '
            "connections."
        ),
    )
