"""What the tables of a frontend say about HTTP, as its requests need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self

import attrs
from attrs import field, frozen

from tcpbalance.admission.access import Access
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Address
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.cookies import CookieConfig
from tcpbalance.config.errors import key_text
from tcpbalance.config.frontends import FrontendConfig, pools_of
from tcpbalance.config.http import ForwardedConfig, ForwardedFamily, ForwardedField, HttpConfig
from tcpbalance.config.http_rules import mistakes_for_http
from tcpbalance.config.http_values import PagePath, StatusRange
from tcpbalance.config.routes import (
    ANY_VALUE,
    HttpRouteConfig,
    RequestHeadersConfig,
    ResponseHeadersConfig,
    RouteAccessConfig,
)
from tcpbalance.errors import SettingError
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.http.pages import Page, PageReader
from tcpbalance.http.routes import FixedAnswer, PoolsCookie, Redirect, Route, Routes
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.rewrite import NO_EDITS, FieldEdits


@frozen(kw_only=True)
class HttpSettings(HttpConfig):
    """The keys of ``[frontends.NAME.http]``, and what comes of other tables; each request looks at them.

    :param trust: proxies in front whose forwarded fields count.
    :param read: which of those that they send.
    :param send: which of those fields backends get.
    :param pages: bodies of our own answers, by status.
    :param connect: which clients may have tunnels, and where to; None for none.
    :ivar limits: of the head of a request.
    :ivar trusts: whether there are such proxies.
    """

    trust: NetworkSet = field(factory=lambda: NetworkSet(()))
    read: ForwardedFamily = "x-forwarded"
    send: tuple[ForwardedField, ...] = ("x-forwarded",)
    pages: Mapping[int, Page] = field(factory=dict, hash=False)
    connect: ConnectSettings | None = None
    limits: HeadLimits = field(init=False)
    trusts: bool = field(init=False)

    @limits.default
    def _limits_of_heads(self) -> HeadLimits:
        return HeadLimits(self.head_size, self.head_lines)

    @trusts.default
    def _has_trusted_proxies(self) -> bool:
        return bool(self.trust)


_NO_ADDRESS = (Address.parse("127.0.0.1:0"),)
"""Stands for where a frontend listens, which is not looked at."""


@frozen(eq=False)
class HttpParts:
    """What the tables of one frontend become.

    :param settings: what holds for all requests.
    :param routes: which of them go where.
    """

    settings: HttpSettings
    routes: Routes

    @classmethod
    def of(cls, config: FrontendConfig, pools: Mapping[str, Pool]) -> Self:
        """Make them, and read the files of answers.

        :param pools: by name.
        :raises PageError: a file cannot be used.
        :raises UsersFileError: that of the users cannot be used.
        """
        reader = PageReader()
        http, forwarded = config.http or HttpConfig(), config.forwarded or ForwardedConfig()
        pages = reader.by_status(config.error_pages)
        routes = _routes(config, pools, reader, http.body_size)
        is_strict = http.ambiguous_path == "reject" or (http.ambiguous_path is None and routes.looks_at_paths)
        settings = HttpSettings(
            **attrs.asdict(http, recurse=False) | {"ambiguous_path": "reject" if is_strict else "keep"},
            trust=NetworkSet(network.network for network in forwarded.trust),
            read=forwarded.read,
            send=forwarded.send,
            pages=pages,
            connect=None if config.connect is None else ConnectSettings.of(config.connect),
        )
        return cls(settings, routes)

    @classmethod
    def make(
        cls,
        pool: Pool | None,
        *others: Pool,
        routes: Sequence[HttpRouteConfig] = (),
        http: HttpConfig | None = None,
        forwarded: ForwardedConfig | None = None,
        connect: ConnectConfig | None = None,
        error_pages: Mapping[StatusRange | str, PagePath | str] = MappingProxyType({}),
    ) -> Self:
        """Make them in an application, of what stands in the tables of a frontend elsewhere.

        :param pool: serves the requests that no route takes; None where these are answered with 404.
        :param others: the other pools that routes name.
        :param routes: what becomes of some of the requests.
        :param http: bounds on requests.
        :param forwarded: what backends learn about clients.
        :param connect: which tunnels clients may have; None for none.
        :param error_pages: files of our own answers to errors, by status.
        :raises SettingError: something would be a mistake in a configuration.
        :raises PageError: a file cannot be used.
        :raises UsersFileError: that of the users cannot be used.
        """
        given = [each for each in (pool, *others) if each is not None]
        pools = {each.name: each for each in given}
        if len(pools) < len(given):
            raise SettingError("pools of one frontend must have names of their own")
        table = FrontendConfig(
            listen=_NO_ADDRESS,
            mode="http",
            pool=None if pool is None else pool.name,
            routes=tuple(routes),
            http=http,
            forwarded=forwarded,
            connect=connect,
            error_pages=error_pages,
        )
        for name in pools_of(table):
            if name not in pools:
                raise SettingError(f"no pool with the name {name} is given")
        if (mistake := next(mistakes_for_http(table), None)) is not None:
            raise SettingError(f"{key_text(mistake.path)}: {mistake.message}")
        return cls.of(table, pools)


def _routes(
    config: FrontendConfig, pools: Mapping[str, Pool], reader: PageReader, body_size: int | None
) -> Routes:
    pool = None if config.pool is None else pools[config.pool]
    otherwise = None if pool is None else Route(pool=pool, body_size=body_size)
    routes = [
        (table, _route(table, f"routes[{index}]", otherwise, pools, reader, body_size))
        for index, table in enumerate(config.routes)
    ]
    return Routes(routes, otherwise)


def _route(
    table: HttpRouteConfig,
    place: str,
    otherwise: Route | None,
    pools: Mapping[str, Pool],
    reader: PageReader,
    body_size: int | None,
) -> Route:
    redirect, answer = table.redirect, table.answer
    pool = several = None
    if table.pools is not None:
        several = WeightedPools({pools[name]: weight for name, weight in table.pools.items()})
    elif redirect is None and answer is None:
        pool = otherwise.pool if table.pool is None and otherwise is not None else pools[str(table.pool)]
    page = None if answer is None or answer.file is None else reader.read(answer.file)
    return Route(
        name=table.name or place,
        access=_access(table.access),
        pool=pool,
        pools=several,
        mirror=None if table.mirror is None else pools[table.mirror],
        pools_cookie=PoolsCookie(table.pools_cookie or CookieConfig())
        if table.pools_by == "cookie"
        else None,
        redirect=None if redirect is None else Redirect(redirect.status, redirect.to),
        answer=None if answer is None else FixedAnswer(answer.status, page),
        strip_prefix=(table.strip_prefix or "").encode("ascii"),
        request_headers=_edits(table.request_headers),
        response_headers=_edits(table.response_headers),
        response_timeout=table.response_timeout,
        stall_timeout=table.stall_timeout,
        body_timeout=table.body_timeout,
        body_min_rate=table.body_min_rate,
        body_size=body_size if table.body_size is None else table.body_size,
        upgrade=frozenset(table.upgrade),
        methods=frozenset(method.encode("ascii") for method in table.methods),
        headers=tuple(_condition(name, value) for name, value in table.headers.items()),
    )


def _access(table: RouteAccessConfig | None) -> Access | None:
    if table is None:
        return None
    allow, deny = (NetworkSet(each.network for each in networks) for networks in (table.allow, table.deny))
    return Access(allow, deny, needs_address=True)


def _condition(name: str, value: str) -> tuple[bytes, bytes | None]:
    return name.lower().encode("ascii"), None if value == ANY_VALUE else value.encode("ascii")


def _edits(rules: RequestHeadersConfig | ResponseHeadersConfig | None) -> FieldEdits:
    if rules is None:
        return NO_EDITS
    fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in rules.set.items()]
    return FieldEdits(fields, [name.encode("ascii") for name in rules.remove])
