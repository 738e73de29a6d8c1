"""What an operator can write about frontends: where clients come in, and what holds for them there."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Address, Network
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import NamePattern
from tcpbalance.config.paths import FileMode, GroupName, UserName
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.config.tls import FrontendTlsConfig

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
        converter=plain.optional_size,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Receive buffer (`SO_RCVBUF`); the window that is offered follows from it."),
    )
    send_buffer: Size | None = field(
        default=None,
        converter=plain.optional_size,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Send buffer (`SO_SNDBUF`)."),
    )
    max_segment: Size | None = field(
        default=None,
        converter=plain.optional_size,
        validator=optional(checks.between(*_SEGMENT)),
        metadata=doc("Largest segment, in bytes, 88 to 32767 (`TCP_MAXSEG`)."),
    )
    window_clamp: Size | None = field(
        default=None,
        converter=plain.optional_size,
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Upper bound of the window that is offered (`TCP_WINDOW_CLAMP`)."),
    )
    keepalive: Duration | None = field(
        default=None,
        converter=plain.optional_duration,
        validator=optional(checks.between(*_KEEPALIVE)),
        metadata=doc(
            "How long a connection may be quiet before the system asks the peer whether it is still there, "
            '`"1s"` or more (`SO_KEEPALIVE`, `TCP_KEEPIDLE`).'
        ),
    )
    user_timeout: Duration | None = field(
        default=None,
        converter=plain.optional_duration,
        validator=optional(checks.between(*_USER_TIMEOUT)),
        metadata=doc(
            "How long bytes that were sent may stay unacknowledged before the connection counts as broken "
            "(`TCP_USER_TIMEOUT`)."
        ),
    )
    fast_open: int | None = field(
        default=None,
        validator=optional([checks.whole, checks.between(*_QUEUE)]),
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
        validator=checks.listenable,
        metadata=doc(
            "Where clients connect: IP addresses or unix sockets; one may be written without a list. "
            "`0.0.0.0` and `[::]` stand for all addresses; port 0 lets the system choose one.",
            example='"0.0.0.0:5432"',
        ),
    )
    listen_mode: FileMode | None = field(
        default=None,
        metadata=doc(
            "Permissions of the unix sockets in `listen`, in octal; who may write may connect. Absent means "
            "what the umask leaves of `0777`."
        ),
    )
    listen_user: UserName | None = field(
        default=None, metadata=doc("The user that the unix sockets in `listen` are given to; only root can.")
    )
    listen_group: GroupName | None = field(
        default=None,
        metadata=doc(
            "The group that the unix sockets in `listen` are given to: one of those that the balancer runs "
            "with, unless it starts as root."
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
