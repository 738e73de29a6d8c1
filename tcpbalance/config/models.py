"""What an operator can write, one frozen class for each table of the file; here the whole, and the log.

Each field says what it does, in Markdown, in its metadata: the configuration reference is made from these
classes. A field's validator looks at its own value; what has to hold between tables stands in
`tcpbalance.config.rules` and is checked when a `Config` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs
from attrs import field, frozen

from tcpbalance.config import rules
from tcpbalance.config.errors import BrokenRules, Severity
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loops import loops
from tcpbalance.config.metadata import doc
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.paths import LogPath
from tcpbalance.config.pools import PoolConfig
from tcpbalance.config.quantities import Duration
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.config.strict import strict


@frozen(kw_only=True, field_transformer=strict)
class AccessLogConfig:
    """`[access_log]`: one line for each session; without this table there is none."""

    path: LogPath = field(
        default=LogPath("-"),
        converter=LogPath,
        metadata=doc('The file to write to. SIGUSR1 makes the balancer reopen it. `"-"` is standard output.'),
    )
    format: Literal["text", "json"] = field(
        default="text", metadata=doc('`"text"`: `key=value` pairs; `"json"`: one object a line.')
    )


@frozen(kw_only=True, field_transformer=strict)
class Config:
    """The whole file; these keys stand before the first table.

    :raises BrokenRules: when parts that are each sound do not go together, such as a frontend and a pool
        that is not there.
    """

    data_path: Literal["auto", "portable"] = field(
        default="auto",
        metadata=doc(
            'How bytes are moved. `"auto"` is the native data path where the system has epoll (Linux), '
            "and Twisted's own transports elsewhere. `\"portable\"` is always Twisted's transports. "
            "The log names the data path when a frontend opens."
        ),
    )
    shutdown_grace: Duration = field(
        default=Duration(30),
        metadata=doc(
            "How long open sessions may continue after SIGTERM or SIGINT before the balancer ends them."
        ),
    )
    resolver: ResolverConfig = field(
        default=ResolverConfig(), metadata=doc("How host names are looked up.", default="as its keys say")
    )
    overload: OverloadConfig | None = field(
        default=None, metadata=doc("Bounds on the resources of the process. Absent: no bounds.")
    )
    access_log: AccessLogConfig | None = field(default=None, metadata=doc("One line for each session."))
    frontends: Mapping[str, FrontendConfig] = field(
        factory=dict,
        metadata=doc("The frontends, by name: where clients connect. At least one.", default="required"),
    )
    pools: Mapping[str, PoolConfig] = field(
        factory=dict, metadata=doc("The pools of backends, by name.", default="required")
    )

    def __attrs_post_init__(self) -> None:
        facts = facts_of(self)
        broken = (*rules.broken(facts), *loops(facts))
        mistakes = tuple(mistake for mistake in broken if mistake.severity is Severity.FATAL)
        if mistakes:
            raise BrokenRules(mistakes)


def facts_of(config: Config) -> rules.Facts:
    """Gather what the rules look at."""
    return rules.Facts(
        frontends=tuple(_frontend_facts(*item) for item in config.frontends.items()),
        pools=tuple(_pool_facts(*item) for item in config.pools.items()),
        overload=_given(config.overload),
        resolver=_given(config.resolver) or frozenset(),
        system_names=config.resolver.engine == "system",
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
        keys=_given(frontend) or frozenset(),
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
        balance=pool.balance,
        sends_v2=pool.send_proxy_protocol == "v2",
    )


def _given(table: attrs.AttrsInstance | None) -> frozenset[str] | None:
    """Tell which keys say something else than their default; None where there is no table."""
    if table is None:
        return None
    return frozenset(key.name for key in attrs.fields(type(table)) if getattr(table, key.name) != key.default)
