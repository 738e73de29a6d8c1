"""A frontend while it runs: it opens when its backends are known, and drains in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from socket import socket
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.net import resolver
from tcpbalance.net.binding import ListenError
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.hand_over import HandedOver, HandOverWhile
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.reload import Part, Reloader
from tcpbalance.services.following import Monitor
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.frontend_admission import FrontendAdmission
from tcpbalance.services.frontend_listeners import FrontendListeners, ListenersChange, naming
from tcpbalance.services.handed_over_clients import HandedOverClients
from tcpbalance.services.pool_service import PoolService
from tcpbalance.services.session_drain import SessionDrain
from tcpbalance.services.shared import Shared, SharedLoad
from tcpbalance.services.spare_sockets import SpareSockets
from tcpbalance.services.stepped import PreparedChange, SteppedService
from tcpbalance.threads import in_thread


def _try_dial_options(frontend: Frontend) -> None:
    """Find out now whether sockets to backends can have their options, not at each dial.

    :raises SocketOptionError: the system refuses one.
    """
    with socket() as scratch:
        SocketOptions.of(frontend.socket).prepare_dial(scratch, scratch.family)


def _factory_of(frontend: Frontend, load: SharedLoad | None) -> Callable[..., FrontendFactory]:
    """Give what makes the factory of a frontend.

    :param load: what is counted together with other processes; None where there are none.
    """
    if frontend.http is None or frontend.routes is None:
        return FrontendFactory
    # Only mode = "http" needs its modules.
    from tcpbalance.http.factory import HttpFrontendFactory

    share_requests = None if load is None else partial(load.requests, frontend.name)
    return partial(
        HttpFrontendFactory, http=frontend.http, routes=frontend.routes, share_requests=share_requests
    )


class FrontendService(SteppedService):
    """Accepts the clients of one frontend when its pools are known, and drains its sessions in the end.

    Preparing takes its addresses. Once it is committed, it accepts clients when the names of its pools had
    time for an answer and their first checks are over. Retiring closes the addresses; open sessions may
    finish within the grace.

    :param shared: what all services of the balancer share.
    :param frontend: what to listen on, and what to serve the clients with.
    :param pools: the services of the pools that it waits for.
    :param spare: sockets that other frontends are about to close; None for none.
    :param lists: what has been made of its ``access`` already; None to make it.
    :param replaces: the service of the frontend so far, which cannot become this one: counters go on, and
        so does what is known of clients. None where there is none.
    :raises SettingError: Twisted does not take the description of an endpoint.
    :raises DenyFileError: the deny file has mistakes.
    :ivar factory: serves the clients.
    :ivar listening: what it listens with.
    :ivar drain: how long its open sessions go on when it has ended.
    :ivar opened: fires when clients are accepted; fails with ListenError when another process took an address
        meanwhile; is cancelled when the frontend is closed before.
    :ivar failed: whether it could not be opened, so that another service is to take its place.
    """

    _log = Logger()

    def __init__(
        self,
        shared: Shared,
        frontend: Frontend,
        pools: Sequence[PoolService],
        spare: SpareSockets | None = None,
        lists: Access | None = None,
        replaces: FrontendService | None = None,
    ) -> None:
        self.frontend = frontend
        self._shared = shared
        self._pools = pools
        self._leaves = False
        self.failed = False
        self._awaited: object = None
        self._connector = shared.connector_with(SocketOptions.of(frontend.socket))
        self.opened: Deferred[None] = succeed(None)
        before = None if replaces is None else replaces._admission
        self._admission: FrontendAdmission = FrontendAdmission(shared, frontend, lists, self._admit, before)
        self.factory: FrontendFactory = _factory_of(frontend, shared.load)(
            shared.reactor,
            frontend.pool,
            name=frontend.name,
            timeouts=frontend.timeouts,
            limits=frontend.limits,
            preread=self._preread_of(frontend),
            admission=self._admission.in_force,
            on_record=shared.on_record,
            connector=self._connector,
            clock=shared.clock,
            wall_clock=shared.wall_clock,
            rng=shared.rng,
            stats=None if replaces is None else replaces.factory.stats,
            shared_limit=None if shared.load is None else shared.load.frontend(frontend.name),
            debug=shared.debug,
        )
        self._handed_over: HandedOverClients | None = None
        self.listening = FrontendListeners(shared, frontend, self.factory, spare)
        self.drain = SessionDrain(shared, self.factory.registry)
        self._reloader = Reloader(shared.reactor, self._files(), in_thread(shared.reactor))

    def _preread_of(self, frontend: Frontend) -> PrereadSettings | None:
        """Give what clients send first. Where PROXY headers name clients, their connections may come to
        another process than the one that they belong to."""
        preread, hand_over = frontend.preread, self._shared.hand_over
        if preread is None or hand_over is None or not preread.proxies:
            return preread
        return attrs.evolve(preread, hand_over=HandOverWhile(hand_over, partial(self._reads_by, preread)))

    def _reads_by(self, preread: PrereadSettings) -> bool:
        """Whether these are still the settings by which clients are read; others might misread what a client
        has sent by them, and its session goes on by what it began with."""
        return not self._leaves and self.frontend.preread == preread

    def _files(self) -> Iterator[tuple[str, Part]]:
        name, preread = self.frontend.name, self.frontend.preread
        if preread is not None and preread.tls is not None:
            yield f"frontend {name}", preread.tls
        for file in self._admission.files():
            yield f"frontend {name}", file
        if self.frontend.users is not None:
            yield f"frontend {name}", self.frontend.users

    # Steps

    def take(self) -> None:
        """Take all addresses.

        :raises ListenError: an address cannot be had, or the system refuses a socket option; no address is
            held then.
        """
        with naming(self.frontend):
            _try_dial_options(self.frontend)
            self.listening.prepare()
        self._admission.prepare()

    def give_back(self) -> Deferred[None]:
        """Give all addresses back.

        :returns: fires when they are given back.
        """
        self._admission.forget_bans()
        return self.close()

    def begin(self) -> None:
        """Accept clients as soon as the backends are known."""
        self._admission.begin()
        self._reloader.watch(self._files())
        self._reloader.startService()
        self.opened = Deferred()
        if self._shared.hand_over is not None:
            handed_over = self._handed_over = HandedOverClients(
                self._shared.reactor,
                self.frontend.name,
                self.factory,
                self._shared.data_path,
                lambda: self.frontend.backlog,
            )
            self.opened.addCallback(lambda _: handed_over.open())
        self._wait_to_open(self.opened)

    def end(self) -> Deferred[None]:
        """Close the addresses at once; open sessions may finish within the grace.

        :returns: fires when the last session has ended.
        """
        self._reloader.stopService()
        if self._leaves:
            self._admission.forget_bans()
            self.listening.accept_waiting()
            if self._handed_over is not None:
                self._handed_over.accept_waiting()
        if self._handed_over is not None:
            self._handed_over.close(lambda: self.drain.expects_clients)
        closed = self.close()
        if self._leaves:
            drained = self.drain.by_pools(self.frontend.pools, self._late_clients_within)
        else:
            drained = self.drain.within_grace()
        return DeferredList([closed, drained]).addCallback(lambda _: None)

    @property
    def _late_clients_within(self) -> float:
        """Seconds in which clients may come that were accepted before the frontend was gone, and that other
        processes have or send back: those in which they may say whose they are."""
        preread = self.frontend.preread
        is_shared = self._handed_over is not None and preread is not None and preread.proxies
        return preread.timeout if is_shared and preread is not None else 0.0

    def serve_handed_over(self, connection: HandedOver) -> None:
        """Serve a client that another process has accepted, or that could not be handed over to one; where
        the frontend has ended, it is reset."""
        if self._handed_over is None:
            connection.sock.close()
        else:
            self._handed_over.serve(connection)

    def reads(self, connection: HandedOver) -> bool:
        """Whether the description says of a connection what the process that has accepted it has said."""
        preread = self.frontend.preread
        return connection.ends_tls is (preread is not None and preread.tls is not None)

    def take_back_handed_over(self) -> list[HandedOver]:
        """Give the clients to the caller that other processes have accepted, and that have to wait here."""
        return [] if self._handed_over is None else self._handed_over.take_back()

    def leave(self) -> Deferred[None]:
        """Retire because the frontend is gone: clients that wait are still accepted, and open sessions go on
        for as long as the ``drain_timeout`` of their pools allows.

        :returns: fires when the last session has ended.
        """
        self._leaves = True
        return self.retire()

    # Changing

    def can_become(self, frontend: Frontend) -> bool:
        """Whether it can serve by another description: it goes on to serve connections, or requests."""
        return (frontend.http is None) is (self.frontend.http is None)

    def prepare_change(
        self,
        frontend: Frontend,
        pools: Sequence[PoolService],
        spare: SpareSockets,
        lists: Access | None = None,
    ) -> PreparedChange:
        """Take all that serving by another description of the frontend may be refused; nothing changes yet.

        Addresses that both have stay open, sessions go on by what they began with, and what is known of
        clients stays. Clients are served by the new description once its pools are known.

        :param frontend: under the same name; see `can_become`.
        :param pools: the services of its pools.
        :param spare: sockets that frontends are about to close.
        :param lists: what has been made of its ``access`` already, where that is another; None to make it.
        :raises ListenError: a new address cannot be had, or the system refuses a socket option, or the mode
            or owner of a unix socket; nothing has changed then.
        :raises DenyFileError: the deny file has mistakes.
        """
        control = self._admission.prepare_change(frontend, lists)
        with naming(self.frontend), ExitStack() as undo:
            if frontend.socket != self.frontend.socket:
                _try_dial_options(frontend)
            listening = self.listening.prepare_change(frontend, spare, undo, is_open=self.opened.called)
            held = undo.pop_all()
        return PreparedChange(lambda: self._change(frontend, pools, control, listening), held.close)

    def _change(
        self,
        frontend: Frontend,
        pools: Sequence[PoolService],
        control: AdmissionControl,
        listening: ListenersChange,
    ) -> None:
        listening.accept_waiting()
        before, self.frontend, self._pools = self.frontend, frontend, pools
        if frontend.socket != before.socket:
            self._connector = self._shared.connector_with(SocketOptions.of(frontend.socket))
        self._admission.adopt(frontend, control)
        self.listening.adopt(listening)
        self.refresh()
        self._reloader.watch(self._files())
        listening.commit_settings()
        if not self.opened.called:
            self._wait_to_open(self.opened)
        listening.close_gone()

    def refresh(self) -> None:
        """Have the next sessions begin by what the description and its pools say now, once the pools are
        known; addresses that are new accept their first clients then."""
        frontend, factory = self.frontend, self.factory
        context = factory.prepare_context(
            frontend.pool,
            frontend.timeouts,
            frontend.limits,
            self._preread_of(frontend),
            self._admission.in_force,
            self._connector,
        )
        if frontend.http is not None:
            from tcpbalance.http.factory import HttpFrontendFactory

            assert isinstance(factory, HttpFrontendFactory)
            context = factory.prepare_http(context, frontend.http, frontend.routes)
        factory.registry.limit(frontend.limits.connections, context.dry_run)
        self._when_known(lambda: self._serve_by(context))

    def _serve_by(self, context: SessionContext) -> None:
        self.factory.serve_by(context)
        self._admit()  # Bans may have come, or ended, while the pools were waited for.
        if self.opened.called:
            self.listening.open_new()

    def _admit(self) -> None:
        self.factory.admit_by(self._admission.in_force)

    @property
    def admission(self) -> AdmissionControl:
        """What knows the clients that are banned."""
        return self._admission.control

    # Opening and closing

    def _when_known(self, call: Callable[[], None]) -> None:
        """Call something when the names and the first checks of the pools have had their time; of several
        calls only the last."""
        awaited = self._awaited = object()
        monitors = [pool.monitor for pool in self._pools if pool.monitor and pool.delays_opening]
        known: list[Deferred[Any]] = [pool.unanswered for pool in self._pools]
        known += [pool.restored for pool in self._pools]
        known += [monitor.first_round for monitor in monitors]
        DeferredList(known).addCallback(lambda _: call() if self._awaited is awaited else None)

    def _wait_to_open(self, opened: Deferred[None]) -> None:
        pools = self._pools
        monitors = [pool.monitor for pool in pools if pool.monitor and pool.delays_opening]
        self._log_awaited_checks([monitor for monitor in monitors if not monitor.first_round.called])
        names = DeferredList([pool.unanswered for pool in pools])
        names.addCallback(lambda results: self._warn_of_names(opened, [names for _, names in results]))
        restored = [pool.restored for pool in pools]
        awaited: list[Deferred[Any]] = [names, *restored, *(monitor.first_round for monitor in monitors)]
        # While it waits, the frontend may come to have other pools, for which it waits anew.
        DeferredList(awaited).addCallback(lambda _: self._open(opened) if self._pools is pools else None)

    def _log_awaited_checks(self, awaited: Sequence[Monitor]) -> None:
        # Another process that is followed says so itself.
        if awaited and self._shared.following is None:
            self._log.info(
                "frontend {name} waits for the first checks of {pools}, {seconds:g} s at most",
                name=self.frontend.name,
                pools=", ".join(f"pool {monitor.pool.name}" for monitor in awaited),
                seconds=max(monitor.config.timeout for monitor in awaited),
            )

    def _warn_of_names(self, opened: Deferred[None], unanswered: list[list[str]]) -> None:
        names = dict.fromkeys(name for names in unanswered for name in names)
        # Closed meanwhile, it opens neither with nor without them.
        if names and not opened.called:
            self._log.warn(
                "frontend {name} opens without the addresses of {names}: no answer within {seconds:g} s",
                name=self.frontend.name,
                names=", ".join(names),
                seconds=resolver.LOOKUP_TIMEOUT,
            )

    def _open(self, opened: Deferred[None]) -> None:
        """Accept clients, unless the frontend was closed while it waited."""
        if opened.called:
            return
        all_open = self.listening.open()
        all_open.addCallbacks(opened.callback, lambda failure: self._fail(opened, failure))

    def _fail(self, opened: Deferred[None], failure: Failure) -> None:
        """Report the first address that another process took since it was taken here."""
        if isinstance(failure.value, ListenError):
            failure = Failure(ListenError(f"frontend {self.frontend.name}: {failure.value}"))  # type: ignore[no-untyped-call]
        self.failed = True
        opened.errback(failure)

    def close(self) -> Deferred[None]:
        """Accept no more clients; open sessions go on.

        :returns: fires when all addresses are given back.
        """
        if not self.opened.called:
            self.opened.cancel()
        return self.listening.close()

    def reload_files(self) -> None:
        """Read the frontend's files again."""
        self._reloader.reload()

    def expect_changes(self) -> None:
        """Read the frontend's files again soon: they may have changed since they were read."""
        self._reloader.expect_changes()
