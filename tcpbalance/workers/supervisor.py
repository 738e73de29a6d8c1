"""The supervisor: it has the listening sockets, and a worker for each of them that serves what comes there.

It serves no client itself. It listens before the first worker is there, and closes no socket before all end:
the clients of a worker that has ended wait in the socket's queue for the one that takes its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from random import Random
from time import monotonic
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.logger import Logger

from tcpbalance.build import Parts, PreparedConfig
from tcpbalance.config.difference import Difference
from tcpbalance.config.models import Config
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.control.view import shown_workers
from tcpbalance.errors import TcpbalanceError
from tcpbalance.event import OneTimeEvent, OnEvent
from tcpbalance.orphans import OrphanReaper, adopt_orphans
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.services.first_imports import modules_that_serve
from tcpbalance.systemd.notification import Summary
from tcpbalance.workers.client_counts import ClientCounts
from tcpbalance.workers.common_affinity import CommonAffinity
from tcpbalance.workers.common_bans import CommonBans
from tcpbalance.workers.common_config import CommonConfig
from tcpbalance.workers.common_counts import SupervisorCounts
from tcpbalance.workers.common_drains import CommonDrains
from tcpbalance.workers.common_events import CommonEvents
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.common_status import CommonStatus
from tcpbalance.workers.config_changes import ConfigChanges
from tcpbalance.workers.heartbeat import Heartbeat, Pulsed
from tcpbalance.workers.inboxes import Inboxes
from tcpbalance.workers.messages import Message
from tcpbalance.workers.nurseries import Nurseries
from tcpbalance.workers.nursery_process import NurseryProcess
from tcpbalance.workers.place import Place
from tcpbalance.workers.questions import Questions, keys_of
from tcpbalance.workers.rolling_restart import RollingRestart
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.shared_state import SharedState, ToWorker, word_of
from tcpbalance.workers.worker_process import Nursery, Stage, WorkerProcess


class Supervisor(Service):
    """Workers, and what they have in common.

    To the daemon it is what a ``Balancer`` is.

    :param reactor: runs them.
    :param config: what they serve by, and how many there are.
    :param rng: spreads pauses.
    :param clock: seconds on a monotonic clock, which is that of the workers.
    :param make_nursery: starts what forks the workers.
    :ivar pools: whose backends are checked here, for all workers.
    :ivar bans: of clients, in all workers.
    :ivar questions: asks the workers what they know.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        *,
        rng: Random | None = None,
        clock: Callable[[], float] = monotonic,
        make_nursery: Callable[[Any, str, float], NurseryProcess] = NurseryProcess,
    ) -> None:
        rng = rng or Random()
        parts = Parts.of(config, reactor, clock)
        one_at_a_time = DeferredLock()
        self._reactor = reactor
        self._timeout: float = config.worker_timeout
        self._places = [
            Place(reactor, number, self._make_worker, rng.random, self._note_serving)
            for number in range(config.workers)
        ]
        self._nurseries = Nurseries(
            reactor, make_nursery, self._timeout, rng.random, self._have_forked_by, self._report
        )
        self._restart = RollingRestart(self._places, self._nurseries, one_at_a_time)
        self.pools = CommonPools(reactor, parts, clock=clock, rng=rng)
        self._changes = ConfigChanges()
        self._inboxes = Inboxes(config.workers)
        self._statuses = CommonStatus(reactor, self.pools)
        self.bans = CommonBans(reactor, clock, config)
        self._drains = CommonDrains(clock)
        self._events = CommonEvents()
        self.questions = Questions(reactor, clock, keys_of(config))
        self._shared_states: list[SharedState] = [
            self._changes,
            ClientCounts(),
            self._inboxes,
            self._statuses,
            self._drains,
            self.bans,
            self._events,
            CommonAffinity(reactor, self.pools, config.workers),
            self.questions,
        ]
        self._counts: SupervisorCounts | None = None
        self._config = CommonConfig(
            reactor,
            parts,
            clock,
            self._places,
            one_at_a_time,
            changes=self._changes,
            pools=self.pools,
            statuses=self._statuses,
            followed_by=(self.bans.go_on_by, self.questions.go_on_by),
        )
        self._heartbeat = Heartbeat(reactor, self._watched, config.worker_timeout)
        self._orphans = OrphanReaper(reactor)
        self._serving: OneTimeEvent[bool] = OneTimeEvent()
        self._closes = False
        self._ended_unasked: Counter[str] = Counter()
        self._ended: OneTimeEvent[None] = OneTimeEvent()

    # Starting

    def prepare(self) -> None:
        """Take all addresses, and read all files; clients wait from now on. Calling it again does nothing.

        :raises ListenError: an address cannot be had; none is held then.
        :raises TcpbalanceError: a file cannot be read.
        """
        if not self._config.is_open:
            self._config.open()
            self._inboxes.open()
            if can_count():
                self._counts = SupervisorCounts(len(self._places))
                self._config.count_by(self._counts)
                self._shared_states.append(self._counts)

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()

    def startService(self) -> None:
        """Start the workers."""
        self.prepare()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        adopt_orphans()
        self._config.start()
        self._heartbeat.start()
        self._orphans.startService()
        self.pools.startService()
        self._nurseries.start()

    def when_listening(self) -> Deferred[bool]:
        """Fires when all workers accept clients; at once where they do."""
        return self._serving.wait()

    def _have_forked_by(self, nursery: NurseryProcess) -> None:
        for place in self._places:
            place.begin(nursery)

    def _report(self, error: str) -> None:
        """Report why workers cannot serve; where none has served yet, the whole start has failed."""
        self._log.error("{error}", error=error)
        self._serving.fail(TcpbalanceError(error))

    def _note_serving(self, process: WorkerProcess, before: WorkerProcess | None) -> None:
        about = {"worker": process.place, "pid": process.pid}
        if before is None:
            self._events.on_event("worker_started", about)
        else:
            self._events.on_event("worker_replaced", {**about, "before": before.pid})
        self._look_whether_all_serve()

    def _look_whether_all_serve(self) -> None:
        if self._serving.settled or not all(place.is_serving for place in self._places):
            return
        self._config.log_addresses()
        self._serving.settle(True)

    # Workers

    def _make_worker(self, place: int, column: int, nursery: Nursery) -> WorkerProcess:
        imports = modules_that_serve(self.config, follows=True)
        if self.config.admin is not None:
            imports.append("tcpbalance.workers.answers")
        return WorkerProcess(
            self._reactor, place, column, nursery, self, timeout=self._timeout, imports=imports
        )

    def has_forked(self, process: WorkerProcess) -> None:
        """See ``worker_process.Observer``."""
        self._config.send_to(process)
        for state in self._shared_states:
            state.greet(process)
        process.send({"begin": True})
        self._changes.include(process)

    def has_sent(self, process: WorkerProcess, message: Message) -> None:
        """See ``worker_process.Observer``."""
        word = word_of(message)
        for state in self._shared_states:
            if word in state.words:
                state.note(process, message)

    def has_changed(self, process: WorkerProcess) -> None:
        """See ``worker_process.Observer``."""
        if process.drains:
            self._changes.leaves(process)
        self._places[process.place].has_changed(process)

    def has_failed(self, process: WorkerProcess, error: str) -> None:
        """See ``worker_process.Observer``."""
        self._places[process.place].report(error)
        self._serving.fail(TcpbalanceError(f"worker {process.place}: {error}"))

    def has_ended(self, process: WorkerProcess) -> None:
        """See ``worker_process.Observer``."""
        if process.is_greeted:
            for state in self._shared_states:
                state.has_ended(process)
            about = {"worker": process.place, "pid": process.ended_pid, "cause": process.why_ended}
            self._events.on_event("worker_ended", about)
            if process.why_ended:
                self._ended_unasked[process.ended_by] += 1
        self._places[process.place].has_ended(process)

    def _processes(self) -> list[WorkerProcess]:
        """Give all processes, those that drain among them."""
        return [process for place in self._places for process in place.processes]

    def _watched(self) -> list[Pulsed]:
        return [*self._processes(), *self._nurseries.processes]

    def _send_all(self, content: dict[str, Any]) -> None:
        for process in self._processes():
            process.send(content)

    # What the daemon asks for

    @property
    def config(self) -> Config:
        """The configuration that is in use."""
        return self._config.config

    def prepare_config(self, config: Config, rest: Callable[[], object] = lambda: None) -> PreparedConfig:
        """See ``Balancer``."""
        return self._config.prepare(config, rest)

    def apply(self, config: PreparedConfig) -> Deferred[Difference]:
        """See ``CommonConfig``."""
        return self._config.apply(config)

    def change_config(self, change: ChangeConfig, order: Order) -> Deferred[Difference]:
        """See ``CommonConfig``."""
        return self._config.change(change, order)

    def shown_workers(self) -> dict[str, Any]:
        """Say how many workers serve, and how many have ended unasked, as the API shows it."""
        return shown_workers(sum(place.is_serving for place in self._places), self._ended_unasked)

    def serves(self, worker: ToWorker) -> bool:
        """Whether a process is one of those that accept clients now."""
        return any(it is worker and it.stage is Stage.SERVING for it in self._processes())

    def others_wait(self) -> bool:
        """See ``Balancer``: no connections of clients are here, to which work of the admin side would give
        way."""
        return False

    def limit_drain(self, pool: Pool, backend: Backend, seconds: float) -> None:
        """See ``Balancer``; in all workers."""
        self.pools.limit_drain(pool, backend, seconds)
        # They have to know before that it drains.
        self._statuses.send_all()
        self._drains.limit(pool, backend, seconds)

    def report_events_to(self, on_event: OnEvent) -> None:
        """Have what operators want to know reported from now on, the changes of pools aside.

        :param on_event: called when a worker begins to serve, or ends, and with what workers report.
        """
        self._events.on_event = self.bans.on_event = on_event

    def report_config_to(self, on_config: Callable[[Config], object]) -> None:
        """See ``Balancer``."""
        self._config.on_config = on_config

    def reload_files(self) -> None:
        """Read the files of the configuration again; workers get those that have changed and can be used."""
        self._config.reload_files()

    def restart_workers(self) -> None:
        """Replace all workers by new ones, see ``RollingRestart``."""
        nursery = self._nurseries.present
        if self._restart.is_running:
            self._log.warn("SIGUSR2: the workers are being replaced already")
        elif nursery is None or not self._serving.settled or self._closes:
            self._log.warn("SIGUSR2: the workers cannot be replaced before they serve, or when they end")
        else:
            self._log.info("SIGUSR2: the workers are replaced, one after the other")
            self._restart.begin(nursery)

    def reopen_logs(self) -> None:
        """Have all workers open their logs anew."""
        self._send_all({"reopen": True})

    def addresses_of(self, host: str) -> Collection[str]:
        """See ``Balancer``."""
        return self.pools.addresses_of(host)

    def summary(self) -> Summary:
        """Count what there is, for people; sessions as the workers last said."""
        backends = [backend for pool in self.pools.pools for backend in pool.backends]
        return Summary(
            frontends=len(self.config.frontends),
            backends_up=sum(backend.state == "up" for backend in backends),
            backends=len(backends),
            sessions=sum(process.sessions for process in self._processes()),
        )

    # Ending

    def stopService(self) -> Deferred[None]:
        """Accept no more clients; calling it again does nothing more.

        :returns: fires when the last worker has ended, with its sessions.
        """
        if self._closes:
            return self._ended.wait()
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._closes = True
        self._config.stop()
        for place in self._places:
            place.close()
        ended: list[Deferred[Any]] = [place.closed for place in self._places]
        ended += self._nurseries.close()
        stopped = DeferredList(ended).addCallback(lambda _: self.pools.stopService())
        stopped.addCallback(self._finish)
        return self._ended.wait()

    def _finish(self, _: object) -> None:
        self._heartbeat.stop()
        self._orphans.stopService()
        self._config.close()
        self._inboxes.close()
        if self._counts is not None:
            self._counts.close()
        self._ended.settle(None)

    def end_grace_now(self) -> None:
        """Have all workers end their sessions now."""
        self._send_all({"end_grace_now": True})
