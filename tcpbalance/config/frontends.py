"""What an operator can write about frontends: where clients come in, and what holds for them there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs
from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Address, Network
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.draft import readable
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.http import ForwardedConfig, HttpConfig
from tcpbalance.config.http_values import PagePath, StatusRange
from tcpbalance.config.metadata import doc
from tcpbalance.config.names import NamePattern
from tcpbalance.config.paths import FileMode, GroupName, UserName
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.config.strict import strict
from tcpbalance.config.tls import FrontendTlsConfig

# What Linux takes: TCP_MIN_MSS and MAX_TCP_WINDOW for the segment, MAX_TCP_KEEPIDLE for keepalive, an int of
# milliseconds for TCP_USER_TIMEOUT, and half an int for buffers, because the system doubles what it is given.
_SEGMENT = (Size(88), Size(32767))
_KEEPALIVE = (Duration(1), Duration(32767))
_USER_TIMEOUT = (Duration(0.001), Duration(2147483))
_BUFFER = (Size(1), Size(2**30 - 1))
_QUEUE = (1, 65535)

NO_PAGES: Mapping[StatusRange, PagePath] = {}

BACKLOG = 4096
"""Connections that the system queues by default until they are accepted."""


@frozen(kw_only=True, field_transformer=strict)
class SocketConfig:
    """`[frontends.NAME.socket]`: settings of the sockets on both sides; absent ones are the system's."""

    receive_buffer: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Receive buffer (`SO_RCVBUF`). The advertised window follows from it."),
    )
    send_buffer: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Send buffer (`SO_SNDBUF`)."),
    )
    max_segment: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=optional(checks.between(*_SEGMENT)),
        metadata=doc("Maximum segment size (`TCP_MAXSEG`)."),
    )
    window_clamp: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=optional(checks.between(*_BUFFER)),
        metadata=doc("Upper bound of the advertised window (`TCP_WINDOW_CLAMP`)."),
    )
    keepalive: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional(checks.between(*_KEEPALIVE)),
        metadata=doc(
            "Idle time before the system sends the first keepalive probe (`SO_KEEPALIVE`, `TCP_KEEPIDLE`)."
        ),
    )
    user_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional(checks.between(*_USER_TIMEOUT)),
        metadata=doc(
            "How long sent bytes may stay unacknowledged before the system drops the connection "
            "(`TCP_USER_TIMEOUT`)."
        ),
    )
    fast_open: int | None = field(
        default=None,
        validator=optional(checks.between(*_QUEUE)),
        metadata=doc(
            "Length of the TCP Fast Open queue: how many connections may wait with data in their first "
            "packet (`TCP_FASTOPEN`). Listeners only."
        ),
    )
    congestion: str | None = field(
        default=None,
        validator=optional(checks.congestion_control),
        metadata=doc(
            'Congestion control algorithm, such as `"bbr"` (`TCP_CONGESTION`). It must be available on '
            "the system."
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class RouteConfig:
    """`[[frontends.NAME.sni_routes]]`: the pool for some of the names that TLS clients ask for.

    The client's TLS is passed through unopened: its ClientHello is looked at, and goes on as it is.
    """

    names: tuple[NamePattern, ...] = field(
        validator=checks.not_empty("name"),
        metadata=doc(
            'Server names: `"www.example.com"`, or `"*.example.com"` for all names below it, at any '
            "depth. The longest match is used.",
            example='["www.example.com"]',
        ),
    )
    pool: str = field(metadata=doc("Name of the pool that serves these names.", example='"web"'))


def _served(frontend: Any, key: attrs.Attribute[Any], pool: str | None) -> None:
    if pool is None and not frontend.sni_routes and not frontend.routes and frontend.connect is None:
        raise InvalidValue(key.name, 'is required, such as pool = "db"')


def _passed_through(frontend: Any, key: attrs.Attribute[Any], routes: tuple[RouteConfig, ...]) -> None:
    if routes and frontend.mode == "http":
        raise InvalidValue(key.name, 'has no effect with mode = "http", use routes with hosts')
    if routes and frontend.tls is not None:
        raise InvalidValue(
            key.name,
            "not together with tls: either TLS ends here or it is passed through, so leave out one of them",
        )


def _on_unix_sockets(frontend: Any, key: attrs.Attribute[Any], value: object) -> None:
    # Without any address, that is what is wrong.
    if value is None or not frontend.listen:
        return
    if not any(address.is_unix for address in frontend.listen):
        raise InvalidValue(key.name, "has no effect without a unix socket in listen")


@frozen(kw_only=True, field_transformer=strict)
class TimeoutsConfig:
    """Those keys of `[frontends.NAME]` that say how long a session may last."""

    idle_timeout: Duration = field(
        default=Duration(3600),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "A session ends when no byte has moved in either direction for this long. With "
            '`mode = "http"`: of upgraded connections and event streams.'
        ),
    )
    half_close_timeout: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "A session ends when one side has finished sending and no byte has moved in the other "
            'direction for this long. With `mode = "http"`: of upgraded connections, '
            "and of a client that does not fetch its last response."
        ),
    )
    max_connection_age: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=optional(checks.longer_than_zero),
        metadata=doc("A session ends at this age, plus or minus 10 %. Absent: no limit."),
    )


@frozen(kw_only=True, field_transformer=strict)
class FrontendConfig(TimeoutsConfig):
    """`[frontends.NAME]`: addresses where clients come in, and the pool that serves them."""

    listen: tuple[Address, ...] = field(
        converter=plain.addresses,
        validator=checks.listenable,
        metadata=doc(
            "Where clients connect: IP addresses, host names or unix sockets. A single address needs "
            "no list. `0.0.0.0` and `[::]` stand for all addresses. Port 0 lets the system choose a "
            "port.",
            example='"0.0.0.0:5432"',
        ),
    )
    listen_mode: FileMode | None = field(
        default=None,
        validator=_on_unix_sockets,
        metadata=doc(
            "Permissions of the unix sockets in `listen`, in octal. A process with write permission "
            "may connect. Absent: what the umask leaves of `0777`."
        ),
    )
    listen_user: UserName | None = field(
        default=None,
        validator=_on_unix_sockets,
        metadata=doc("Owner of the unix sockets in `listen`. Only root can set it."),
    )
    listen_group: GroupName | None = field(
        default=None,
        validator=_on_unix_sockets,
        metadata=doc(
            "Group of the unix sockets in `listen`: one of the groups of the balancer's process, or "
            "any group if the balancer starts as root."
        ),
    )
    mode: Literal["tcp", "http"] = field(
        default="tcp",
        metadata=doc(
            'How connections are handled: `"tcp"`, as streams of bytes; `"http"`, as requests of HTTP/1.1, '
            "each of which may go to another backend."
        ),
    )
    pool: str | None = field(
        default=None,
        validator=_served,
        metadata=doc(
            "Name of the pool that serves this frontend. With `sni_routes`, it serves the clients that "
            "match no route; without it, these clients are closed. With `routes`, it serves the requests "
            "that match no route; without it, these are answered with 404.",
            default="required without `sni_routes`, `routes` or `connect`",
        ),
    )
    accept_proxy_protocol: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose peers must send a PROXY header of version 1 or 2 first. Other peers are "
            "served without one. The address in the header becomes the client's address. List only "
            "proxies that you trust. Peers on a unix socket have no network and are never listed.",
            default="none",
        ),
    )
    preread_timeout: Duration = field(
        default=Duration(5),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Time limit, from the accept, for all that must arrive before a backend is chosen: a PROXY "
            "header, and a ClientHello or a complete TLS handshake, together."
        ),
    )
    tls: FrontendTlsConfig | None = field(
        default=None, metadata=doc("Terminates the TLS of clients. Not together with `sni_routes`.")
    )
    sni_routes: tuple[RouteConfig, ...] = field(
        default=(),
        validator=_passed_through,
        metadata=doc("Pools by the server name (SNI) in the ClientHello of a TLS client.", default="none"),
    )
    http: HttpConfig | None = field(
        default=None,
        validator=checks.needs_value("mode", "http"),
        metadata=doc("Bounds on requests.", default="as its keys say"),
    )
    forwarded: ForwardedConfig | None = field(
        default=None,
        validator=checks.needs_value("mode", "http"),
        metadata=doc("What backends learn about clients.", default="as its keys say"),
    )
    routes: tuple[HttpRouteConfig, ...] = field(
        default=(),
        validator=checks.needs_value("mode", "http"),
        metadata=doc("Pools, redirects and answers by host, path, method and headers.", default="none"),
    )
    connect: ConnectConfig | None = field(
        default=None,
        validator=checks.needs_value("mode", "http"),
        metadata=doc("Tunnels to what clients name. Absent: requests with CONNECT get 405."),
    )
    error_pages: Mapping[StatusRange, PagePath] = field(
        default=NO_PAGES,
        hash=False,
        converter=plain.pages,
        validator=checks.needs_value("mode", "http"),
        metadata=doc(
            'Files of our own answers to errors, by status: `"404"`, or `"502-504"` for all from the one to '
            "the other. A file has at most 1 MiB; the ending of its name says what is in it. They are read "
            "again on reload. Errors that backends answer with are passed on as they are.",
            default="a line of text",
        ),
    )
    backlog: int = field(
        default=BACKLOG,
        validator=checks.between(*_QUEUE),
        metadata=doc(
            "How many connections the system queues until they are accepted. Linux limits "
            "it further to `net.core.somaxconn`."
        ),
    )
    access: AccessConfig | None = field(
        default=None, metadata=doc("Access lists by client address. Absent: all clients are admitted.")
    )
    limits: LimitsConfig | None = field(
        default=None, metadata=doc("Limits on connections, connection rates and bandwidth, and bans.")
    )
    socket: SocketConfig = field(
        factory=SocketConfig, metadata=doc("Socket options, for the sockets of both sides.")
    )


def pools_of(frontend: FrontendConfig) -> Iterator[str]:
    """Give the names of the pools that a frontend leads to, as far as they can be read."""
    sni = [route.pool for _, route in readable((), frontend.sni_routes)]
    yield from (name for name in (frontend.pool, *sni) if isinstance(name, str))
    for _, route in readable((), frontend.routes):
        yield from route.pool_names
