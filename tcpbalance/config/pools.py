"""What an operator can write about pools: the backends, how one is chosen, and how they are looked after."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import attrs
from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import HIGHEST_PORT, Address, HostName
from tcpbalance.config.errors import Refusal
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import TlvType
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.quantities import Duration, Fraction
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.wire.proxy_protocol import ProxyVersion

MAX_WEIGHT = 256

DEFAULT_BALANCE = "round_robin"

Initial: TypeAlias = Literal["checked", "up", "down"]
OnDown: TypeAlias = Literal["keep", "reset"]
ProbeHeader: TypeAlias = Literal["v1", "v2", "none"]

RetryOn: TypeAlias = Literal["connect_failed", "reset_before_answer"]
CONNECT_FAILED: Final = "connect_failed"
RESET_BEFORE_ANSWER: Final = "reset_before_answer"


@frozen(kw_only=True)
class BackendConfig:
    """An element of `backends` in `[pools.NAME]`: an address, or a table with these keys."""

    address: Address = field(
        validator=checks.connectable,
        metadata=doc(
            "Where the backend listens; how host names are looked up stands in `[resolver]`.",
            example='"10.0.0.11:5432"',
        ),
    )
    name: str = field(
        default=attrs.Factory(lambda self: str(self.address), takes_self=True),
        validator=checks.name,
        metadata=doc(
            "What logs call it, and what `source_hash` places it by; unique in its pool.",
            default="the address",
        ),
    )
    weight: int = field(
        default=1,
        validator=checks.between(1, MAX_WEIGHT),
        metadata=doc(f"Its share against the others, 1 to {MAX_WEIGHT}."),
    )
    max_connections: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc("How many connections it may have at once; absent means no limit."),
    )
    backup: bool = field(default=False, metadata=doc("Whether it serves only when none of the others can."))
    server_name: HostName | None = field(
        default=None,
        metadata=doc(
            "The name, or IP address, that is asked for and has to be in its certificate, where the pool "
            "speaks TLS.",
            default="that of the pool's `tls`",
        ),
    )


@frozen(kw_only=True)
class AffinityConfig:
    """`[pools.NAME.affinity]`: the same client address gets the same backend."""

    by: Literal["source_ip"] = field(
        default="source_ip", metadata=doc("What clients are told apart by: their address.")
    )
    ttl: Duration = field(
        default=Duration(1800),
        validator=checks.longer_than_zero,
        metadata=doc("How long a client is remembered after its last connection has ended."),
    )
    max_entries: int = field(
        default=100_000,
        validator=checks.at_least(1),
        metadata=doc(
            "How many clients are remembered; beyond that, the one not seen for longest is forgotten."
        ),
    )
    ipv4_prefix: int = field(
        default=32,
        validator=checks.between(1, 32),
        metadata=doc("IPv4 addresses that agree in this many bits are one client."),
    )
    ipv6_prefix: int = field(
        default=64,
        validator=checks.between(1, 128),
        metadata=doc(
            "IPv6 addresses that agree in this many bits are one client; 64 bits are one network, "
            "in which a machine changes its address as it likes."
        ),
    )


@frozen(kw_only=True)
class HealthConfig:
    """`[pools.NAME.health]`: probes that mark backends up and down.

    Without this table a backend counts as up until dialling it fails.
    """

    check: str = field(default="tcp", metadata=doc("The probe; its own keys stand in the same table."))
    interval: Duration = field(
        default=Duration(2),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("Time from one probe of a backend to its next."),
    )
    timeout: Duration = field(
        default=Duration(1),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("A probe that has not passed after this long has failed."),
    )
    rise: int = field(
        default=2,
        validator=[checks.whole, checks.at_least(1)],
        metadata=doc("How many probes in a row have to pass for a backend to come up."),
    )
    fall: int = field(
        default=3,
        validator=[checks.whole, checks.at_least(1)],
        metadata=doc("How many probes in a row have to fail for a backend to go down."),
    )
    initial: Initial = field(
        default="checked",
        validator=checks.one_of(Initial),
        metadata=doc(
            'How a backend starts: `"checked"`, as its first probe finds it, with no traffic before; '
            '`"up"`, with traffic at once; `"down"`, with traffic after `rise` probes.'
        ),
    )
    down_interval: Duration | None = field(
        default=None,
        converter=plain.optional_duration,
        validator=optional(checks.longer_than_zero),
        metadata=doc("Time from one probe to the next while the backend is down.", default="as `interval`"),
    )
    on_down: OnDown = field(
        default="keep",
        validator=checks.one_of(OnDown),
        metadata=doc(
            "What happens to open connections when their backend goes down: "
            '`"keep"` leaves them, `"reset"` resets them.'
        ),
    )
    port: int | None = field(
        default=None,
        validator=optional([checks.whole, checks.between(1, HIGHEST_PORT)]),
        metadata=doc("The port that is probed.", default="the backend's"),
    )
    address: HostName | None = field(
        default=None,
        converter=plain.optional_host,
        metadata=doc(
            "The host that is probed for each backend, a name or an IP address.", default="the backend's"
        ),
    )
    send_proxy_protocol: ProbeHeader | None = field(
        default=None,
        validator=optional(checks.one_of(ProbeHeader)),
        metadata=doc(
            'Whether a probe opens with a PROXY header, which says that it is for nobody: `"v1"`, `"v2"`, or '
            '`"none"` where the port that is probed expects no header.',
            default="as the pool's `send_proxy_protocol`",
        ),
    )
    probe: object = field(metadata=doc("The probe made from the further keys of the table."))


def _retry_on(pool: Any, key: attrs.Attribute[Any], value: tuple[RetryOn, ...]) -> None:
    if CONNECT_FAILED not in value:
        raise Refusal(key.name, 'must have "connect_failed"; retries = 0 makes no further attempt')
    if RESET_BEFORE_ANSWER in value and pool.retries == 0:
        raise Refusal(key.name, f'"{RESET_BEFORE_ANSWER}" has no effect with retries = 0')


def _probes_somewhere(pool: Any, key: attrs.Attribute[Any], health: HealthConfig | None) -> None:
    """Refuse half an address for backends that have none of their own to make it whole."""
    if health is None or (health.port is None) is (health.address is None):
        return
    for backend in pool.backends:
        if backend.address.is_unix:
            has, lacks = ("port", "address") if health.address is None else ("address", "port")
            raise Refusal(
                key.name, f"must have {lacks} besides {has}, backend {backend.name} is a unix socket"
            )


@frozen(kw_only=True)
class PoolConfig:
    """`[pools.NAME]`: the backends behind one or more frontends, and how one of them is chosen."""

    backends: tuple[BackendConfig, ...] = field(
        validator=checks.not_empty("backend"),
        metadata=doc(
            "The servers: each an address, or a table with the keys below.",
            example='["10.0.0.11:5432", "10.0.0.12:5432"]',
        ),
    )
    balance: str = field(default=DEFAULT_BALANCE, metadata=doc("The policy that chooses the backend."))
    bounded_load: float | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "No backend gets more than this multiple of the mean load, 1 or more; "
            'only with `balance = "source_hash"`; absent means no bound.'
        ),
    )
    panic_threshold: Fraction = field(
        default=Fraction(0),
        validator=checks.between(Fraction(0), Fraction(1)),
        metadata=doc(
            "When a smaller part of the backends than this is up, health is ignored and all of them serve; "
            '`"0%"` means never.'
        ),
    )
    connect_timeout: Duration = field(
        default=Duration(3),
        validator=checks.longer_than_zero,
        metadata=doc("A backend that has not accepted after this long has failed."),
    )
    dial_timeout: Duration | None = field(
        default=None,
        validator=optional([checks.longer_than_zero, checks.not_less_than("connect_timeout")]),
        metadata=doc(
            "How long all attempts to reach a backend, and the pauses between them, may take together for "
            "one connection. Its time in the queue is not counted: `queue_timeout` bounds that.",
            default='`"15s"`, or `connect_timeout` where that is longer',
        ),
    )
    retries: int = field(
        default=2,
        validator=checks.at_least(0),
        metadata=doc(
            "How many further attempts are made when a backend does not accept: at the others first, then, "
            "after a pause that grows, at all of them again. Not while a fifth of the pool's connections, "
            "and at least 3, are retries already."
        ),
    )
    retry_on: tuple[RetryOn, ...] = field(
        default=("connect_failed",),
        validator=_retry_on,
        metadata=doc(
            'What another attempt is made for: `"connect_failed"`, a connection or TLS handshake with a '
            'backend did not come about; and, where it is listed, `"reset_before_answer"`, a backend '
            "accepted and broke off before its first byte. With the latter, what the client has sent (up to "
            "64 KiB) is sent again, and may be worked on twice."
        ),
    )
    queue: int | None = field(
        default=None,
        validator=optional(checks.at_least(1)),
        metadata=doc(
            "How many connections may wait while each available backend has its `max_connections`; absent "
            "means that they are closed instead."
        ),
    )
    queue_timeout: Duration = field(
        default=Duration(10),
        validator=checks.longer_than_zero,
        metadata=doc("How long a connection may wait in the queue."),
    )
    slow_start: Duration | None = field(
        default=None,
        validator=optional(checks.longer_than_zero),
        metadata=doc(
            "How long it takes until a backend that is new, or back, has all of its weight; absent means "
            'that it has at once. Not together with `balance = "source_hash"`, which has to know where each '
            "client belongs."
        ),
    )
    send_proxy_protocol: ProxyVersion | None = field(
        default=None,
        metadata=doc(
            "Open each connection to a backend with a PROXY header of this version, which says who the "
            "client is. The backends have to expect it."
        ),
    )
    pass_tlvs: tuple[TlvType, ...] = field(
        default=(),
        metadata=doc(
            'Fields of the client\'s own PROXY header that are passed on with `send_proxy_protocol = "v2"`: '
            '`"alpn"`, `"authority"`, `"unique_id"`, `"ssl"`, `"netns"`, or numbers.',
            default="none",
        ),
    )
    tls: PoolTlsConfig | None = field(default=None, metadata=doc("TLS is spoken with the backends."))
    affinity: AffinityConfig | None = field(
        default=None, metadata=doc("The same client address gets the same backend.")
    )
    health: HealthConfig | None = field(
        default=None,
        validator=_probes_somewhere,
        metadata=doc("Probes that mark backends up and down."),
    )
    outlier: OutlierConfig | None = field(
        default=None, metadata=doc("Backends are ejected for what real traffic shows of them.")
    )
