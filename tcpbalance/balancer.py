"""The balancer: frontends and their pools as one Twisted service, from a configuration or from objects."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from random import Random
from time import monotonic, time
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.build import Parts, PreparedConfig, refuse_loops
from tcpbalance.config.difference import Difference
from tcpbalance.config.draft import checked
from tcpbalance.config.models import Config
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.errors import SettingError, TcpbalanceError
from tcpbalance.event import OneTimeEvent, OnEvent
from tcpbalance.health.history import CheckHistory
from tcpbalance.logs.access_log import AccessLog
from tcpbalance.net import descriptors
from tcpbalance.net.connecting import Connector
from tcpbalance.net.data_path import DataPathName, choose
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.listener import Listener
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.overload.guard import OverloadGuard, watches
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.hand_over import HandedOver, HandOver
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.reactor import Reactor
from tcpbalance.services.drains import Drains
from tcpbalance.services.first_imports import import_what_serves
from tcpbalance.services.following import Following
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.frontend_service import FrontendService
from tcpbalance.services.service_set import ServiceSet
from tcpbalance.services.shared import Shared, SharedLoad
from tcpbalance.services.stepped import PreparedChange, prepare_all
from tcpbalance.systemd.notification import Summary

_RELOAD_AGAIN = (
    "; it accepts no clients, the others do: free the address and reload, which opens the frontend anew"
)


class Balancer(MultiService):
    """Frontends, their pools with their health checks, and the access log as one service.

    Each frontend and each pool is a service of its own, in one of the steps of ``SteppedService``. Starting
    prepares all of them or none, and then commits them: addresses are bound at once, and each frontend
    accepts clients when the first health checks of its own pools are over. Stopping retires them: it closes
    the listeners at once, and open sessions may finish within ``shutdown_grace``.

    :param reactor: the reactor that everything lives on; see ``Reactor`` for what it must have.
    :param frontends: what to listen on; pools may be shared between them.
    :param overload: bounds on the memory and descriptors of the process; None for none.
    :param resolver: how host names of backends are looked up.
    :param access_log: takes a record of each session; None for no log.
    :param shutdown_grace: seconds that open sessions may go on after ``stopService``.
    :param data_path: ``"auto"`` for the native data path where there is one, ``"portable"`` for Twisted's own
        transports.
    :param clock: seconds on a monotonic clock, by which sessions, attempts to connect, bans and rates are
        measured; pools have their own.
    :param wall_clock: seconds since the epoch, for timestamps and the validity of certificates.
    :param rng: spreads checks and the ages of sessions.
    :param connector: opens the connections to backends in the place of sockets: through a network of your
        own, or in memory for tests.
    :param inherited: listening sockets that were open when the program began; None for none.
    :param hand_over: brings connections to other processes that their clients belong to; None where there are
        none.
    :param load: what is counted together with other processes that serve the same; None where there are none.
    :param following: has the services follow those of another process; None where this one is alone.
    :raises SettingError: for a negative or endless grace, no frontend, two frontends of one name, an overload
        without bounds, another data path, or a pool whose connections come back to it.
    """

    _log = Logger()

    def __init__(  # noqa: PLR0913 - all but two are given by name
        self,
        reactor: Reactor,
        frontends: Sequence[Frontend],
        *,
        overload: OverloadConfig | None = None,
        resolver: ResolverConfig = ResolverConfig(),
        access_log: AccessLog | None = None,
        shutdown_grace: float = 30.0,
        data_path: DataPathName = "auto",
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
        rng: Random | None = None,
        connector: Connector | None = None,
        inherited: InheritedSockets | None = None,
        hand_over: HandOver | None = None,
        load: SharedLoad | None = None,
        following: Following | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        grace = checked("balancer", Config, shutdown_grace=shutdown_grace).shutdown_grace
        self._timer = cast(IReactorTime, reactor)
        rng = rng or Random()
        self._access_log = access_log
        self._shared = Shared(
            reactor=reactor,
            data_path=choose(data_path, reactor),
            resolver=Resolver(reactor, resolver, random=rng),
            connector=connector,
            clock=clock,
            wall_clock=wall_clock,
            rng=rng,
            on_record=None if access_log is None else access_log.log,
            inherited=inherited or InheritedSockets(),
            drains=Drains(self._timer, lambda _, its: self._served.end_sessions(EndReason.DRAINED, its)),
            grace=grace,
            hand_over=hand_over,
            load=load,
            following=following,
        )
        self._parts: Parts | None = None
        self._worker: int | None = None
        self._on_config: Callable[[Config], object] = lambda _: None
        self._guard = OverloadGuard(reactor, [], watches(overload) if overload else [])
        self._served = ServiceSet(self._shared, self, self._report_when_open, self._guard.watch_over)
        self._is_prepared = False
        self._listening: OneTimeEvent[bool] = OneTimeEvent()
        self._stopping: OneTimeEvent[None] | None = None
        _check_names(frontends)
        refuse_loops(frontends)
        self._served.prepare(frontends).commit()

    @classmethod
    def from_config(
        cls,
        reactor: Reactor,
        config: Config,
        *,
        clock: Callable[[], float] = monotonic,
        inherited: InheritedSockets | None = None,
        worker: int | None = None,
        hand_over: HandOver | None = None,
        load: SharedLoad | None = None,
        following: Following | None = None,
    ) -> Balancer:
        """Build a balancer from a configuration that was loaded or made by hand.

        :param clock: seconds on a monotonic clock, for the pools as well.
        :param inherited: see ``Balancer``.
        :param worker: the number of this process among several that serve, for the access log.
        :param hand_over: see ``Balancer``.
        :param load: see ``Balancer``.
        :param following: see ``Balancer``.
        """
        parts = Parts.of(config, cast(IReactorTime, reactor), clock, load)
        balancer = cls(
            reactor,
            list(parts.frontends.values()),
            overload=config.overload,
            resolver=config.resolver,
            access_log=_access_log(config, reactor, worker),
            shutdown_grace=config.shutdown_grace,
            data_path=config.data_path,
            clock=clock,
            inherited=inherited,
            hand_over=hand_over,
            load=load,
            following=following,
        )
        balancer._parts = parts
        balancer._debug(config)
        balancer._worker = worker
        return balancer

    @classmethod
    def from_file(cls, reactor: Reactor, path: str | os.PathLike[str]) -> Balancer:
        """Build a balancer from a configuration file.

        :raises ConfigError: the file has mistakes; the text lists them all.
        """
        # A worker, whose configuration was read by its supervisor, does without what reads files.
        from tcpbalance.config_reader import read_config

        return cls.from_config(reactor, read_config(path))

    # Changing

    @property
    def config(self) -> Config | None:
        """The configuration that is in use; None where the balancer is made of frontends."""
        return None if self._parts is None else self._parts.config

    def prepare_config(self, config: Config, rest: Callable[[], object] = lambda: None) -> PreparedConfig:
        """Make what can be made of another configuration before it is applied, and may take long: its TLS
        contexts, access lists, tables of policies, and the addresses of names to listen on.

        Nothing changes by that. It may be called in a thread, while the reactor's thread serves.

        :param rest: called often, so that a thread may let others go on.
        :returns: what `apply` takes in the place of the configuration.
        :raises SettingError: see `apply`.
        :raises ListenError: a name to listen on cannot be looked up.
        :raises TcpbalanceError: a file cannot be used.
        """
        if self._parts is None:
            raise SettingError("balancer: is made of frontends, apply goes with Balancer.from_config")
        import_what_serves(config, follows=self._shared.following is not None)
        return PreparedConfig.of(self._parts, config, self._timer, self._shared.clock, rest)

    def apply(self, config: Config | PreparedConfig) -> Difference:
        """Serve by another configuration from now on.

        What is the same in both is not touched. Whatever can fail is done first, and nothing has changed when
        it does.

        :param config: also as `prepare_config` gives it, which makes this call short.
        :returns: what is different. The keys in its ``needing_restart`` keep their old values, which
            ``config`` shows.
        :raises SettingError: the balancer is made of frontends, or parts of the configuration do not fit.
        :raises ListenError: an address cannot be had, or the system refuses a socket option, or the mode or
            owner of a unix socket.
        :raises TcpbalanceError: the balancer does not run, or a file cannot be used.
        """
        prepared = self.as_prepared(config)
        self.prepare_change(prepared).commit()
        return prepared.difference

    def as_prepared(self, config: Config | PreparedConfig) -> PreparedConfig:
        """Give a configuration as `prepare_config` does; one that is prepared as it is, unless another one
        has been applied since.

        :raises TcpbalanceError: see `prepare_config`.
        """
        if isinstance(config, PreparedConfig) and config.present is self._parts:
            return config
        return self.prepare_config(config.config if isinstance(config, PreparedConfig) else config)

    def prepare_change(self, prepared: PreparedConfig) -> PreparedChange:
        """Take all that serving by another configuration may be refused; nothing changes before the commit.

        :param prepared: see `as_prepared`.
        :raises TcpbalanceError: see `apply`.
        """
        if not self.running:
            raise TcpbalanceError("balancer: does not run, start it before applying another configuration")
        before, after = prepared.present.config, prepared.parts.config
        with ExitStack() as undo:
            log = self._access_log
            if after.access_log != before.access_log:
                log = _access_log(after, self._shared.reactor, self._worker)
                if log is not None:
                    log.startService()
                    undo.callback(log.stopService)
            frontends = list(prepared.parts.frontends.values())
            change = self._served.prepare(frontends, prepared.become, prepared.lists, prepared.found)
            undo.callback(change.abandon)
            held = undo.pop_all()

        def commit() -> None:
            change.commit()
            self._parts = prepared.parts
            self._shared.grace = after.shutdown_grace
            self._debug(after)
            self._log_records_to(log)
            if after.overload != before.overload:
                self._guard.watch(watches(after.overload) if after.overload else [])
            self._on_config(after)

        return PreparedChange(commit, held.close)

    def _debug(self, config: Config) -> None:
        """Have the sessions of certain clients logged step by step, from the next ones on."""
        self._shared.debug.replace(network.network for network in config.debug_clients)

    def _log_records_to(self, log: AccessLog | None) -> None:
        before, self._access_log = self._access_log, log
        if log is before:
            return
        self._shared.on_record = None if log is None else log.log
        for registry in self._served.registries:
            registry.on_record = self._shared.on_record
        if before is not None:
            self._served.wait_for(before, before.stopService())

    # Starting

    def prepare(self) -> None:
        """Take all that may be refused: every address and the log file. Calling it again does nothing.

        :raises ListenError: an address cannot be had; none is held then.
        :raises TcpbalanceError: the service is still being stopped.
        :raises AccessLogError: the log file cannot be opened; no address is held then.
        """
        if self._is_prepared:
            return
        if self._stopping is not None:
            raise TcpbalanceError("still stopping: wait until stopService() is done before starting again")
        with ExitStack() as undo:
            prepare_all(self._served.all())
            undo.callback(self._abandon)
            if self._access_log is not None:
                self._access_log.startService()
            undo.pop_all()
        self._is_prepared = True

    def _abandon(self) -> None:
        for service in self._served.all():
            service.abandon()

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated

    def startService(self) -> None:
        """Look names up, start checking, and accept clients.

        A frontend accepts clients once the names of its backends and its first checks have had an answer.

        :raises ListenError: see ``prepare``.
        :raises AccessLogError: see ``prepare``.
        """
        self.prepare()
        descriptors.prepare_table()
        try:
            self._shared.data_path.open()
            super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        except Exception:
            self._give_up(Failure())  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            raise
        self._when_open(list(self._served.frontends.values())).addBoth(self._report_start)

    def _give_up(self, reason: Failure) -> None:
        """Stop what has started already, and report why."""
        self._listening.settle(reason)
        for service in self._served.frontends.values():
            # Nothing else waits for those that were committed, and are closed now.
            service.opened.addErrback(lambda _: None)
        self.stopService()

    def _when_open(self, services: Sequence[FrontendService], advice: str = "") -> Deferred[None]:
        """Wait until frontends are open that begin together; where one cannot be, all are closed.

        :param advice: what the operator reads after the error.
        :returns: fires when those are open that were not closed meanwhile; fails with ListenError.
        """
        for service in services:
            service.opened.addCallbacks(self._start_guard, _ignore_cancelled)
        opened = DeferredList(
            [service.opened for service in services], fireOnOneErrback=True, consumeErrors=True
        )
        return opened.addCallbacks(lambda _: None, self._close_again, errbackArgs=(services, advice))

    def _start_guard(self, _: None) -> None:
        if not self._guard.running:
            self._guard.startService()

    def _close_again(self, failure: Failure, services: Iterable[FrontendService], advice: str) -> Failure:
        assert isinstance(failure.value, FirstError)
        reason = failure.value.subFailure
        if isinstance(reason.value, TcpbalanceError):
            self._log.critical("{error}{advice}", error=str(reason.value), advice=advice)
        else:
            self._log.failure("a frontend could not be opened", reason)
        for service in services:
            service.close()
        return reason

    def _report_start(self, failure: Failure | None) -> None:
        # Where the balancer was stopped meanwhile, this was reported instead.
        if self.running:
            self._listening.settle(failure or True)

    def when_listening(self) -> Deferred[bool]:
        """Wait until all frontends accept clients.

        :returns: fires then, at once if they do; fails with ListenError when another process took an address
            since it was bound, and with what ``startService`` raises after ``prepare``; is cancelled when the
            service is stopped before.
        """
        return self._listening.wait()

    @property
    def pools(self) -> list[Pool]:
        """Those that frontends use."""
        return list(self._served.pools)

    def _report_when_open(self, begun: FrontendService) -> None:
        self._when_open([begun], _RELOAD_AGAIN).addErrback(lambda _: None)  # It is in the log.

    def checks(self, pool: Pool) -> CheckHistory:
        """Give the last results of the checks of a pool that is in use."""
        return self._served.pools[pool].checks

    @property
    def registries(self) -> Sequence[SessionRegistry]:
        """Those that know the open sessions of all frontends, of those that are gone, too."""
        return self._served.registries

    @property
    def factories(self) -> dict[str, FrontendFactory]:
        """By the name of their frontend, what serves its clients."""
        return {name: service.factory for name, service in self._served.frontends.items()}

    @property
    def admissions(self) -> dict[str, AdmissionControl]:
        """By the name of their frontend, what knows the clients that are banned."""
        return {name: service.admission for name, service in self._served.frontends.items()}

    def others_wait(self) -> bool | None:
        """Whether a connection has something to do in the reactor's next turn; None where that is not
        known."""
        return self._shared.data_path.others_wait()

    def waits_for(self, name: str) -> list[str]:
        """Give the reasons for which the clients of a frontend have to wait until they are accepted."""
        service = self._served.frontends[name]
        is_open = service.opened.called and not service.failed
        return [*service.factory.registry.accept_pause.reasons, *([] if is_open else ["opening"])]

    def listens_on(self, name: str) -> list[IAddress]:
        """The addresses that a frontend listens on, as Twisted has them, in the order of ``listen``."""
        return self._served.frontends[name].listening.addresses()

    def listeners(self) -> list[tuple[str, Listener]]:
        """Give what accepts clients on addresses, each with the name of its frontend."""
        frontends = self._served.frontends.items()
        return [(name, listener) for name, it in frontends for listener in it.listening.listeners()]

    def summary(self) -> Summary:
        """Count what there is, for people."""
        backends = [backend for pool in self._served.pools for backend in pool.backends]
        return Summary(
            frontends=len(self._served.frontends),
            backends_up=sum(backend.state == "up" for backend in backends),
            backends=len(backends),
            sessions=sum(len(registry.sessions) for registry in self._served.registries),
        )

    def addresses_of(self, host: str) -> list[str]:
        """The IP addresses that a host name is known to have now; none is asked for."""
        return self._shared.resolver.resolution(host).addresses

    def can_serve_handed_over(self, connection: HandedOver) -> bool:
        """Whether there is a frontend that reads what the client of a connection sends; while several
        processes come to another configuration, it may be missing in one of them."""
        return any(service.reads(connection) for service in self._served.named(connection.frontend))

    def serve_handed_over(self, connection: HandedOver) -> None:
        """Serve a client that another process has accepted, and that belongs to this one.

        One whose frontend is removed meanwhile is served as those that were accepted here. Where there is no
        frontend of that name any more, it is reset, as closing a listening socket resets the clients that
        wait.
        """
        services = self._served.named(connection.frontend)
        if services:
            reading = (service for service in services if service.reads(connection))
            next(reading, services[0]).serve_handed_over(connection)
            return
        connection.sock.close()
        self._log.warn(
            "frontend {name}: a connection that another worker has handed over is reset: no such frontend",
            name=connection.frontend,
        )

    def take_back_handed_over(self) -> list[HandedOver]:
        """Give the clients to the caller that other processes have accepted, and that have to wait here."""
        return [it for service in self._served.frontends.values() for it in service.take_back_handed_over()]

    def limit_drain(self, pool: Pool, backend: Backend, seconds: float) -> None:
        """Have the sessions of a backend that drains ended after a time, in the place of ``drain_timeout`` of
        its pool; it is as before once the backend is ready again.

        :param seconds: infinite for no limit.
        """
        self._shared.drains.limit(pool, backend, seconds)

    def drain_left(self, backend: Backend) -> float | None:
        """Give the seconds until the sessions of a backend are ended that drains; None where they have no
        limit."""
        return self._shared.drains.left(backend)

    def report_events_to(self, on_event: OnEvent) -> None:
        """Have what operators want to know reported from now on, the changes of pools aside.

        :param on_event: called when a client is banned, and when an overload begins or ends.
        """
        self._shared.on_event = self._guard.on_event = on_event

    def report_config_to(self, on_config: Callable[[Config], object]) -> None:
        """Have each configuration reported that it serves by from then on, for what is not its own."""
        self._on_config = on_config

    def reload_files(self) -> None:
        """Read certificates, keys, authorities, revocation lists and deny files again; what cannot be used is
        logged, and what was read before stays in use."""
        for service in self._served.all():
            service.reload_files()

    def reopen_logs(self) -> None:
        """Open the access log anew, for logrotate."""
        if self._access_log is not None:
            self._access_log.reopen()

    # Ending

    def stopService(self) -> Deferred[None]:
        """Close the listeners and stop checking; fires when the last session has ended and its record is
        written, however often it is called meanwhile."""
        if self._stopping is not None:
            return self._stopping.wait()
        if not self._is_prepared:
            return succeed(None)
        self._is_prepared = False
        stopping = self._stopping = OneTimeEvent[None]()
        self._guard.stopService()
        self._log_open_sessions()
        for service in list(self._served.retiring):  # One that only expects clients ends by that.
            if isinstance(service, FrontendService):
                service.drain.begin_grace()
        ended = super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._listening.fail(CancelledError())
        self._listening = OneTimeEvent()
        stopped = stopping.wait()
        Deferred.fromCoroutine(self._finish(ended)).addBoth(self._report_stopped, stopping)
        return stopped

    def _log_open_sessions(self) -> None:
        count = sum(len(registry.sessions) for registry in self._served.registries)
        if count:
            self._log.info(
                "{count} open sessions may finish within {grace:g} s", count=count, grace=self._shared.grace
            )

    async def _finish(self, ended: Deferred[Any]) -> None:
        """Close what all services share, when the last of them has ended."""
        await DeferredList([ended, *self._served.retiring.values()])
        if self._access_log is not None:
            await maybeDeferred(self._access_log.stopService)
        self._shared.drains.stop()
        self._shared.resolver.stop()
        self._shared.data_path.close()

    def _report_stopped(self, outcome: Failure | None, stopping: OneTimeEvent[None]) -> None:
        self._stopping = None
        stopping.settle(outcome)

    def end_grace_now(self) -> None:
        """Cut the grace short: open sessions of what is being stopped are ended now."""
        for service in (*self._served.frontends.values(), *self._served.retiring):
            if isinstance(service, FrontendService):
                service.drain.end_grace_now()


def _access_log(config: Config, reactor: Reactor, worker: int | None) -> AccessLog | None:
    log = config.access_log
    return None if log is None else AccessLog(log.path, log.format, reactor, worker=worker)


def _check_names(frontends: Sequence[Frontend]) -> None:
    if not frontends:
        raise SettingError("balancer: must have at least one frontend")
    for name, times in Counter(frontend.name for frontend in frontends).most_common(1):
        if times > 1:
            raise SettingError(f"balancer: frontends must have different names, got {name} {times} times")


def _ignore_cancelled(failure: Failure) -> None:
    """A frontend that is closed before it is open is not waited for."""
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]  # Twisted's is not annotated
