"""Assembly: a configuration, or parts, made into one Twisted service that listens, checks, serves, drains
and ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance import bounds
from tcpbalance.build import LOOKUP_TIMEOUT, Frontend, build_frontend, build_pool, read_config, refuse_loops
from tcpbalance.config.models import Config
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.pools import HealthConfig
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.errors import SettingError, TcpbalanceError
from tcpbalance.health.monitor import HealthMonitor
from tcpbalance.logs.access_log import AccessLog
from tcpbalance.net import descriptors
from tcpbalance.net.connecting import SocketConnector
from tcpbalance.net.data_path import DataPath, DataPathName, choose
from tcpbalance.net.listener import Listener, ListenError, bind_all
from tcpbalance.net.local_route import why_no_way_to
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.net.socket_options import SocketOptionError, SocketOptions, shrunk_buffers
from tcpbalance.overload.guard import OverloadGuard, watches
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.reload import Part, Reloader, in_thread


class FrontendListeners:
    """The listening sockets of one frontend, from being bound to being closed."""

    _log = Logger("tcpbalance.balancer")

    def __init__(
        self, reactor: Any, frontend: Frontend, factory: FrontendFactory, data_path: DataPath
    ) -> None:
        self._reactor = reactor
        self._data_path = data_path
        self._frontend = frontend
        self._factory = factory
        self._listeners: list[Listener] = []

    def bind(self) -> None:
        options = SocketOptions.of(self._frontend.socket)
        with self._named():
            self._try(options)
        for address in self._frontend.listen:
            with self._named():
                socks = bind_all(address, options)
                if address.is_unix:
                    self._frontend.socket_file.give_to(socks[0])
            for sock in socks:
                listener = Listener(
                    self._reactor, sock, self._factory, self._frontend.backlog, self._data_path
                )
                self._factory.registry.accept_pause.pause_on(listener)
                self._listeners.append(listener)
            for complaint in shrunk_buffers(socks[0], self._frontend.socket):
                self._log.warn("frontend {name}: {complaint}", name=self._frontend.name, complaint=complaint)

    def _try(self, options: SocketOptions) -> None:
        """Find out now whether sockets to backends can have their options, not at each dial.

        :raises SocketOptionError: the system refuses one.
        """
        with socket.socket() as scratch:
            options.prepare_dial(scratch, scratch.family)

    def open(self) -> None:
        for listener in self._listeners:
            with self._named():
                listener.startListening()
            self._log.info(
                "frontend {name} listens on {address} by the {data_path} ({reason})",
                name=self._frontend.name,
                address=listener,
                data_path=self._data_path.name,
                reason=self._data_path.reason,
            )

    def close(self) -> None:
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.stopListening()
            self._factory.registry.accept_pause.leave(listener)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the frontend's name in front of what cannot be had.

        :raises ListenError: in the place of any error of listening or of a socket option.
        """
        try:
            yield
        except (ListenError, SocketOptionError) as error:
            raise ListenError(f"frontend {self._frontend.name}: {error}") from error

    def hosts(self) -> list[Any]:
        return [listener.getHost() for listener in self._listeners]


def _reloadable(frontends: Iterable[Frontend]) -> Iterator[tuple[str, Part]]:
    """All that is made of files, each once, with a name for the log."""
    pools: dict[Pool, None] = {}
    for frontend in frontends:
        if frontend.preread is not None and frontend.preread.tls is not None:
            yield f"frontend {frontend.name}", frontend.preread.tls
        if frontend.deny_file is not None:
            yield f"frontend {frontend.name}", frontend.deny_file
        pools |= dict.fromkeys(frontend.pools)
    for pool in pools:
        if pool.tls is not None:
            yield f"pool {pool.name}", pool.tls


class Balancer(Service):
    """Frontends, their pools with their health checks, and the access log as one service.

    Starting it binds every address at once, so that what cannot be had is known at once, and lets the clients
    of each frontend in when the first health checks of its own pools are over. Stopping
    it closes the listeners at once and lets open sessions finish for ``shutdown_grace``.

    :param reactor: the reactor that everything lives on.
    :param frontends: what to listen on; pools may be shared between them.
    :param overload: how much the process may take; None for no bounds.
    :param resolver: how host names of backends are looked up.
    :param access_log: takes a record of each session; None for no log.
    :param shutdown_grace: seconds that open sessions may go on after ``stopService``.
    :param data_path: ``"auto"`` for the native data path where there is one, ``"portable"`` for Twisted's own
        transports.
    :raises SettingError: for a negative or endless grace, no frontend, two frontends of one name, an overload
        without bounds, another data path, or a pool whose connections come back to it.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        frontends: Sequence[Frontend],
        *,
        overload: OverloadConfig | None = None,
        resolver: ResolverConfig = ResolverConfig(),
        access_log: AccessLog | None = None,
        shutdown_grace: float = 30.0,
        data_path: DataPathName = "auto",
    ) -> None:
        bounds.not_negative("balancer: shutdown_grace", shutdown_grace)
        self._check_names(frontends)
        refuse_loops(frontends)
        self._reactor = reactor
        self._frontends = tuple(frontends)
        self._data_path = choose(data_path, reactor)
        self._resolver = Resolver(reactor, resolver)
        self._access_log = access_log
        self._shutdown_grace = shutdown_grace
        account = access_log.log if access_log else None
        self.factories = {frontend.name: self._factory(frontend, account) for frontend in frontends}
        self._frontend_listeners = {
            frontend.name: FrontendListeners(
                reactor, frontend, self.factories[frontend.name], self._data_path
            )
            for frontend in frontends
        }
        self._reloader = Reloader(reactor, _reloadable(frontends), in_thread(reactor))
        watched = watches(overload) if overload else []
        self._guard = OverloadGuard(
            reactor, [factory.registry for factory in self.factories.values()], watched
        )
        self._monitors = [*self._make_monitors()]
        self._prepared = False
        self._closed: list[str] = []
        self._outcome: Failure | bool = False
        self._stopping = False
        self._waiters: list[Deferred[Any]] = []
        self._stop_waiters: list[Deferred[None]] = []
        self._grace: IDelayedCall | None = None

    @classmethod
    def from_config(cls, reactor: Any, config: Config) -> Balancer:
        """Build a balancer from a configuration that was loaded or made by hand."""
        pools = {name: build_pool(name, pool, reactor) for name, pool in config.pools.items()}
        frontends = [build_frontend(name, f, pools) for name, f in config.frontends.items()]
        log = config.access_log
        return cls(
            reactor,
            frontends,
            overload=config.overload,
            resolver=config.resolver,
            access_log=AccessLog(log.path, log.format, reactor) if log else None,
            shutdown_grace=config.shutdown_grace,
            data_path=config.data_path,
        )

    @classmethod
    def from_file(cls, reactor: Any, path: str | os.PathLike[str]) -> Balancer:
        """Build a balancer from a configuration file.

        :raises ConfigError: the file has mistakes; the text lists them all.
        """
        return cls.from_config(reactor, read_config(path))

    def _check_names(self, frontends: Sequence[Frontend]) -> None:
        if not frontends:
            raise SettingError("balancer: must have at least one frontend")
        for name, times in Counter(frontend.name for frontend in frontends).most_common(1):
            if times > 1:
                raise SettingError(f"balancer: frontends must have different names, got {name} {times} times")

    def _factory(
        self, frontend: Frontend, account: Callable[[SessionRecord], None] | None
    ) -> FrontendFactory:
        options = SocketOptions.of(frontend.socket)
        return FrontendFactory(
            self._reactor,
            frontend.pool,
            name=frontend.name,
            settings=frontend.settings,
            preread=frontend.preread,
            admission=frontend.admission,
            account=account,
            connector=SocketConnector(self._reactor, options, self._data_path, self._resolver),
        )

    def _make_monitors(self) -> Iterator[HealthMonitor]:
        for pool in dict.fromkeys(pool for frontend in self._frontends for pool in frontend.pools):
            if isinstance(pool.health, HealthConfig):
                yield self._monitor(pool, pool.health)

    def _monitor(self, pool: Pool, config: HealthConfig) -> HealthMonitor:
        def on_down(backend: Backend) -> None:
            if config.on_down == "reset":
                for factory in self.factories.values():
                    factory.registry.end_sessions(EndReason.BACKEND_DOWN, served_by=backend)

        return HealthMonitor(
            pool,
            config,
            reactor=self._reactor,
            rng=Random(),
            on_down=on_down,
            resolver=self._resolver,
        )

    # Starting

    def prepare(self) -> None:
        """Take what others may have taken or forbidden: every address and the log file. Does nothing the
        second time.

        :raises ListenError: an address cannot be had; none is held then.
        :raises TcpbalanceError: the service is still being stopped.
        :raises AccessLogError: the log file cannot be opened; no address is held then.
        """
        if self._prepared:
            return
        if self._stopping:
            raise TcpbalanceError("still stopping: wait until stopService() is done before starting again")
        try:
            for listeners in self._frontend_listeners.values():
                listeners.bind()
            if self._access_log is not None:
                self._access_log.startService()
        except Exception:
            self._close_doors()
            raise
        self._prepared = True

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()

    def startService(self) -> None:
        """Look names up, start checking, and let clients in.

        Those of a frontend come in once the names of its backends have had an answer and the checks one.

        :raises ListenError: see ``prepare``.
        :raises AccessLogError: see ``prepare``.
        """
        self.prepare()
        descriptors.make_room()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._data_path.open()
        self._reloader.startService()
        self._warn_of_addresses_out_of_reach()
        for monitor in self._monitors:
            monitor.startService()
        self._closed = [frontend.name for frontend in self._frontends]
        for frontend in self._frontends:
            self._wait_to_open(frontend)

    def _wait_to_open(self, frontend: Frontend) -> None:
        """Open a frontend when the names of its own pools have had an answer and their first checks are over.

        Only checks are waited for that decide who is up at first.
        """
        awaited = [m for m in self._monitors if m.pool in frontend.pools and m.config.initial == "checked"]
        still_awaited = [monitor for monitor in awaited if not monitor.first_round.called]
        if still_awaited:
            self._log.info(
                "frontend {name} waits for the first checks of {pools}, {seconds:g} s at most",
                name=frontend.name,
                pools=", ".join(f"pool {monitor.pool.name}" for monitor in still_awaited),
                seconds=max(monitor.config.timeout for monitor in still_awaited),
            )
        names = self._look_names_up(frontend)
        rounds = DeferredList([names, *(monitor.first_round for monitor in awaited)])
        rounds.addCallback(lambda _: self._open_doors(frontend.name))

    def _look_names_up(self, frontend: Frontend) -> Deferred[None]:
        """Keep the addresses of names known from now on; fires when there was time to learn them."""
        addresses = [backend.address for pool in frontend.pools for backend in pool.backends]
        for pool in frontend.pools:
            if isinstance(pool.health, HealthConfig):
                addresses += [pool.health.checked_address(backend.address) for backend in pool.backends]
        names = dict.fromkeys(str(address.host) for address in addresses if address.is_name)

        def warn(unanswered: list[str]) -> None:
            if unanswered and self.running:
                self._log.warn(
                    "frontend {name} opens without the addresses of {names}: no answer within {seconds:g} s",
                    name=frontend.name,
                    names=", ".join(unanswered),
                    seconds=LOOKUP_TIMEOUT,
                )

        return self._resolver.follow(names, LOOKUP_TIMEOUT).addCallback(warn)

    def _warn_of_addresses_out_of_reach(self) -> None:
        pools = dict.fromkeys(pool for frontend in self._frontends for pool in frontend.pools)
        for pool in pools:
            for backend in pool.backends:
                if why := why_no_way_to(backend.address):
                    self._log.warn(
                        "pool {pool}: backend {backend} cannot be reached: {why}; correct its address, or "
                        "give this machine one of the same kind and a route",
                        pool=pool.name,
                        backend=backend.described,
                        why=why,
                    )

    def _open_doors(self, name: str) -> None:
        """Let the clients of a frontend in, unless the service has ended or another could not be opened."""
        if not self.running or name not in self._closed:
            return
        try:
            self._frontend_listeners[name].open()
        except ListenError as error:
            self._log.critical("{error}", error=str(error))
            self._closed.clear()
            self._close_doors()
            self._tell(Failure(error))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            return
        if not self._guard.running:
            self._guard.startService()
        self._closed.remove(name)
        if not self._closed:
            self._tell(True)

    def _tell(self, outcome: Failure | bool) -> None:
        self._outcome = outcome
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(outcome)

    def when_listening(self) -> Deferred[Any]:
        """Tell when the clients of all frontends are let in.

        :returns: fires then, at once if they are; fails with ListenError when another process took an address
            since it was bound; is cancelled when the service is stopped before.
        """
        waiter: Deferred[Any] = Deferred()
        if self._outcome:
            waiter.callback(self._outcome)
        else:
            self._waiters.append(waiter)
        return waiter

    def listens_on(self, name: str) -> list[Any]:
        """The addresses that a frontend listens on, as Twisted's address objects."""
        return self._frontend_listeners[name].hosts()

    def addresses_of(self, host: str) -> list[str]:
        """The IP addresses that a host name is known to have now; none is asked for."""
        return self._resolver.resolution(host).addresses

    # Ending

    def stopService(self) -> Deferred[None]:
        """Close the listeners and stop checking; fires when the last session has ended and its record is
        written, however often it is called meanwhile."""
        if self._stopping:
            return self._stop_under_way()
        if not self._prepared:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._reloader.stopService()
        self._guard.stopService()
        self._prepared = False
        self._stopping = True
        self._close_doors()
        self._tell(Failure(CancelledError()))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._outcome = False
        stopped = self._stop_under_way()
        Deferred.fromCoroutine(self._stop()).addBoth(self._tell_stopped)
        return stopped

    def _stop_under_way(self) -> Deferred[None]:
        """A Deferred of the caller's own, so that nobody who cancels or chains it disturbs another."""
        waiter: Deferred[None] = Deferred()
        self._stop_waiters.append(waiter)
        return waiter

    def _tell_stopped(self, outcome: Failure | None) -> None:
        self._stopping = False
        waiters, self._stop_waiters = self._stop_waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(outcome)

    def hurry(self) -> None:
        """Cut the grace short: open sessions are ended now."""
        if self._grace is not None and self._grace.active():
            self._grace.reset(0)

    def reload_files(self) -> None:
        """Read certificates, keys, authorities, revocation lists and deny files again; what cannot be used is
        logged, and what was read before stays in use."""
        self._reloader.reload()

    def reopen_logs(self) -> None:
        """Open the access log anew, for logrotate."""
        if self._access_log is not None:
            self._access_log.reopen()

    async def _stop(self) -> None:
        monitors = [maybeDeferred(monitor.stopService) for monitor in self._monitors if monitor.running]
        await DeferredList([*monitors, self._drained()])
        if self._access_log is not None:
            await maybeDeferred(self._access_log.stopService)
        self._resolver.stop()
        self._data_path.close()

    def _drained(self) -> Deferred[Any]:
        """Let open sessions finish within the grace, and end those that do not."""
        registries = [factory.registry for factory in self.factories.values()]
        count = sum(len(registry.sessions) for registry in registries)
        if not count:
            return succeed(None)
        grace = self._shutdown_grace
        self._log.info("{count} open sessions may finish within {grace:g} s", count=count, grace=grace)
        self._grace = self._reactor.callLater(grace, self._end_sessions)
        return DeferredList([registry.when_idle() for registry in registries]).addCallback(self._end_grace)

    def _end_grace(self, _: object) -> None:
        if self._grace is not None and self._grace.active():
            self._grace.cancel()

    def _end_sessions(self) -> None:
        for factory in self.factories.values():
            factory.registry.end_sessions(EndReason.SHUTDOWN)

    def _close_doors(self) -> None:
        for listeners in self._frontend_listeners.values():
            listeners.close()
