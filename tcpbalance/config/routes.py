"""What an operator can write about routes: which requests each takes, and what becomes of those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs
from attrs import converters, field, frozen
from attrs.validators import optional

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Network
from tcpbalance.config.cookies import CookieConfig
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.http_values import FieldName, FieldValue, MethodName, PagePath, UpgradeName
from tcpbalance.config.messages import choices, value_text
from tcpbalance.config.metadata import HIDDEN, doc
from tcpbalance.config.quantities import Bandwidth, Duration, Size
from tcpbalance.config.route_values import HostPattern, PathPattern, RedirectTarget
from tcpbalance.config.strict import strict

Rank: TypeAlias = tuple[int, int, bool]
"""How much a route asks of requests besides host and path."""

ANY_VALUE = "*"
"""The value of a header in the conditions of a route that stands for any value."""

WEBSOCKET = UpgradeName("websocket")

NO_FIELDS: Mapping[FieldName, FieldValue] = {}

MAX_POOL_WEIGHT = 10_000
"""Of a pool that is one of several; a part in ten thousand is hardly looked at apart."""

REDIRECTS = (301, 302, 303, 307, 308)
_WITHOUT_BODY = (204, 205)

FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields of one connection alone, which are written anew for each."""

_FIXED_IN_REQUESTS: Mapping[str, str] = {
    "host": "is set by host in [pools.NAME.http]",
    "expect": "is answered here",
}
_FIXED_IN_RESPONSES: Mapping[str, str] = {
    "host": "only requests have",
    "date": "says when the response was made",
}


def _hide_values(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Show which fields there are: their values may be passwords."""
    return dict.fromkeys(fields, HIDDEN)


def _is_framing(name: str) -> bool:
    """Whether a field belongs to one connection; with underscores, backends may take it for the same."""
    return name.lower().replace("_", "-") in FRAMING


def _refuse_field(key: attrs.Attribute[Any], name: str, others: Mapping[str, str]) -> None:
    """Refuse a field whose value follows from something else."""
    if _is_framing(name):
        raise InvalidValue(
            key.name, f"cannot have {name}, which belongs to one connection and is written anew"
        )
    if why := others.get(name.lower()):
        raise InvalidValue(key.name, f"cannot have {name}, which {why}")


def _refuse_twice(key: attrs.Attribute[Any], names: Iterable[str]) -> None:
    """Refuse a name that is there again, perhaps in another case."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise InvalidValue(key.name, f"has {name} twice, case does not matter in names of headers")
        seen.add(name.lower())


def _settable(others: Mapping[str, str]) -> checks.Validator[Mapping[FieldName, FieldValue]]:
    def check(_: object, key: attrs.Attribute[Any], fields: Mapping[FieldName, FieldValue]) -> None:
        _refuse_twice(key, fields)
        for name in fields:
            _refuse_field(key, name, others)

    return check


def _removable(others: Mapping[str, str]) -> checks.Validator[tuple[FieldName, ...]]:
    def check(rules: Any, key: attrs.Attribute[Any], names: tuple[FieldName, ...]) -> None:
        _refuse_twice(key, names)
        replaced = {name.lower() for name in rules.set}
        for name in names:
            _refuse_field(key, name, others)
            if name.lower() in replaced:
                raise InvalidValue(key.name, f"has {name}, which set replaces, leave out one of them")

    return check


@frozen(kw_only=True, field_transformer=strict)
class RequestHeadersConfig:
    """`request_headers` of a route: what backends get besides the headers of the client, or not."""

    set: Mapping[FieldName, FieldValue] = field(
        default=NO_FIELDS,
        hash=False,
        converter=plain.header_fields,
        validator=_settable(_FIXED_IN_REQUESTS),
        metadata=doc(
            "Headers that backends get with these values, instead of those of the same name that the client "
            "sent.",
            default="none",
            example='{ "X-Env" = "prod" }',
        )
        | {"shown": _hide_values},
    )
    remove: tuple[FieldName, ...] = field(
        default=(),
        converter=plain.header_names,
        validator=_removable(_FIXED_IN_REQUESTS),
        metadata=doc("Headers of the client that backends do not get.", default="none"),
    )


@frozen(kw_only=True, field_transformer=strict)
class ResponseHeadersConfig:
    """`response_headers` of a route: what clients get besides the headers of the response, or not."""

    set: Mapping[FieldName, FieldValue] = field(
        default=NO_FIELDS,
        hash=False,
        converter=plain.header_fields,
        validator=_settable(_FIXED_IN_RESPONSES),
        metadata=doc(
            "Headers that clients get with these values, instead of those of the same name in the response. "
            "They are also in redirects and answers of the route.",
            default="none",
            example='{ "Strict-Transport-Security" = "max-age=31536000" }',
        ),
    )
    remove: tuple[FieldName, ...] = field(
        default=(),
        converter=plain.header_names,
        validator=_removable(_FIXED_IN_RESPONSES),
        metadata=doc("Headers of the response that clients do not get.", default="none"),
    )


@frozen(kw_only=True, field_transformer=strict)
class RedirectConfig:
    """`redirect` of a route: clients are sent elsewhere."""

    to: RedirectTarget = field(
        converter=plain.redirect_target,
        metadata=doc(
            "Where to go: a URL, or a path on the same host. `{host}` is the host that was asked for, "
            "without its port; `{path}` for the path and `{query}` for the query with its `?`, both as they "
            "came; `{target}` for both together.",
            example='"https://{host}{target}"',
        ),
    )
    status: int = field(
        default=308,
        validator=checks.Bound(lambda status: status in REDIRECTS, "301, 302, 303, 307 or 308"),
        metadata=doc(
            "The status code. Clients repeat the same method after 307 and 308; they remember 301 and 308."
        ),
    )


def _an_answer(_: object, key: attrs.Attribute[Any], status: int) -> None:
    if 300 <= status < 400:
        raise InvalidValue(key.name, f"must be 200 to 299 or 400 to 599, got {status}, for which redirect is")
    # Part of something, which an answer of ours never is.
    if not 200 <= status < 600 or status == 206:
        raise InvalidValue(key.name, f"must be 200 to 299 or 400 to 599, other than 206, got {status}")


def _has_a_body(answer: Any, key: attrs.Attribute[Any], file: PagePath | None) -> None:
    if file is not None and answer.status in _WITHOUT_BODY:
        raise InvalidValue(key.name, f"has no effect with status = {answer.status}, which has no body")


@frozen(kw_only=True, field_transformer=strict)
class AnswerConfig:
    """`answer` of a route: clients get a fixed answer, and no backend is asked."""

    status: int = field(
        validator=_an_answer, metadata=doc("The status code: 200 to 299 or 400 to 599.", example="410")
    )
    file: PagePath | None = field(
        default=None,
        converter=converters.optional(plain.page),
        validator=_has_a_body,
        metadata=doc(
            "File of the body, of at most 1 MiB; the ending of its name says what is in it. It is read again "
            "on reload.",
            default="the page for this status in `error_pages`, or a line of text",
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class RouteAccessConfig:
    """`access` of a route: which clients may send its requests, by their address.

    Behind a proxy in `forwarded.trust`, that is the address of the client that it reports.
    """

    allow: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose clients are served; all others get 403, clients of a unix socket too. An empty "
            "list serves all clients.",
            default="all clients",
        ),
    )
    deny: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose clients get 403. `deny` takes precedence over `allow`.",
            default="none",
        ),
    )


def _any_network(_: object, key: attrs.Attribute[Any], access: Any) -> None:
    if access is not None and not access.allow and not access.deny:
        raise InvalidValue(key.name, f"has no effect without {choices(('allow', 'deny'))}")


def _needs_backends(route: Any, key: attrs.Attribute[Any], value: object) -> None:
    """Refuse a key that only counts for what backends do."""
    if value in ((), None):
        return
    for other in ("redirect", "answer"):
        if getattr(route, other) is not None:
            raise InvalidValue(key.name, f"has no effect with {other}, which asks no backend")


def _alone(*others: str) -> checks.Validator[Any]:
    """Refuse a second of several ways to go on with a request."""

    def check(route: Any, key: attrs.Attribute[Any], value: object) -> None:
        for other in others:
            if value is not None and getattr(route, other) is not None:
                raise InvalidValue(key.name, f"not together with {other}, leave out one of them")

    return check


def _weights(_: object, key: attrs.Attribute[Any], weights: Any) -> None:
    """Refuse what shares nothing out."""
    if weights is None:
        return
    if not isinstance(weights, Mapping) or not all(isinstance(pool, str) for pool in weights):
        raise InvalidValue(
            key.name, f"must be a table of pools with their weights, got {value_text(weights)}"
        )
    for pool, weight in weights.items():
        if type(weight) is not int or not 0 <= weight <= MAX_POOL_WEIGHT:
            raise InvalidValue(
                key.name,
                f"the weight of {value_text(pool)} must be 0 to {MAX_POOL_WEIGHT}, got {value_text(weight)}",
            )
    if len(weights) < 2:
        raise InvalidValue(key.name, "must have at least two pools, for a single one is pool")
    if not any(weights.values()):
        raise InvalidValue(key.name, "must have at least one pool with a weight above 0")


def _distinct(_: object, key: attrs.Attribute[Any], values: tuple[str, ...]) -> None:
    seen = dict.fromkeys(values)
    if len(seen) < len(values):
        twice = next(value for value in seen if values.count(value) > 1)
        raise InvalidValue(key.name, f"has {value_text(twice)} twice")


def _conditions(_: object, key: attrs.Attribute[Any], fields: Mapping[FieldName, FieldValue]) -> None:
    _refuse_twice(key, fields)
    for name in fields:
        if name.lower() == "host":
            raise InvalidValue(key.name, "cannot have Host, for which hosts is")
        if _is_framing(name):
            raise InvalidValue(key.name, f"cannot have {name}, which belongs to one connection")


def _below_all_paths(route: Any, key: attrs.Attribute[Any], prefix: PathPattern | None) -> None:
    if prefix is None:
        return
    if prefix.is_prefix or prefix.endswith("/"):
        raise InvalidValue(key.name, f'must be a path such as "/api", got {value_text(prefix)}')
    if not route.paths:
        raise InvalidValue(key.name, f'has no effect without paths, such as paths = ["{prefix}/*"]')
    for path in route.paths:
        if not path.lies_below(prefix):
            raise InvalidValue(
                key.name,
                f"must be what all paths begin with, got {value_text(prefix)} with {value_text(path)}",
            )


def _any_rule(_: object, key: attrs.Attribute[Any], rules: Any) -> None:
    if rules is not None and not rules.set and not rules.remove:
        raise InvalidValue(key.name, f"has no effect without {choices(('set', 'remove'))}")


@frozen(kw_only=True, field_transformer=strict)
class HttpRouteConfig:
    """`[[frontends.NAME.routes]]`: some of the requests, and what becomes of them.

    Of several routes that a request fits, the one with the host that fits best is used: the same host, then
    the longest wildcard, then any host. Among those, it is the one with the longest path; then the one with
    more headers; then the one with methods. Two routes between which this decides nothing are a mistake. So
    the order of routes does not matter.
    """

    name: str | None = field(
        default=None,
        validator=optional(checks.name),
        metadata=doc("The name in logs. Unique in the frontend.", default="its place, such as `routes[2]`"),
    )
    hosts: tuple[HostPattern, ...] = field(
        default=(),
        converter=plain.hosts,
        validator=_distinct,
        metadata=doc(
            'Hosts that are asked for: `"www.example.com"`, or `"*.example.com"` for all below it, at any '
            "depth. The port that a request names is not looked at.",
            default="all",
        ),
    )
    paths: tuple[PathPattern, ...] = field(
        default=(),
        converter=plain.paths,
        validator=_distinct,
        metadata=doc(
            'Paths: `"/health"` for this path alone, `"/api/*"` for `/api` and all below it. Whole segments '
            "are compared, in the case in which they are written.",
            default="all",
        ),
    )
    methods: tuple[MethodName, ...] = field(
        default=(),
        converter=plain.methods,
        validator=_distinct,
        metadata=doc('Methods, such as `"GET"`, which does not include `"HEAD"`.', default="all"),
    )
    headers: Mapping[FieldName, FieldValue] = field(
        default=NO_FIELDS,
        hash=False,
        converter=plain.header_fields,
        validator=_conditions,
        metadata=doc(
            'Headers that requests must have with these values; `"*"` is any value. All must be there.',
            default="none",
            example='{ "X-Canary" = "1" }',
        )
        | {"shown": _hide_values},
    )
    access: RouteAccessConfig | None = field(
        default=None,
        validator=_any_network,
        metadata=doc("Which clients may send these requests. The others get 403.", default="all clients"),
    )
    pool: str | None = field(
        default=None,
        metadata=doc("Name of the pool that serves these requests.", default="that of the frontend"),
    )
    pools: Mapping[str, int] | None = field(
        default=None,
        hash=False,
        validator=[_weights, _alone("pool")],
        metadata=doc(
            "Names of several pools that share these requests, with their weights, 0 to "
            f"{MAX_POOL_WEIGHT}. A client stays with one of them: another weight moves no more clients than "
            "it has to.",
            example="{ stable = 95, canary = 5 }",
        ),
    )
    pools_by: Literal["client", "cookie"] = field(
        default="client",
        validator=checks.needs("pools"),
        metadata=doc(
            'What identifies the client that stays with its pool: `"client"`, its address; `"cookie"`, a '
            "cookie that it gets with its first response."
        ),
    )
    pools_cookie: CookieConfig | None = field(
        default=None,
        validator=checks.needs_value("pools_by", "cookie"),
        metadata=doc("The cookie.", default="as its keys say"),
    )
    mirror: str | None = field(
        default=None,
        validator=_needs_backends,
        metadata=doc(
            "Name of a pool that gets a copy of each of these requests, whose response is thrown away. "
            "Requests with a body of more than 64 KiB are not copied.",
            default="none",
        ),
    )
    redirect: RedirectConfig | None = field(
        default=None, validator=_alone("pool", "pools"), metadata=doc("Clients are sent elsewhere.")
    )
    answer: AnswerConfig | None = field(
        default=None,
        validator=_alone("pool", "pools", "redirect"),
        metadata=doc("Clients get a fixed answer."),
    )
    strip_prefix: PathPattern | None = field(
        default=None,
        converter=converters.optional(plain.path),
        validator=[_below_all_paths, _needs_backends],
        metadata=doc(
            'What backends do not get of the path: with `"/api"`, `/api/users` becomes `/users`. All of '
            "`paths` must begin with it."
        ),
    )
    request_headers: RequestHeadersConfig | None = field(
        default=None,
        validator=[_any_rule, _needs_backends],
        metadata=doc("Headers that backends get, or do not get."),
    )
    response_headers: ResponseHeadersConfig | None = field(
        default=None, validator=_any_rule, metadata=doc("Headers that clients get, or do not get.")
    )
    response_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=[optional(checks.longer_than_zero), _needs_backends],
        metadata=doc("`response_timeout` for these requests.", default="that of the pool"),
    )
    stall_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=[optional(checks.longer_than_zero), _needs_backends],
        metadata=doc(
            "Maximum pause in a response to these requests, also in event streams. For upgraded connections, "
            "the `idle_timeout` of the frontend counts instead.",
            default="that of the pool",
        ),
    )
    body_timeout: Duration | None = field(
        default=None,
        converter=converters.optional(plain.duration),
        validator=[optional(checks.longer_than_zero), _needs_backends],
        metadata=doc("`body_timeout` for these requests.", default="that of the frontend"),
    )
    body_min_rate: Bandwidth | None = field(
        default=None,
        converter=converters.optional(plain.bandwidth),
        validator=_needs_backends,
        metadata=doc("`body_min_rate` for these requests.", default="that of the frontend"),
    )
    body_size: Size | None = field(
        default=None,
        converter=converters.optional(plain.size),
        validator=_needs_backends,
        metadata=doc("`body_size` for these requests.", default="that of the frontend"),
    )
    upgrade: tuple[UpgradeName, ...] = field(
        default=(WEBSOCKET,),
        converter=plain.upgrades,
        validator=_distinct,
        metadata=doc(
            "Protocols that a client may switch its connection to. Others, and all with `[]`, are not passed "
            "on: the backend answers as to any other request."
        ),
    )

    @property
    def pool_names(self) -> tuple[str, ...]:
        """The names of the pools that get its requests, or copies of them, as far as they can be read."""
        several = self.pools if isinstance(self.pools, Mapping) else ()
        return tuple(name for name in (self.pool, *several, self.mirror) if isinstance(name, str))

    @property
    def rank(self) -> Rank:
        """How much it asks of a request besides host and path; the route that asks more is used."""
        exact = sum(value != ANY_VALUE for value in self.headers.values())
        return len(self.headers), exact, bool(self.methods)

    def overlaps(self, other: HttpRouteConfig) -> bool:
        """Whether a request can have the methods and headers of both."""
        if self.methods and other.methods and not set(self.methods).intersection(other.methods):
            return False
        ours = {name.lower(): value for name, value in self.headers.items()}
        theirs = {name.lower(): value for name, value in other.headers.items()}
        return all(
            ours[name] == theirs[name] or ANY_VALUE in (ours[name], theirs[name])
            for name in ours.keys() & theirs.keys()
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """What no two routes of a frontend have in common: the name, or else what it asks of requests."""
        if self.name is not None:
            return (self.name,)
        return self.hosts, self.paths, self.methods, tuple(self.headers.items())

    @property
    def label(self) -> str:
        """The name, or else what it asks of requests, in words."""
        if self.name is not None:
            return self.name
        asked = (*self.methods, *self.hosts, *self.paths, *self.headers)
        return " ".join(asked) or "all requests"
