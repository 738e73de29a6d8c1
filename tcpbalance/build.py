"""The parts that a balancer is made of, and how a configuration becomes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.admission.deny_file import mistakes_in_deny_file
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.errors import KeyPath, Mistake, Problem, Severity
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loader import FileTable, Report, load
from tcpbalance.config.loops import Inlet, Outlet, loops
from tcpbalance.config.models import Config
from tcpbalance.config.pieces import KnownTables
from tcpbalance.config.pools import AffinityConfig, PoolConfig
from tcpbalance.errors import SettingError
from tcpbalance.health.extensions import probes
from tcpbalance.journal.examination import mistakes_in_state_file
from tcpbalance.net.own_listeners import loops_by_address, loops_by_name
from tcpbalance.net.resolver.answer import Verdict
from tcpbalance.net.resolver.blocking import look_up_all
from tcpbalance.net.resolver.knowledge import verdict_of
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.tls.client import ClientTls
from tcpbalance.net.tls.examination import mistakes_in_files
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.extensions import policies
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.pool_service import LOOKUP_TIMEOUT
from tcpbalance.wire.server_names import NameMap

_log = Logger()


def refuse_loops(frontends: Sequence[Frontend], become: Mapping[Pool, Pool] | None = None) -> None:
    """Look for pools whose connections come back to them, as in a configuration.

    :param become: pools that are about to become like others, and these.
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
    outlets = [
        Outlet((pool.name, backend.name), number[pool], backend.address)
        for pool in pools
        for backend in (become or {}).get(pool, pool).backends
    ]
    for mistake in loops(inlets, outlets):
        pool_name, backend_name = mistake.path
        raise SettingError(f"pool {pool_name}: backend {backend_name}: {mistake.message}")


def build_frontend(
    name: str, config: FrontendConfig, pools: Mapping[str, Pool], tls: ServerTls | None = None
) -> Frontend:
    """Make a frontend of what its table in the configuration says.

    :param pools: by name.
    :param tls: what has been made of its ``tls`` already; None to make it.
    """
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
        tls or (None if config.tls is None else ServerTls(config.tls)),
    )


def build_pool(
    name: str,
    config: PoolConfig,
    timer: IReactorTime | None = None,
    clock: Callable[[], float] = monotonic,
    tls: ClientTls | None = None,
    *,
    is_template: bool = False,
) -> Pool:
    """Make a pool of what its table in the configuration says.

    :param timer: see ``Pool``.
    :param clock: see ``Pool``.
    :param tls: what has been made of its ``tls`` already; None to make it.
    :param is_template: see ``Pool``.
    """
    return Pool(
        name,
        [
            Backend(
                b.address,
                b.name,
                b.weight,
                b.max_connections,
                b.backup,
                b.server_name,
                AdminState(b.state),
            )
            for b in config.backends
        ],
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
        tls=tls or (None if config.tls is None else ClientTls(config.tls)),
        health=config.health,
        timer=timer,
        clock=clock,
        is_template=is_template,
    )


@frozen
class Parts:
    """What a configuration is made into.

    :ivar config: the configuration.
    :ivar pools: by name, those that no frontend uses among them.
    :ivar frontends: by name.
    """

    config: Config
    pools: Mapping[str, Pool]
    frontends: Mapping[str, Frontend]

    @classmethod
    def of(cls, config: Config, timer: IReactorTime, clock: Callable[[], float]) -> Parts:
        """Make them.

        :param timer: see ``Pool``.
        :param clock: see ``Pool``.
        """
        pools = {name: build_pool(name, pool, timer, clock) for name, pool in config.pools.items()}
        frontends = {name: build_frontend(name, f, pools) for name, f in config.frontends.items()}
        return cls(config, pools, frontends)

    def remade(
        self, config: Config, timer: IReactorTime, clock: Callable[[], float]
    ) -> tuple[Parts, Mapping[Pool, Pool]]:
        """Make what another configuration has otherwise, with the objects of all that it has as well.

        :returns: the parts, and the pools that have other settings there, each with one that has them.
        :raises TcpbalanceError: something cannot be made, such as TLS of files that are not there any more.
        """
        become: dict[Pool, Pool] = {}
        pools: dict[str, Pool] = {}
        for name, table in config.pools.items():
            present, before = self.pools.get(name), self.config.pools.get(name)
            if present is None or before is None:
                pools[name] = build_pool(name, table, timer, clock)
                continue
            pools[name] = present
            if table != before:
                tls = present.tls if table.tls == before.tls else None
                become[present] = build_pool(name, table, timer, clock, tls, is_template=True)
        frontends = {name: self._frontend(name, table, pools) for name, table in config.frontends.items()}
        return Parts(config, pools, frontends), become

    def _frontend(self, name: str, table: FrontendConfig, pools: Mapping[str, Pool]) -> Frontend:
        present, before = self.frontends.get(name), self.config.frontends.get(name)
        if present is None or before is None:
            return build_frontend(name, table, pools)
        if table == before and all(pool in pools.values() for pool in present.pools):
            return present
        tls = present.preread.tls if present.preread and table.tls == before.tls else None
        return build_frontend(name, table, pools, tls)


def _log_problem(problem: Problem) -> None:
    _log.warn("{problem}", problem=str(problem))


def read_config(
    path: str | os.PathLike[str],
    report: Report = _log_problem,
    *,
    thorough: bool = False,
    rest: Callable[[], object] = lambda: None,
    known: KnownTables | None = None,
) -> Config:
    """Load a configuration file, with the policies and probes that are installed.

    :param report: called with each mistake that does not stop the start; writes it to the log by default.
    :param thorough: whether to find all that can be found beforehand, as ``tcpbalance check`` does: names are
        looked up, and what is wrong with a file that a part reads, and can do without, is reported. At the
        start, and at each reload, that part says so itself.
    :param rest: called often in the middle of long work.
    :param known: what was read of the file before; see ``load``.
    :raises ConfigError: the file has mistakes that stop the start; the text lists all of them.
    """
    return load(
        path,
        policies=policies(),
        probes=probes(),
        examine=_examine if thorough else _examine_for_start,
        examine_draft=loops_by_address,
        examine_all=_examine_names if thorough else lambda config: (),
        report=report,
        rest=rest,
        known=known,
    )


def _examine_names(config: Config) -> Iterator[Mistake]:
    """Find the backends whose names have no address at the moment, or lead to a listener of our own."""
    places: dict[str, list[KeyPath]] = {}
    for name, pool in config.pools.items():
        for index, backend in enumerate(pool.backends):
            if backend.address.is_name:
                places.setdefault(str(backend.address.host), []).append(("pools", name, "backends", index))
    replies = look_up_all(places, config.resolver, LOOKUP_TIMEOUT)
    for host, reply in replies.items():
        verdict = verdict_of(reply)
        if verdict is not Verdict.FOUND:
            for place in places[host]:
                yield Mistake(place, f"{host}: {verdict.value}", Severity.WARNING)
    known = {host: reply.addresses for host, reply in replies.items()}
    yield from loops_by_name(config, lambda host: known.get(host, ()))


def _examine_for_start(path: KeyPath, table: FileTable) -> Iterator[Mistake]:
    return (mistake for mistake in _examine(path, table) if mistake.severity is Severity.FATAL)


def _examine(path: KeyPath, table: FileTable) -> Iterator[Mistake]:
    """Find what is wrong in the files that a table names."""
    if isinstance(table, AccessConfig):
        return mistakes_in_deny_file(path, table)
    if isinstance(table, AffinityConfig):
        return mistakes_in_state_file(path, table)
    return mistakes_in_files(path, table)
