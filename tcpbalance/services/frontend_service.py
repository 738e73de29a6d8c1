"""A frontend while it runs: it opens when its backends are known, and drains in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from socket import socket
from typing import Any

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, FirstError, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.lists import DenyFile, make_admission
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.net.binding import ListenError, listen_error
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptionError, SocketOptions
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.hand_over import HandedOver, HandOverWhile
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.reload import Part, Reloader
from tcpbalance.services import pool_service
from tcpbalance.services.carrier import Carrier, ListeningSockets
from tcpbalance.services.drains import LOOK_AGAIN_AFTER
from tcpbalance.services.endpoint_port import EndpointPort
from tcpbalance.services.following import Monitor
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.handed_over_clients import HandedOverClients
from tcpbalance.services.listen import ListensOn
from tcpbalance.services.listener_settings import ListenerSettings
from tcpbalance.services.pool_service import PoolService
from tcpbalance.services.shared import Shared
from tcpbalance.services.spare_sockets import SpareSocket, SpareSockets
from tcpbalance.services.stepped import PreparedChange, SteppedService
from tcpbalance.threads import in_thread


@frozen(eq=False)
class _Carriers:
    """What a frontend listens with after a change.

    :param all: in the order of ``listen``.
    :param new: those of them that it did not have before.
    :param gone: what it has no more.
    """

    all: list[Carrier]
    new: list[Carrier]
    gone: list[Carrier]


def _try_dial_options(frontend: Frontend) -> None:
    """Find out now whether sockets to backends can have their options, not at each dial.

    :raises SocketOptionError: the system refuses one.
    """
    with socket() as scratch:
        SocketOptions.of(frontend.socket).prepare_dial(scratch, scratch.family)


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
    :raises SettingError: Twisted does not take the description of an endpoint.
    :raises DenyFileError: the deny file has mistakes.
    :ivar factory: serves the clients.
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
    ) -> None:
        self.frontend = frontend
        self._shared = shared
        self._pools = pools
        self._grace_call: IDelayedCall | None = None
        self._drain_calls: dict[Pool, IDelayedCall] = {}
        self._leaves = False
        self.failed = False
        self._awaited: object = None
        self._connector = shared.connector_with(SocketOptions.of(frontend.socket))
        self.opened: Deferred[None] = succeed(None)
        self._admission = frontend.admission
        if self._admission is None:
            self._admission = make_admission(frontend.access, frontend.limits, shared.clock, lists)
        self.factory = FrontendFactory(
            shared.reactor,
            frontend.pool,
            name=frontend.name,
            timeouts=frontend.timeouts,
            limits=frontend.limits,
            preread=self._preread_of(frontend),
            admission=self._admission,
            on_record=shared.on_record,
            connector=self._connector,
            clock=shared.clock,
            wall_clock=shared.wall_clock,
            rng=shared.rng,
            shared_limit=None if shared.load is None else shared.load.frontend(frontend.name),
        )
        self._handed_over: HandedOverClients | None = None
        self._carriers = [self._make_carrier(frontend, place, spare) for place in frontend.listen]
        self._unopened: list[Carrier] = []
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

    def _make_carrier(self, frontend: Frontend, place: ListensOn, spare: SpareSockets | None) -> Carrier:
        if not isinstance(place, Address):
            return EndpointPort(self._shared.reactor, frontend.name, place, self.factory)
        return ListeningSockets(
            self._shared.reactor,
            frontend.name,
            place,
            self.factory,
            settings=ListenerSettings.of(frontend),
            data_path=self._shared.data_path,
            inherited=self._shared.inherited,
            spare=spare or SpareSockets(),
        )

    def _files(self) -> Iterator[tuple[str, Part]]:
        name, preread, access = self.frontend.name, self.frontend.preread, self.frontend.access
        if preread is not None and preread.tls is not None:
            yield f"frontend {name}", preread.tls
        if self._admission is not None and access is not None and access.deny_file is not None:
            yield f"frontend {name}", DenyFile(self._admission, access)

    # Steps

    def take(self) -> None:
        """Take all addresses.

        :raises ListenError: an address cannot be had, or the system refuses a socket option; no address is
            held then.
        """
        with self._named(), ExitStack() as undo:
            _try_dial_options(self.frontend)
            self._prepare_carriers(self._carriers, undo)
            self._shared.inherited.refuse_others(self.frontend.name)
            undo.pop_all()
        self._share_bans()

    def _prepare_carriers(self, carriers: Iterable[Carrier], undo: ExitStack) -> None:
        for carrier in carriers:
            carrier.prepare()
            undo.callback(carrier.close)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the frontend's name in front of what cannot be had.

        :raises ListenError: in the place of any error of listening, of a socket option or of the system.
        """
        try:
            yield
        except (ListenError, SocketOptionError) as error:
            raise ListenError(f"frontend {self.frontend.name}: {error}") from error
        except OSError as error:
            listen = " ".join(map(str, self.frontend.listen))
            raise ListenError(f"frontend {self.frontend.name}: {listen_error(listen, error)}") from error

    def give_back(self) -> Deferred[None]:
        """Give all addresses back.

        :returns: fires when they are given back.
        """
        self._forget_bans()
        return self.close()

    def begin(self) -> None:
        """Accept clients as soon as the backends are known."""
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
            self._forget_bans()
            for carrier in self._carriers:
                carrier.accept_waiting()
            if self._handed_over is not None:
                self._handed_over.accept_waiting()
        if self._handed_over is not None:
            self._handed_over.close()
        ended = DeferredList([self.close(), self._drain()])
        return ended.addCallback(lambda _: None)

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

        :param frontend: under the same name.
        :param pools: the services of its pools.
        :param spare: sockets that frontends are about to close.
        :param lists: what has been made of its ``access`` already, where that is another; None to make it.
        :raises ListenError: a new address cannot be had, or the system refuses a socket option, or the mode
            or owner of a unix socket; nothing has changed then.
        :raises DenyFileError: the deny file has mistakes.
        """
        control = self._prepare_admission(frontend, lists)
        carriers = self._carriers_of(frontend, spare)
        with self._named(), ExitStack() as undo:
            if frontend.socket != self.frontend.socket:
                _try_dial_options(frontend)
            self._prepare_carriers(carriers.new, undo)
            changes = self._prepare_kept(carriers, ListenerSettings.of(frontend), undo)
            if self.opened.called:
                # Last: their clients wait for the commit. Before the frontend is open, they are refused.
                for carrier in carriers.new:
                    carrier.listen(self.listeners())
            held = undo.pop_all()
        return PreparedChange(lambda: self._change(frontend, pools, control, carriers, changes), held.close)

    def _carriers_of(self, frontend: Frontend, spare: SpareSockets) -> _Carriers:
        """Give what another description of the frontend listens with; what it adds is not prepared yet."""
        present = list(zip(self.frontend.listen, self._carriers, strict=True))
        listening: list[Carrier] = []
        new: list[Carrier] = []
        for place in frontend.listen:
            kept = next((pair for pair in present if pair[0] == place), None)
            if kept is None:
                new.append(self._make_carrier(frontend, place, spare))
            else:
                present.remove(kept)
            listening.append(new[-1] if kept is None else kept[1])
        return _Carriers(listening, new, [carrier for _, carrier in present])

    def _prepare_kept(
        self, carriers: _Carriers, settings: ListenerSettings, undo: ExitStack
    ) -> list[PreparedChange]:
        """Prepare those that stay for other settings.

        :param undo: gets what gives back what is taken.
        """
        changes: list[PreparedChange] = []
        if settings == ListenerSettings.of(self.frontend):
            return changes
        for carrier in carriers.all:
            if carrier not in carriers.new:
                changes.append(carrier.prepare_change(settings))
                undo.callback(changes[-1].abandon)
        return changes

    def _prepare_admission(self, frontend: Frontend, lists: Access | None) -> AdmissionControl | None:
        """Make what admits clients by other tables; what there is, where the tables are the same.

        :raises DenyFileError: the deny file has mistakes.
        """
        present = self.frontend
        if (frontend.admission, frontend.access, frontend.limits) == (
            present.admission,
            present.access,
            present.limits,
        ):
            return self._admission
        if frontend.admission is not None:
            return frontend.admission
        if frontend.access == present.access and present.admission is None and self._admission is not None:
            # Their file is read in a thread only: it may be large, or a pipe that nothing writes to.
            lists = self._admission.access
        return make_admission(frontend.access, frontend.limits, self._shared.clock, lists)

    def _change(
        self,
        frontend: Frontend,
        pools: Sequence[PoolService],
        control: AdmissionControl | None,
        carriers: _Carriers,
        changes: Iterable[PreparedChange],
    ) -> None:
        for carrier in carriers.gone:
            # Their clients came before the change.
            carrier.accept_waiting()
        before, self.frontend, self._pools = self.frontend, frontend, pools
        if frontend.socket != before.socket:
            self._connector = self._shared.connector_with(SocketOptions.of(frontend.socket))
        if control is not self._admission:
            self._admit_by(control, frontend.limits)
        self._carriers = carriers.all
        self._unopened = [it for it in carriers.all if it in carriers.new or it in self._unopened]
        self.refresh()
        self._reloader.watch(self._files())
        for change in changes:
            change.commit()
        if not self.opened.called:
            self._wait_to_open(self.opened)
        for carrier in carriers.gone:
            carrier.close()

    def _admit_by(self, control: AdmissionControl | None, limits: LimitsConfig) -> None:
        """Have clients admitted by other lists and limits, by what knows the clients where that can be."""
        present = self._admission
        if present is None or control is None or not present.go_on_by(control.access, limits):
            self._forget_bans()
            self._admission = control
            self._share_bans()

    def _share_bans(self) -> None:
        if self._shared.following is not None and self._admission is not None:
            self._shared.following.share_bans(self.frontend.name, self._admission)

    def _forget_bans(self) -> None:
        if self._shared.following is not None and self._admission is not None:
            self._shared.following.forget_bans(self.frontend.name, self._admission)

    def refresh(self) -> None:
        """Have the next sessions begin by what the description and its pools say now, once the pools are
        known; addresses that are new accept their first clients then."""
        frontend, factory = self.frontend, self.factory
        context = factory.prepare_context(
            frontend.pool,
            frontend.timeouts,
            frontend.limits,
            self._preread_of(frontend),
            self._admission,
            self._connector,
        )
        factory.registry.limit(frontend.limits.connections, context.dry_run)
        self._when_known(lambda: self._serve_by(context))

    def _serve_by(self, context: SessionContext) -> None:
        self.factory.context = context
        if self.opened.called:
            unopened, self._unopened = self._unopened, []
            for carrier in unopened:
                maybeDeferred(carrier.open).addErrback(self._log_not_opened)

    def _log_not_opened(self, failure: Failure) -> None:
        self._log.error("frontend {name}: {error}", name=self.frontend.name, error=str(failure.value))

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
                seconds=pool_service.LOOKUP_TIMEOUT,
            )

    def _open(self, opened: Deferred[None]) -> None:
        """Accept clients, unless the frontend was closed while it waited."""
        if opened.called:
            return
        self._unopened = []
        opening = [maybeDeferred(carrier.open) for carrier in self._carriers]
        all_open = DeferredList(opening, fireOnOneErrback=True, consumeErrors=True)
        all_open.addCallbacks(lambda _: opened.callback(None), lambda failure: self._fail(opened, failure))

    def _fail(self, opened: Deferred[None], failure: Failure) -> None:
        """Report the first address that another process took since it was taken here."""
        assert isinstance(failure.value, FirstError)
        failure = failure.value.subFailure
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
        self._unopened = []
        closed = DeferredList([carrier.close() for carrier in self._carriers])
        return closed.addCallback(lambda _: None)

    def addresses(self) -> list[IAddress]:
        """Give the addresses that clients connect to, in the order of ``listen``."""
        return [address for carrier in self._carriers for address in carrier.addresses()]

    def listeners(self) -> list[Listener]:
        """Give what accepts its clients on addresses, those of endpoints aside."""
        carriers = [carrier for carrier in self._carriers if isinstance(carrier, ListeningSockets)]
        return [listener for carrier in carriers for listener in carrier.listeners]

    def spare_sockets(self, frontend: Frontend | None) -> list[SpareSocket]:
        """Give the sockets that close when the frontend comes to another description.

        :param frontend: the description; None when the frontend is removed.
        """
        wanted = [] if frontend is None else list(frontend.listen)
        spare = []
        for place, carrier in zip(self.frontend.listen, self._carriers, strict=True):
            if place in wanted:
                wanted.remove(place)
            elif isinstance(carrier, ListeningSockets):
                spare += carrier.spare_sockets()
        return spare

    # Ending

    def _drain(self) -> Deferred[None]:
        """Let open sessions finish within the time that they have, and end those that do not."""
        if not self.factory.registry.sessions:
            return succeed(None)
        if self._leaves:
            self._limit_by_pools()
        else:
            self.begin_grace()
        return self.factory.registry.when_idle().addCallback(self._cancel_calls)

    def begin_grace(self) -> None:
        """Let open sessions go on for no longer than the grace from now on."""
        self._grace_call = self._shared.reactor.callLater(
            self._shared.grace, self.factory.registry.end_sessions, EndReason.SHUTDOWN
        )

    def _limit_by_pools(self) -> None:
        """Let open sessions go on for as long as their pool lets a backend drain."""
        for pool in self.frontend.pools:
            if pool.drain_timeout is not None:
                self._end_drained_after(pool.drain_timeout, pool)

    def _end_drained_after(self, seconds: float, pool: Pool) -> None:
        self._drain_calls[pool] = self._shared.reactor.callLater(seconds, self._end_drained, pool)

    def _end_drained(self, pool: Pool) -> None:
        registry = self.factory.registry
        registry.end_sessions(EndReason.DRAINED, served_by=set(pool.backends))
        if registry.sessions:
            # A client may be queued, or a dial under way.
            self._end_drained_after(LOOK_AGAIN_AFTER, pool)

    def _cancel_calls(self, _: None) -> None:
        for call in (self._grace_call, *self._drain_calls.values()):
            if call is not None and call.active():
                call.cancel()

    def end_grace_now(self) -> None:
        """End open sessions of a frontend that retires, without waiting for the grace to run out."""
        if self._grace_call is not None and self._grace_call.active():
            self._grace_call.reset(0)

    def reload_files(self) -> None:
        """Read the frontend's files again."""
        self._reloader.reload()

    def expect_changes(self) -> None:
        """Read the frontend's files again soon: they may have changed since they were read."""
        self._reloader.expect_changes()
