"""The supervisor: it has the listening sockets, and a worker for each of them that serves what comes there.

It serves no client itself. It listens before the first worker is there, and closes no socket before all end:
the clients of a worker that has ended wait in the socket's queue for the one that takes its place.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import ExitStack
from random import Random
from time import monotonic
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.build import Parts, PreparedConfig
from tcpbalance.config.difference import Difference
from tcpbalance.config.models import Config
from tcpbalance.errors import TcpbalanceError
from tcpbalance.event import OneTimeEvent
from tcpbalance.orphans import OrphanReaper
from tcpbalance.proxy.backoff import backoff
from tcpbalance.systemd.notification import Summary
from tcpbalance.threads import in_thread
from tcpbalance.workers import worker
from tcpbalance.workers.client_counts import ClientCounts
from tcpbalance.workers.common_affinity import CommonAffinity
from tcpbalance.workers.common_bans import CommonBans
from tcpbalance.workers.common_counts import SupervisorCounts
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.common_status import CommonStatus
from tcpbalance.workers.config_changes import ConfigChanges
from tcpbalance.workers.config_memory import write_config
from tcpbalance.workers.file_watch import watch_files, watched
from tcpbalance.workers.files import Files
from tcpbalance.workers.heartbeat import Heartbeat, Pulsed
from tcpbalance.workers.inboxes import Inboxes
from tcpbalance.workers.listening import Listening
from tcpbalance.workers.messages import Message
from tcpbalance.workers.nursery_process import NoWorkerError, NurseryProcess
from tcpbalance.workers.place import Place
from tcpbalance.workers.rolling_restart import RollingRestart
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.shared_state import SharedState, word_of
from tcpbalance.workers.worker_process import Nursery, WorkerProcess

_PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""


def adopt_orphans() -> None:
    """Become the parent of processes whose own has ended, and which descend from this one: prctl(2).

    :raises OSError: the system does not know of it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_IS_ENDING = "the program is about to end"
"""Why a change of the configuration is not made any more."""


@frozen
class _Change:
    """A change of the configuration that is prepared in the supervisor.

    :param before: what is listened on so far.
    :param listening: what is listened on then.
    :param memory: the configuration, as workers get it.
    :param files: all that it names.
    :param new_files: those of them that workers have not.
    :param commit_pools: has the supervisor's own pools changed.
    """

    before: Listening
    listening: Listening
    memory: int
    files: Files
    new_files: Mapping[str, int]
    commit_pools: Callable[[], object]

    def ask(self, process: Any) -> None:
        """Send a worker what it has to prepare."""
        process.send_sockets(self.listening.sockets(process.place, self.before))
        process.send_files(self.new_files)
        process.send({"config": True}, [self.memory])


def _read_files(config: Config, before: Files | None) -> Files:
    try:
        return Files.of(config, before)
    except OSError as error:
        what = "files" if error.filename is None else error.filename
        raise TcpbalanceError(f"{what}: cannot be read: {(error.strerror or str(error)).lower()}") from error


class Supervisor(Service):
    """Workers, and what they have in common.

    To the daemon it is what a ``Balancer`` is.

    :param reactor: runs them.
    :param config: what they serve by, and how many there are.
    :param rng: spreads pauses.
    :param clock: seconds on a monotonic clock, which is that of the workers.
    :param make_nursery: starts what forks the workers.
    :ivar pools: whose backends are checked here, for all workers.
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
        self._reactor = reactor
        self._workers: int = config.workers
        rng = rng or Random()
        self._rng = rng.random
        self._clock = clock
        self._make_nursery = make_nursery
        self._parts = Parts.of(config, reactor, clock)
        self._listening: Listening | None = None
        self._memory = -1
        self._files: Files | None = None
        self._watch = watch_files(reactor, self._parts, self._files_were_read)
        self._sending: IDelayedCall | None = None
        self._one_at_a_time = DeferredLock()
        self._timeout: float = config.worker_timeout
        self._places = [
            Place(reactor, number, self._make_worker, self._rng, self._look_whether_all_serve)
            for number in range(config.workers)
        ]
        self._changes = ConfigChanges()
        self._inboxes = Inboxes(config.workers)
        self.pools = CommonPools(reactor, self._parts, clock=clock, rng=rng)
        self._statuses = CommonStatus(reactor, self.pools)
        self._bans = CommonBans(reactor, clock)
        self._shared_states: list[SharedState] = [
            self._changes,
            ClientCounts(),
            self._inboxes,
            self._statuses,
            self._bans,
            CommonAffinity(reactor, self.pools, config.workers),
        ]
        self._counts: SupervisorCounts | None = None
        self._heartbeat = Heartbeat(reactor, self._watched, config.worker_timeout)
        self._orphans = OrphanReaper(reactor)
        self._nursery: NurseryProcess | None = None
        self._nurseries: list[NurseryProcess] = []
        self._is_restarting = False
        self._again: IDelayedCall | None = None
        self._times = 0
        self._serving: OneTimeEvent[bool] = OneTimeEvent()
        self._closes = False
        self._ended: OneTimeEvent[None] = OneTimeEvent()

    @property
    def config(self) -> Config:
        """The configuration that is in use."""
        return self._parts.config

    # Starting

    def prepare(self) -> None:
        """Take all addresses, and read all files; clients wait from now on. Calling it again does nothing.

        :raises ListenError: an address cannot be had; none is held then.
        :raises TcpbalanceError: a file cannot be read.
        """
        if self._listening is None:
            self._files = _read_files(self.config, None)
            with ExitStack() as undo:
                self._listening = Listening.of(self.config, self._workers, undo)
                self._memory = write_config(self.config)
                undo.pop_all()
            self._inboxes.open()
            if can_count():
                self._counts = SupervisorCounts(self._workers)
                self._counts.prepare(self.config)
                self._counts.commit(self.config)
                self._shared_states.append(self._counts)

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()

    def startService(self) -> None:
        """Start the workers."""
        self.prepare()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        adopt_orphans()
        self._watch.startService()
        self._heartbeat.start()
        self._orphans.startService()
        self.pools.startService()
        self._start_nursery()

    def when_listening(self) -> Deferred[bool]:
        """Fires when all workers accept clients; at once where they do."""
        return self._serving.wait()

    def _start_nursery(self) -> None:
        self._again = None
        try:
            nursery = self._nursery = self._new_nursery()
        except NoWorkerError as error:
            self._report(str(error))
            self._start_nursery_again()
            return
        nursery.ready.addCallback(lambda _: self._begin(nursery)).addErrback(self._not_begun)

    def _new_nursery(self) -> NurseryProcess:
        """Start another nursery.

        :raises NoWorkerError: it cannot be started.
        """
        try:
            nursery = self._make_nursery(self._reactor, worker.__name__, self._timeout)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise NoWorkerError(f"workers: {sys.executable} cannot be run: {reason}") from error
        self._nurseries.append(nursery)
        nursery.ended.addCallback(lambda _: self._nursery_ended(nursery))
        return nursery

    def _begin(self, nursery: NurseryProcess) -> None:
        self._times = 0
        for place in self._places:
            place.begin(nursery)

    def _not_begun(self, failure: Failure) -> None:
        if self._closes:
            return  # It was not needed any more.
        if not isinstance(failure.value, TcpbalanceError):
            self._log.failure("the workers could not be started", failure)
        self._report(str(failure.value))

    def _report(self, error: str) -> None:
        """Report why workers cannot serve; where none has served yet, the whole start has failed."""
        self._log.error("{error}", error=error)
        self._serving.fail(TcpbalanceError(error))

    def _nursery_ended(self, nursery: NurseryProcess) -> None:
        self._nurseries.remove(nursery)
        if nursery is self._nursery:
            self._start_nursery_again()

    def _start_nursery_again(self) -> None:
        """Workers go on without a nursery; start another one for those to come."""
        if not self._closes:
            delay = backoff(self._times, self._rng)
            self._times += 1
            self._again = self._reactor.callLater(delay, self._start_nursery)

    # Workers

    def _make_worker(self, place: int, column: int, nursery: Nursery) -> WorkerProcess:
        return WorkerProcess(self._reactor, place, column, nursery, self, timeout=self._timeout)

    def has_forked(self, process: WorkerProcess) -> None:
        """See ``worker_process.Observer``."""
        assert self._listening is not None
        process.send_sockets(self._listening.sockets(process.place))
        assert self._files is not None
        process.send_files(self._files.new_since(None))
        process.send({"config": True}, [self._memory])
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
        self._places[process.place].has_ended(process)

    def _look_whether_all_serve(self) -> None:
        assert self._listening is not None
        if self._serving.settled or not all(place.is_serving for place in self._places):
            return
        self._log_addresses(self._listening.places())
        self._serving.settle(True)

    def _log_addresses(self, places: Iterable[tuple[str, str]]) -> None:
        for frontend, address in places:
            self._log.info(
                "frontend {name} listens on {address} by the workers 0 to {last}",
                name=frontend,
                address=address,
                last=self._workers - 1,
            )

    def _current(self) -> list[WorkerProcess]:
        """Give the processes that serve, or will, and are there."""
        return [process for place in self._places for process in place.current() if process.is_greeted]

    def _processes(self) -> list[WorkerProcess]:
        """Give all processes, those that drain among them."""
        return [process for place in self._places for process in place.processes]

    def _watched(self) -> list[Pulsed]:
        return [*self._processes(), *self._nurseries]

    def restart_workers(self) -> None:
        """Replace all workers by new ones of a new nursery, which has the program as it is on disk now.

        No client is refused, and no session ends. Where the new ones cannot serve, all stays as it was.
        """
        if self._is_restarting:
            self._log.warn("SIGUSR2: the workers are being replaced already")
        elif self._nursery is None or not self._serving.settled or self._closes:
            self._log.warn("SIGUSR2: the workers cannot be replaced before they serve, or when they end")
        else:
            self._log.info("SIGUSR2: the workers are replaced, one after the other")
            self._replace_workers(self._nursery)

    def _replace_workers(self, before: NurseryProcess) -> None:
        try:
            nursery = self._new_nursery()
        except NoWorkerError as error:
            self._log.error("the workers stay: {error}", error=str(error))
            return
        self._is_restarting = True
        done = self._one_at_a_time.run(RollingRestart(self._places, before, nursery).run)
        done.addCallbacks(lambda _: self._go_on_by(nursery), self._stay_as_before, errbackArgs=(nursery,))

    def _go_on_by(self, nursery: NurseryProcess) -> None:
        before, self._is_restarting = self._nursery, False
        if self._again is not None and self._again.active():
            self._again.cancel()
        if before is not None:
            before.close()
        self._nursery = nursery
        self._begin(nursery)
        if nursery not in self._nurseries:
            self._start_nursery_again()
        self._log.info("the workers have been replaced")

    def _stay_as_before(self, failure: Failure, nursery: NurseryProcess) -> None:
        self._is_restarting = False
        nursery.close()
        if self._nursery is not None:
            self._begin(self._nursery)
        if not self._closes:
            self._log.error("the workers stay: {error}", error=str(failure.value))

    # Changing

    def prepare_config(self, config: Config, rest: Callable[[], object] = lambda: None) -> PreparedConfig:
        """See ``Balancer``."""
        return PreparedConfig.of(self._parts, config, self._reactor, self._clock, rest)

    def apply(self, config: PreparedConfig | None) -> Deferred[Difference]:
        """Have all workers serve by another configuration, or none; the files are read, too.

        :param config: None for the present one, whose files may have changed.
        :returns: what is different, see ``Balancer``; it fails where an address cannot be had, or a worker
            cannot serve by the configuration. Nothing has changed then.
        """
        applied: Deferred[Difference] = self._one_at_a_time.run(self._apply, config)
        return applied

    @inlineCallbacks
    def _apply(self, config: PreparedConfig | None) -> Generator[Deferred[Any], Any, Difference]:
        if config is None or config.present is not self._parts:
            # Another configuration has come to the workers since it was prepared.
            config = self.prepare_config(self.config if config is None else config.config)
        parts, present = config.parts, self._files
        files: Files = yield in_thread(self._reactor)(lambda: _read_files(parts.config, present))
        if self._closes:
            raise TcpbalanceError(_IS_ENDING)
        if not config.difference and not files.new_since(present):
            return config.difference
        with ExitStack() as undo:
            change = self._prepare_change(config, files, undo)
            yield self._changes.prepare(self._current(), change.ask)
            if self._closes:
                raise TcpbalanceError(_IS_ENDING)
            undo.pop_all()
        yield self._commit(change, config.parts)
        return config.difference

    def _prepare_change(self, config: PreparedConfig, files: Files, undo: ExitStack) -> _Change:
        """Take all that may be refused here.

        :param undo: gets what gives it back.
        """
        assert self._listening is not None
        before, after = self._listening, config.parts.config
        pools = self.pools.prepare(config)
        undo.callback(pools.abandon)
        listening = Listening.of(after, self._workers, undo, before, config.found)
        memory = write_config(after)
        undo.callback(os.close, memory)
        undo.callback(self._changes.abandon)
        self._count_for(after, undo)
        return _Change(before, listening, memory, files, files.new_since(self._files), pools.commit)

    def _commit(self, change: _Change, parts: Parts) -> Deferred[None]:
        """Serve by what is prepared; cannot fail.

        :returns: fires when all workers do.
        """
        gone = change.before.without(change.listening)
        for group in gone:
            group.turn_new_clients_away()
        change.listening.adopt()
        change.commit_pools()
        # Before the workers have the backends that are new.
        self._statuses.send_all()
        self._bans.go_on_by(parts.config)
        committed = self._changes.commit()
        for process in self._processes():
            if process.drains:
                process.send({"keep": True})
        if self._counts is not None:
            self._counts.commit(parts.config)
        os.close(self._memory)
        self._listening, self._memory = change.listening, change.memory
        self._parts, self._files = parts, change.files
        self._watch.watch(watched(parts, self._files_were_read))
        known = set(change.before.places())
        self._log_addresses(place for place in change.listening.places() if place not in known)
        for group in gone:
            group.close()
        return committed

    def _count_for(self, config: Config, undo: ExitStack) -> None:
        """Have what another configuration limits counted by all workers."""
        if self._counts is not None:
            self._counts.prepare(config)
            undo.callback(self._counts.abandon, self.config)

    def reload_files(self) -> None:
        """Read the files of the configuration again; workers get those that have changed and can be used."""
        self._watch.reload()

    def _files_were_read(self) -> None:
        if self._sending is None:
            # Others may be read in the same turn.
            self._sending = self._reactor.callLater(0, self._send_files)

    def _send_files(self) -> None:
        self._sending = None
        self.apply(None).addErrback(self._log_files_not_sent)

    def _log_files_not_sent(self, failure: Failure) -> None:
        if not self._closes:
            self._log.error(
                "files that have changed are not used, what was read before stays in use: {error}",
                error=str(failure.value),
            )

    def reopen_logs(self) -> None:
        """Have all workers open their logs anew."""
        self._send_all({"reopen": True})

    def _send_all(self, content: dict[str, Any]) -> None:
        for process in self._processes():
            process.send(content)

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
        self._watch.stopService()
        for call in (self._again, self._sending):
            if call is not None and call.active():
                call.cancel()
        if self._listening is not None:
            self._listening.close()
        for place in self._places:
            place.close()
        ended: list[Deferred[Any]] = [place.closed for place in self._places]
        for nursery in self._nurseries:
            nursery.close()
            ended.append(nursery.ended)
        stopped = DeferredList(ended).addCallback(lambda _: self.pools.stopService())
        stopped.addCallback(self._finish)
        return self._ended.wait()

    def _finish(self, _: object) -> None:
        self._heartbeat.stop()
        self._orphans.stopService()
        self._files = None
        if self._memory >= 0:
            os.close(self._memory)
        self._files = None
        self._inboxes.close()
        if self._counts is not None:
            self._counts.close()
        self._ended.settle(None)

    def end_grace_now(self) -> None:
        """Have all workers end their sessions now."""
        self._send_all({"end_grace_now": True})
