"""What an operator can write about HTTP: at frontends with `mode = "http"`, and towards the backends."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs
from attrs import converters, field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Network
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.messages import choices, value_text
from tcpbalance.config.metadata import doc
from tcpbalance.config.quantities import Bandwidth, Duration, Size
from tcpbalance.config.route_values import SentHost
from tcpbalance.config.strict import strict

AmbiguousPath: TypeAlias = Literal["reject", "keep"]
ServerHeader: TypeAlias = Literal["pass", "remove"]
ForwardedFamily: TypeAlias = Literal["x-forwarded", "forwarded"]
ForwardedField: TypeAlias = Literal["x-forwarded", "forwarded", "via", "x-real-ip", "x-request-id"]
HttpRetryOn: TypeAlias = Literal["no_response"]
NO_RESPONSE: Final = "no_response"

# A head is matched as a whole, and a client may send one byte at a time.
_HEAD_SIZES = (Size(1024), Size(2**20))
_LINE_COUNTS = (10, 10_000)


def _each_once(words: tuple[str, ...]) -> checks.Validator[Any]:
    """Refuse another collection than one of these words, none of them twice."""

    def check(_: object, key: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple | list) or any(word not in words for word in value):
            raise InvalidValue(key.name, f"must be a list of {choices(words)}, got {value_text(value)}")
        for index, word in enumerate(value):
            if word in value[:index]:
                raise InvalidValue(key.name, f"has {value_text(word)} twice")

    return check


@frozen(kw_only=True, field_transformer=strict)
class HttpConfig:
    """`[frontends.NAME.http]`: bounds on what clients send, and on how long they may take."""

    head_timeout: Duration = field(
        default=Duration(10),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Time limit from the first byte of a request to the end of its head. Afterwards the client gets "
            "408."
        ),
    )
    body_timeout: Duration = field(
        default=Duration(30),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Maximum pause in the body of a request. There is no limit on the time of the whole body."
        ),
    )
    body_min_rate: Bandwidth = field(
        default=Bandwidth(256),
        converter=plain.bandwidth,
        metadata=doc("Minimum rate of the body of a request, as the mean of 30 seconds."),
    )
    send_timeout: Duration = field(
        default=Duration(60),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "How long a client may take none of the bytes of a response that wait for it. It is found out "
            "after one to two times as long, and the connection is reset."
        ),
    )
    send_min_rate: Bandwidth = field(
        default=Bandwidth(256),
        converter=plain.bandwidth,
        metadata=doc(
            "Minimum rate at which a client takes a response of which more waits for it, as the mean of each "
            "`send_timeout`."
        ),
    )
    keepalive_timeout: Duration = field(
        default=Duration(60),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc("A client's connection is closed when no request has come for this long."),
    )
    keepalive_requests: int = field(
        default=10_000,
        validator=checks.at_least(1),
        metadata=doc("Maximum number of requests on one connection; with the last of them it is closed."),
    )
    head_size: Size = field(
        default=Size(32 * 1024),
        converter=plain.size,
        validator=checks.between(*_HEAD_SIZES),
        metadata=doc(
            "Maximum size of the head of a request: its first line and its headers. A larger one gets 431. A "
            "target longer than half of this gets 414."
        ),
    )
    head_lines: int = field(
        default=100,
        validator=checks.between(*_LINE_COUNTS),
        metadata=doc("Maximum number of headers of a request. One with more gets 431."),
    )
    body_size: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        metadata=doc(
            "Maximum size of the body of a request. A larger one gets 413. Bodies are passed on as they come "
            "and are not kept here. 0: no request may have a body. Absent: no limit."
        ),
    )
    ambiguous_path: AmbiguousPath | None = field(
        default=None,
        metadata=doc(
            "Requests whose path servers may understand in several ways, because it has `%00`, `%2F`, `%5C`, "
            '`\\`, `//`, `.` or `..`: `"reject"` answers them with 400, `"keep"` passes them on as they are.',
            default='`"reject"` where a route has `paths`, else `"keep"`',
        ),
    )
    server_header: ServerHeader = field(
        default="pass",
        metadata=doc('The `Server` header of responses: `"pass"` leaves it as it is, `"remove"` removes it.'),
    )


@frozen(kw_only=True, field_transformer=strict)
class ForwardedConfig:
    """`[frontends.NAME.forwarded]`: headers by which backends learn which client has sent a request."""

    trust: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks of the proxies in front whose `X-Forwarded-For` and its like (see `read`) and "
            "`X-Request-Id` count. Those of other clients are removed. List only proxies that you trust.",
            default="none",
        ),
    )
    read: ForwardedFamily = field(
        default="x-forwarded",
        validator=checks.needs("trust"),
        metadata=doc(
            "The headers that count of these proxies. The others are removed: a proxy may pass on what its "
            "client has written into them."
        ),
    )
    send: tuple[ForwardedField, ...] = field(
        default=("x-forwarded",),
        validator=_each_once(get_args(ForwardedField)),
        metadata=doc(
            'What backends get: `"x-forwarded"` (`X-Forwarded-For`, `-Proto`, `-Host` and `-Port`), '
            '`"forwarded"` (`Forwarded`, RFC 7239), `"via"` (`Via`), `"x-real-ip"` (`X-Real-IP`), '
            '`"x-request-id"` (`X-Request-Id`, made here unless a trusted proxy has sent one).'
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class PoolHttpConfig:
    """`[pools.NAME.http]`: how backends are spoken to on behalf of frontends with `mode = "http"`."""

    host: SentHost = field(
        default=SentHost("client"),
        converter=plain.sent_host,
        metadata=doc(
            'The `Host` header that backends get: `"client"`, the one that the client sent; `"backend"`, the '
            "host and port of the backend's address (of a unix socket `localhost`); or this name."
        ),
    )
    idle: Duration = field(
        default=Duration(4),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "How long a connection to a backend is kept for the next request. It should be shorter than what "
            "the backend waits for: Node closes after 5 seconds, gunicorn after 2."
        ),
    )
    idle_connections: int = field(
        default=64,
        validator=checks.between(0, 10_000),
        metadata=doc(
            "Maximum number of connections that are kept, for each backend and worker. 0: each request has a "
            "connection of its own, as with `send_proxy_protocol`, whose header names one client."
        ),
    )
    response_timeout: Duration = field(
        default=Duration(60),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Time limit from the end of a request to the head of its response. Afterwards the client gets "
            "504."
        ),
    )
    stall_timeout: Duration = field(
        default=Duration(60),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Maximum pause in a response. For event streams and upgraded connections, the `idle_timeout` of "
            "the frontend counts instead."
        ),
    )
    response_head_size: Size = field(
        default=Size(64 * 1024),
        converter=plain.size,
        validator=checks.between(*_HEAD_SIZES),
        metadata=doc("Maximum size of the head of a response. For a larger one, the client gets 502."),
    )
    retry_on: tuple[HttpRetryOn, ...] = field(
        default=("no_response",),
        validator=_each_once(get_args(HttpRetryOn)),
        metadata=doc(
            "When a request is sent to another backend that the first one has received, if its method is "
            'idempotent and its body is at hand: `"no_response"`, the connection ended before a byte of the '
            "response. Apart from that, it is always sent again if a connection that was kept ends so, and "
            "any request of which nothing had come to the backend then."
        ),
    )
