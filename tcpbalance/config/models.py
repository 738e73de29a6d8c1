"""What an operator can write, one frozen class for each table of the file.

Each field says what it does, in Markdown, in its metadata: the configuration reference is made from these
classes. A field's validator looks at its own value; what has to hold between tables stands in
`tcpbalance.config.rules` and is checked when a `Config` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, rules
from tcpbalance.config.errors import BrokenRules
from tcpbalance.config.gate import AccessConfig, LimitsConfig
from tcpbalance.config.metadata import doc
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.tls import FrontendTlsConfig, PoolTlsConfig
from tcpbalance.config.values import (
    Address,
    Duration,
    Fraction,
    HostName,
    LogPath,
    NamePattern,
    Network,
    Size,
    TlvType,
)
from tcpbalance.wire.proxy_protocol import ProxyVersion

MAX_WEIGHT = 256

# What Linux takes: TCP_MIN_MSS and MAX_TCP_WINDOW for the segment, MAX_TCP_KEEPIDLE for keepalive, an int of
# milliseconds for TCP_USER_TIMEOUT, and half an int for buffers, because the system doubles what it is given.
_SEGMENT = (Size(88), Size(32767))
_KEEPALIVE = (Duration(1), Duration(32767))
_USER_TIMEOUT = (Duration(0.001), Duration(2147483))
_BUFFER = (Size(1), Size(2**30 - 1))
_QUEUE = (1, 65535)


@frozen(kw_only=True)
class SocketConfig:
    """`[frontends.NAME.socket]`: settings of the sockets on both sides; absent ones are the system's."""

    receive_buffer: Size | None = field(
        default=None,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Receive buffer (`SO_RCVBUF`); the window that is offered follows from it."),
    )
    send_buffer: Size | None = field(
        default=None,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Send buffer (`SO_SNDBUF`)."),
    )
    max_segment: Size | None = field(
        default=None,
        validator=optional(checks.between(*_SEGMENT)),
        metadata=doc("Largest segment, in bytes, 88 to 32767 (`TCP_MAXSEG`)."),
    )
    window_clamp: Size | None = field(
        default=None,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Upper bound of the window that is offered (`TCP_WINDOW_CLAMP`)."),
    )
    keepalive: Duration | None = field(
        default=None,
        validator=optional(checks.between(*_KEEPALIVE)),
        metadata=doc(
            "How long a connection may be quiet before the system asks the peer whether it is still there, "
            '`"1s"` or more (`SO_KEEPALIVE`, `TCP_KEEPIDLE`).'
        ),
    )
    user_timeout: Duration | None = field(
        default=None,
        validator=optional(checks.between(*_USER_TIMEOUT)),
        metadata=doc(
            "How long bytes that were sent may stay unacknowledged before the connection counts as broken "
            "(`TCP_USER_TIMEOUT`)."
        ),
    )
    fast_open: int | None = field(
        default=None,
        validator=optional(checks.between(*_QUEUE)),
        metadata=doc(
            "How many connections may wait with data in their first packet (`TCP_FASTOPEN`), listeners only."
        ),
    )
    congestion: str | None = field(
        default=None,
        validator=optional(checks.congestion_control),
        metadata=doc(
            'Congestion control, such as `"bbr"` (`TCP_CONGESTION`); it has to be available on the system.'
        ),
    )


@frozen(kw_only=True)
class RouteConfig:
    """`[[frontends.NAME.sni_routes]]`: the pool for some of the names that TLS clients ask for.

    The client's TLS is passed through unopened: its ClientHello is looked at, and goes on as it is.
    """

    names: tuple[NamePattern, ...] = field(
        validator=checks.not_empty("name"),
        metadata=doc(
            'Server names: `"www.example.com"`, or `"*.example.com"` for all names below that one, however '
            "deep; the longest that fits counts.",
            example='["www.example.com"]',
        ),
    )
    pool: str = field(metadata=doc("Name of the pool that serves them.", example='"web"'))


@frozen(kw_only=True)
class FrontendConfig:
    """`[frontends.NAME]`: addresses where clients come in, and the pool that serves them."""

    listen: tuple[Address, ...] = field(
        validator=checks.not_empty("address"),
        metadata=doc(
            "Where clients connect: IP addresses or unix sockets; one may be written without a list. "
            "`0.0.0.0` and `[::]` stand for all addresses; port 0 lets the system choose one.",
            example='"0.0.0.0:5432"',
        ),
    )
    mode: Literal["tcp"] = field(
        default="tcp", metadata=doc("How connections are treated: as streams of bytes.")
    )
    pool: str | None = field(
        default=None,
        metadata=doc(
            "Name of the pool that serves this frontend. Beside `sni_routes` it serves whoever no route is "
            "for, and without it they are closed.",
            default="required without `sni_routes`",
        ),
    )
    accept_proxy_protocol: tuple[Network, ...] = field(
        default=(),
        metadata=doc(
            "Networks whose peers must open with a PROXY header of version 1 or 2; others are served as they "
            "are. The address in the header is the client's from then on. List only proxies that you trust. "
            "Peers on a unix socket have no network, and are never listed.",
            default="none",
        ),
    )
    preread_timeout: Duration = field(
        default=Duration(5),
        validator=checks.longer_than_zero,
        metadata=doc(
            "How long a client may take, from the accept, for what has to come before a backend is chosen: a "
            "PROXY header, and a ClientHello or a whole TLS handshake, together."
        ),
    )
    tls: FrontendTlsConfig | None = field(
        default=None, metadata=doc("TLS with clients ends here; not together with `sni_routes`.")
    )
    sni_routes: tuple[RouteConfig, ...] = field(
        default=(),
        metadata=doc("Pools by the server name that a TLS client asks for.", default="none"),
    )
    backlog: int = field(
        default=4096,
        validator=checks.between(*_QUEUE),
        metadata=doc(
            "How many connections the system keeps until they are accepted, 1 to 65535; "
            "Linux limits it further to `net.core.somaxconn`."
        ),
    )
    idle_timeout: Duration = field(
        default=Duration(3600),
        validator=checks.longer_than_zero,
        metadata=doc("A session ends when no byte has gone either way for this long."),
    )
    half_close_timeout: Duration = field(
        default=Duration(30),
        validator=checks.longer_than_zero,
        metadata=doc(
            "A session ends when one side has finished sending and no byte has gone the other way "
            "for this long."
        ),
    )
    max_connection_age: Duration | None = field(
        default=None,
        validator=optional(checks.longer_than_zero),
        metadata=doc("A session ends at this age, give or take 10 %; absent means no limit."),
    )
    access: AccessConfig | None = field(
        default=None, metadata=doc("Who may come in, by their address; absent means everybody.")
    )
    limits: LimitsConfig | None = field(
        default=None, metadata=doc("How many connections there may be, and how often clients may connect.")
    )
    socket: SocketConfig = field(factory=SocketConfig, metadata=doc("Settings of the sockets on both sides."))


@frozen(kw_only=True)
class BackendConfig:
    """An element of `backends` in `[pools.NAME]`: an address, or a table with these keys."""

    address: Address = field(
        validator=checks.connectable,
        metadata=doc(
            "Where the backend listens; a host name is looked up again at each connection.",
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
        validator=checks.longer_than_zero,
        metadata=doc("Time from one probe of a backend to its next."),
    )
    timeout: Duration = field(
        default=Duration(1),
        validator=checks.longer_than_zero,
        metadata=doc("A probe that has not passed after this long has failed."),
    )
    rise: int = field(
        default=2,
        validator=checks.at_least(1),
        metadata=doc("How many probes in a row have to pass for a backend to come up."),
    )
    fall: int = field(
        default=3,
        validator=checks.at_least(1),
        metadata=doc("How many probes in a row have to fail for a backend to go down."),
    )
    initial: Literal["checked", "up", "down"] = field(
        default="checked",
        metadata=doc(
            'How a backend starts: `"checked"`, as its first probe finds it, with no traffic before; '
            '`"up"`, with traffic at once; `"down"`, with traffic after `rise` probes.'
        ),
    )
    down_interval: Duration | None = field(
        default=None,
        validator=optional(checks.longer_than_zero),
        metadata=doc("Time from one probe to the next while the backend is down.", default="as `interval`"),
    )
    on_down: Literal["keep", "reset"] = field(
        default="keep",
        metadata=doc(
            "What happens to open connections when their backend goes down: "
            '`"keep"` leaves them, `"reset"` resets them.'
        ),
    )
    probe: object = field(metadata=doc("The probe made from the further keys of the table."))


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
    balance: str = field(default="round_robin", metadata=doc("The policy that chooses the backend."))
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
    retries: int = field(
        default=2,
        validator=checks.at_least(0),
        metadata=doc(
            "How many further attempts are made when a backend does not accept: at the others first, then, "
            "after a pause that grows, at all of them again. Not while a fifth of the pool's connections, "
            "and at least 3, are retries already."
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
            'that it has at once. No effect with `balance = "source_hash"`, which has to know where each '
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
    health: HealthConfig | None = field(default=None, metadata=doc("Probes that mark backends up and down."))
    outlier: OutlierConfig | None = field(
        default=None, metadata=doc("Backends are ejected for what real traffic shows of them.")
    )


@frozen(kw_only=True)
class AccessLogConfig:
    """`[access_log]`: one line for each session; without this table there is none."""

    path: LogPath = field(
        default=LogPath("-"),
        converter=LogPath,
        metadata=doc('The file to write to, opened again on SIGUSR1; `"-"` is standard output.'),
    )
    format: Literal["text", "json"] = field(
        default="text", metadata=doc('`"text"`: `key=value` pairs; `"json"`: one object a line.')
    )


@frozen(kw_only=True)
class Config:
    """The whole file; these keys stand before the first table.

    :raises BrokenRules: when parts that are each sound do not go together, such as a frontend and a pool
        that is not there.
    """

    data_path: Literal["auto", "portable"] = field(
        default="auto",
        metadata=doc(
            'What carries the bytes: with `"auto"` the quick road where the system has epoll (Linux), else, '
            'and with `"portable"`, Twisted\'s own transports. The log says which, as each frontend opens.'
        ),
    )
    shutdown_grace: Duration = field(
        default=Duration(30),
        metadata=doc("How long open sessions may go on after SIGTERM or SIGINT before they are ended."),
    )
    overload: OverloadConfig | None = field(
        default=None, metadata=doc("How much the process may take; absent means that nobody looks.")
    )
    access_log: AccessLogConfig | None = field(default=None, metadata=doc("One line for each session."))
    frontends: Mapping[str, FrontendConfig] = field(
        factory=dict, metadata=doc("Where clients come in, by name; at least one.", default="required")
    )
    pools: Mapping[str, PoolConfig] = field(
        factory=dict, metadata=doc("Who serves them, by name.", default="required")
    )

    def __attrs_post_init__(self) -> None:
        flaws = tuple(rules.broken(_facts(self)))
        if flaws:
            raise BrokenRules(flaws)


def _facts(config: Config) -> rules.Facts:
    """Gather what the rules look at."""
    return rules.Facts(
        frontends=tuple(_frontend_facts(*item) for item in config.frontends.items()),
        pools=tuple(_pool_facts(*item) for item in config.pools.items()),
        overload=_given(config.overload),
    )


def _frontend_facts(name: str, frontend: FrontendConfig) -> rules.FrontendFacts:
    path = ("frontends", name)
    listens = tuple(((*path, "listen", index), address) for index, address in enumerate(frontend.listen))
    return rules.FrontendFacts(
        path=path,
        listens=listens,
        pool=frontend.pool,
        routes=tuple(
            rules.RouteFacts((*path, "sni_routes", index), route.names, route.pool)
            for index, route in enumerate(frontend.sni_routes)
        ),
        served=bool(frontend.pool is not None or frontend.sni_routes),
        tls=_given(frontend.tls),
        access=_given(frontend.access) or frozenset(),
        limits=_given(frontend.limits) or frozenset(),
    )


def _pool_facts(name: str, pool: PoolConfig) -> rules.PoolFacts:
    path = ("pools", name)
    return rules.PoolFacts(
        path=path,
        backends=tuple(
            rules.BackendFacts(
                (*path, "backends", index),
                backend.name,
                backend.address,
                backend.backup,
                backend.server_name is not None,
                backend.max_connections is not None,
            )
            for index, backend in enumerate(pool.backends)
        ),
        tls=_given(pool.tls),
        verified=pool.tls is None or pool.tls.verify,
        keys=_given(pool) or frozenset(),
    )


def _given(table: attrs.AttrsInstance | None) -> frozenset[str] | None:
    """Tell which keys say something else than their default; None where there is no table."""
    if table is None:
        return None
    return frozenset(key.name for key in attrs.fields(type(table)) if getattr(table, key.name) != key.default)
