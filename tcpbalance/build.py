"""The parts that a balancer is made of, and how a configuration becomes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import attrs
from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.admission.access import Access
from tcpbalance.admission.lists import read_access
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.difference import Difference, difference, without
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loops import Inlet, Outlet, loops, ports_of
from tcpbalance.config.models import Config
from tcpbalance.config.names import AlpnName
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.tls import FrontendTlsConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.binding import ListenError, addresses_of
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.description import PoolDescription
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.shared import SharedLoad
from tcpbalance.wire.server_names import NameMap

HTTP_1_1 = AlpnName("http/1.1")

if TYPE_CHECKING:
    from tcpbalance.http.settings import HttpParts
    from tcpbalance.net.tls.client import ClientTls
    from tcpbalance.net.tls.server import ServerTls

_log = Logger()


def refuse_loops(frontends: Sequence[Frontend], become: Mapping[Pool, PoolDescription] | None = None) -> None:
    """Look for pools whose connections come back to them, as in a configuration.

    :param become: pools that are about to become something else.
    :raises SettingError: for the first.
    """
    pools = tuple(dict.fromkeys(pool for frontend in frontends for pool in frontend.pools))
    # Pools may have one name, so their numbers stand for them.
    number = {pool: str(index) for index, pool in enumerate(pools)}
    inlets = [
        Inlet(
            ("frontends", frontend.name),
            frontend.addresses,
            frozenset(number[pool] for pool in frontend.pools),
        )
        for frontend in frontends
    ]
    ports = ports_of(inlets)
    outlets = [
        Outlet((pool.name, backend.name), number[pool], backend.address)
        for pool in pools
        for backend in ((become or {}).get(pool) or pool).backends
        if backend.address.port in ports
    ]
    for mistake in loops(inlets, outlets):
        pool_name, backend_name = mistake.path
        raise SettingError(f"pool {pool_name}: backend {backend_name}: {mistake.message}")


def _http_parts(config: FrontendConfig, pools: Mapping[str, Pool]) -> HttpParts:
    # A process without a frontend that has mode = "http" does without its modules.
    from tcpbalance.http.settings import HttpParts

    return HttpParts.of(config, pools)


def build_frontend(
    name: str, config: FrontendConfig, pools: Mapping[str, Pool], tls: ServerTls | None = None
) -> Frontend:
    """Make a frontend of what its table in the configuration says.

    :param pools: by name.
    :param tls: what has been made of its ``tls`` already; None to make it.
    """
    http = _http_parts(config, pools) if config.mode == "http" else None
    return Frontend(
        name,
        config.listen,
        None if config.pool is None else pools[config.pool],
        timeouts=config,
        limits=config.limits or LimitsConfig(),
        access=config.access,
        backlog=config.backlog,
        socket=config.socket,
        preread=_preread_settings(config, pools, tls),
        socket_file=SocketFile(config.listen_mode, config.listen_user, config.listen_group),
        http=None if http is None else http.settings,
        routes=None if http is None else http.routes,
    )


def _preread_settings(
    config: FrontendConfig, pools: Mapping[str, Pool], tls: ServerTls | None
) -> PrereadSettings | None:
    if not config.accept_proxy_protocol and not config.sni_routes and config.tls is None:
        return None
    routes = [(name, pools[route.pool]) for route in config.sni_routes for name in route.names]
    for pool in dict.fromkeys(pool for _, pool in routes if pool.tls is not None):
        _log.warn(
            "pool {name}: TLS that sni_routes pass through is wrapped in TLS of the pool's own; where that "
            "is not meant, leave out one of the two",
            name=pool.name,
        )
    return PrereadSettings(
        NetworkSet(network.network for network in config.accept_proxy_protocol),
        NameMap(routes, deep=True) if routes else None,
        config.preread_timeout,
        tls or (None if config.tls is None else _server_tls(config, config.tls)),
    )


def _server_tls(frontend: FrontendConfig, config: FrontendTlsConfig) -> ServerTls:
    """Make what clients speak TLS with; those that offer HTTP/2 as well are to choose what is spoken here."""
    from tcpbalance.net.tls.server import ServerTls

    if frontend.mode == "tcp":
        return ServerTls(config)
    from tcpbalance.http.answers import answer_to_plain

    alpn = config.alpn or (HTTP_1_1,)
    return ServerTls(attrs.evolve(config, alpn=alpn), answer_to_http=answer_to_plain)


def build_pool(
    name: str,
    config: PoolConfig,
    timer: IReactorTime | None = None,
    clock: Callable[[], float] = monotonic,
    rest: Callable[[], object] = lambda: None,
    load: SharedLoad | None = None,
) -> Pool:
    """Make a pool of what its table in the configuration says.

    :param timer: see ``Pool``.
    :param clock: see ``Pool``.
    :param rest: called often in the middle of long work.
    :param load: what is counted together with other processes; None where there are none.
    """
    description = describe_pool(name, config, _client_tls(config), rest)
    tables = description.make_tables(rest)
    shared = None if load is None else load.pool(name)
    pool = Pool.of(description, timer=timer, clock=clock, shared=shared)
    del tables  # The pool has them.
    return pool


def describe_pool(
    name: str, config: PoolConfig, tls: ClientTls | None, rest: Callable[[], object] = lambda: None
) -> PoolDescription:
    """Describe a pool as its table in the configuration does.

    :param tls: what has been made of its ``tls``.
    :param rest: called often in the middle of long work.
    """
    return PoolDescription(
        name=name,
        given=[_backend(backend, rest) for backend in config.backends],
        balance=config.balance,
        bounded_load=config.bounded_load,
        panic_threshold=config.panic_threshold,
        affinity=config.affinity,
        connect_timeout=config.connect_timeout,
        dial_timeout=config.dial_timeout,
        retries=config.retries,
        retry_on=config.retry_on,
        queue=config.queue or 0,
        queue_timeout=config.queue_timeout,
        slow_start=config.slow_start,
        drain_timeout=config.drain_timeout,
        outlier=config.outlier,
        rebalance=config.rebalance,
        send_proxy_protocol=config.send_proxy_protocol,
        pass_tlvs=frozenset(config.pass_tlvs),
        tls=tls,
        health=config.health,
        http=config.http,
    )


def _backend(config: BackendConfig, rest: Callable[[], object]) -> Backend:
    rest()
    return Backend(
        config.address,
        config.name,
        config.weight,
        config.max_connections,
        config.backup,
        config.server_name,
        AdminState(config.state),
    )


@frozen
class Parts:
    """What a configuration is made into.

    :ivar config: the configuration.
    :ivar pools: by name, those that no frontend uses among them.
    :ivar frontends: by name.
    :ivar load: what is counted together with other processes; None where there are none.
    """

    config: Config
    pools: Mapping[str, Pool]
    frontends: Mapping[str, Frontend]
    load: SharedLoad | None = None

    @classmethod
    def of(
        cls,
        config: Config,
        timer: IReactorTime,
        clock: Callable[[], float],
        load: SharedLoad | None = None,
    ) -> Parts:
        """Make them.

        :param timer: see ``Pool``.
        :param clock: see ``Pool``.
        :param load: see above.
        """
        pools = {name: build_pool(name, pool, timer, clock, load=load) for name, pool in config.pools.items()}
        frontends = {name: build_frontend(name, f, pools) for name, f in config.frontends.items()}
        return cls(config, pools, frontends, load)


@frozen(eq=False)
class PreparedConfig:
    """A configuration that a balancer can take up, with all that can be made of it alone.

    It may be made in any thread, and nothing of the balancer changes by that.

    :param config: the configuration as it was given.
    :param present: what the balancer was made of then.
    :param difference: what is different.
    :param parts: what the balancer is made of by this configuration, with the objects of all that both have.
        Keys that need a restart have their old values.
    :param become: the pools that have other settings, each with what it becomes.
    :param lists: the access lists of frontends, by the name of each whose lists are new.
    :param found: the addresses of names that frontends listen on and have not listened on.
    :param tables: keeps the tables of policies until the policies are made.
    """

    config: Config
    present: Parts
    difference: Difference
    parts: Parts
    become: Mapping[Pool, PoolDescription]
    lists: Mapping[str, Access]
    found: Mapping[Address, Sequence[Address]]
    tables: object

    @classmethod
    def of(
        cls,
        present: Parts,
        config: Config,
        timer: IReactorTime,
        clock: Callable[[], float],
        rest: Callable[[], object] = lambda: None,
    ) -> PreparedConfig:
        """Prepare a configuration.

        :param present: what the balancer is made of.
        :param timer: see ``Pool``.
        :param clock: see ``Pool``.
        :param rest: called often in the middle of long work.
        :raises ListenError: a name to listen on cannot be looked up.
        :raises TcpbalanceError: something cannot be made, such as TLS of files that are not there any more.
        """
        before = present.config
        found = difference(before, config)
        usable = without(found.needing_restart, config)
        become: dict[Pool, PoolDescription] = {}
        pools: dict[str, Pool] = {}
        for name, table in usable.pools.items():
            rest()
            old = before.pools.get(name)
            if old is None:
                pools[name] = build_pool(name, table, timer, clock, rest, present.load)
                continue
            pool = pools[name] = present.pools[name]
            if table != old:
                tls = pool.tls if table.tls == old.tls else _client_tls(table)
                become[pool] = describe_pool(name, table, tls, rest)
        frontends: dict[str, Frontend] = {}
        for name, frontend in usable.frontends.items():
            rest()
            frontends[name] = _frontend(name, frontend, present, pools)
        rest()
        refuse_loops(list(frontends.values()), become)
        parts = Parts(usable, pools, frontends, present.load)
        tables = [description.make_tables(rest) for description in become.values()]
        lists = _new_lists(before, usable, rest)
        return cls(config, present, found, parts, become, lists, _look_up(before, usable), tables)


def _frontend(name: str, table: FrontendConfig, present: Parts, pools: Mapping[str, Pool]) -> Frontend:
    """Give the frontend that there is where it stays the same."""
    frontend, before = present.frontends.get(name), present.config.frontends.get(name)
    if frontend is None or before is None:
        return build_frontend(name, table, pools)
    if table == before and all(pool in pools.values() for pool in frontend.pools):
        return _with_pages(frontend, table, pools)
    speaks_as_before = (table.tls, table.mode) == (before.tls, before.mode)
    tls = frontend.preread.tls if frontend.preread and speaks_as_before else None
    return build_frontend(name, table, pools, tls)


def _with_pages(frontend: Frontend, table: FrontendConfig, pools: Mapping[str, Pool]) -> Frontend:
    """Give a frontend with what is in its files of answers now; the same one where nothing has changed."""
    present, routes = frontend.http, frontend.routes
    if present is None or routes is None or not (present.pages or any(routes.pages)):
        return frontend
    http = _http_parts(table, pools)
    if (http.settings.pages, http.routes.pages) == (present.pages, routes.pages):
        return frontend
    return attrs.evolve(frontend, http=http.settings, routes=http.routes)


def _new_lists(before: Config, after: Config, rest: Callable[[], object]) -> Mapping[str, Access]:
    lists: dict[str, Access] = {}
    for name, frontend in after.frontends.items():
        present = before.frontends.get(name)
        if frontend.access is not None and (present is None or present.access != frontend.access):
            lists[name] = read_access(frontend.access, rest)
    return lists


def _look_up(before: Config, after: Config) -> Mapping[Address, Sequence[Address]]:
    """Look the names up that frontends listen on and have not listened on.

    :raises ListenError: one cannot be looked up.
    """
    found: dict[Address, Sequence[Address]] = {}
    for name, frontend in after.frontends.items():
        present = before.frontends.get(name)
        kept = () if present is None else present.listen
        for address in frontend.listen:
            if address.is_name and address not in kept:
                try:
                    found[address] = addresses_of(address)
                except ListenError as error:
                    raise ListenError(f"frontend {name}: {error}") from error
    return found


def _client_tls(table: PoolConfig) -> ClientTls | None:
    if table.tls is None:
        return None
    from tcpbalance.net.tls.client import ClientTls

    return ClientTls(table.tls)
