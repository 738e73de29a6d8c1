"""The configuration that all workers serve by, as the supervisor has it: its sockets, files and changes.

All workers come to another configuration, or none: whatever can be refused is done first, here and in each of
them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.build import Parts, PreparedConfig
from tcpbalance.config.difference import Difference
from tcpbalance.config.models import Config
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.errors import TcpbalanceError
from tcpbalance.threads import give_way, in_thread
from tcpbalance.workers.common_counts import SupervisorCounts
from tcpbalance.workers.common_pools import CommonPools
from tcpbalance.workers.common_status import CommonStatus
from tcpbalance.workers.config_changes import ConfigChanges
from tcpbalance.workers.config_memory import write_config
from tcpbalance.workers.file_watch import watch_files, watched
from tcpbalance.workers.files import Files
from tcpbalance.workers.listening import Listening
from tcpbalance.workers.place import Place
from tcpbalance.workers.worker_process import WorkerProcess

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


class CommonConfig:
    """The configuration that is in use, with what is made of it here.

    :param reactor: reads files in its threads.
    :param parts: what it is made into first.
    :param clock: see ``Pool``.
    :param places: of the workers.
    :param one_at_a_time: held by each change.
    :param changes: has the workers change.
    :param pools: change with it, as do `statuses`.
    :param followed_by: called with each further configuration, before the workers serve by it.
    :ivar on_config: called with each configuration that is served by from then on.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        parts: Parts,
        clock: Callable[[], float],
        places: Sequence[Place],
        one_at_a_time: DeferredLock,
        *,
        changes: ConfigChanges,
        pools: CommonPools,
        statuses: CommonStatus,
        followed_by: Sequence[Callable[[Config], object]],
    ) -> None:
        self._reactor = reactor
        self._parts = parts
        self._clock = clock
        self._places = places
        self._one_at_a_time = one_at_a_time
        self._changes = changes
        self._pools = pools
        self._statuses = statuses
        self._followed_by = followed_by
        self._counts: SupervisorCounts | None = None
        self._listening: Listening | None = None
        self._memory = -1
        self._files: Files | None = None
        self._watch = watch_files(reactor, parts, self._files_were_read)
        self._sending: IDelayedCall | None = None
        self._closes = False
        self.on_config: Callable[[Config], object] = lambda _: None

    @property
    def config(self) -> Config:
        """The configuration itself."""
        return self._parts.config

    @property
    def is_open(self) -> bool:
        """Whether its addresses have been taken."""
        return self._listening is not None

    @property
    def listening(self) -> Listening:
        """What is listened on, once it is open."""
        assert self._listening is not None
        return self._listening

    def open(self) -> None:
        """Take all addresses, and read all files; clients wait from now on.

        :raises ListenError: an address cannot be had; none is held then.
        :raises TcpbalanceError: a file cannot be read.
        """
        self._files = _read_files(self.config, None)
        with ExitStack() as undo:
            self._listening = Listening.of(self.config, len(self._places), undo)
            self._memory = write_config(self.config)
            undo.pop_all()

    def count_by(self, counts: SupervisorCounts) -> None:
        """Have what it limits counted by all workers together, and what others limit that follow."""
        counts.prepare(self.config)
        counts.commit(self.config)
        self._counts = counts

    def start(self) -> None:
        """Watch its files."""
        self._watch.startService()

    def send_to(self, process: WorkerProcess) -> None:
        """Send a worker that begins all that it serves by."""
        assert self._files is not None
        process.send_sockets(self.listening.sockets(process.place))
        process.send_files(self._files.new_since(None))
        process.send({"config": True}, [self._memory])

    def log_addresses(self) -> None:
        """Log what is listened on."""
        self._log_addresses(self.listening.places())

    def _log_addresses(self, places: Iterable[tuple[str, str]]) -> None:
        for frontend, address in places:
            self._log.info(
                "frontend {name} listens on {address} by the workers 0 to {last}",
                name=frontend,
                address=address,
                last=len(self._places) - 1,
            )

    # Changing

    def prepare(self, config: Config, rest: Callable[[], object]) -> PreparedConfig:
        """See ``Balancer.prepare_config``."""
        return PreparedConfig.of(self._parts, config, self._reactor, self._clock, rest)

    def apply(self, config: PreparedConfig | None) -> Deferred[Difference]:
        """Have all workers serve by another configuration, or none; the files are read, too.

        :param config: None for the present one, whose files may have changed.
        :returns: what is different, see ``Balancer``; it fails where an address cannot be had, or a worker
            cannot serve by the configuration. Nothing has changed then.
        """
        applied: Deferred[Difference] = self._one_at_a_time.run(self._apply, config)
        return applied

    def change(self, change: ChangeConfig, order: Order) -> Deferred[Difference]:
        """Have all workers serve by another configuration, or none.

        :param change: gives it; called with the one that is in use when its turn has come.
        :param order: holds while the change comes to the supervisor's own pools.
        :returns: see `apply`.
        """
        changed: Deferred[Difference] = self._one_at_a_time.run(self._change, change, order)
        return changed

    @inlineCallbacks
    def _change(self, change: ChangeConfig, order: Order) -> Generator[Deferred[Any], Any, Difference]:
        prepared = yield in_thread(self._reactor)(partial(self._prepare_changed, change))
        difference: Difference = yield self._apply(prepared, order)
        return difference

    def _prepare_changed(self, change: ChangeConfig) -> PreparedConfig:
        """Prepare another configuration; called in a thread."""
        return self.prepare(change(self.config), give_way)

    @inlineCallbacks
    def _apply(
        self, config: PreparedConfig | None, order: Order = nullcontext
    ) -> Generator[Deferred[Any], Any, Difference]:
        if config is None or config.present is not self._parts:
            # Another configuration has come to the workers since it was prepared.
            config = self.prepare(self.config if config is None else config.config, lambda: None)
        parts, present = config.parts, self._files
        files: Files = yield in_thread(self._reactor)(lambda: _read_files(parts.config, present))
        if self._closes:
            raise TcpbalanceError(_IS_ENDING)
        if not config.difference and not files.new_since(present):
            return config.difference
        with ExitStack() as undo:
            change = self._prepare_change(config, files, undo)
            yield self._changes.prepare(self._serving(), change.ask)
            if self._closes:
                raise TcpbalanceError(_IS_ENDING)
            undo.pop_all()
        yield self._commit(change, config.parts, order)
        return config.difference

    def _serving(self) -> list[WorkerProcess]:
        """Give the processes that serve, or will, and are there."""
        return [process for place in self._places for process in place.current() if process.is_greeted]

    def _prepare_change(self, config: PreparedConfig, files: Files, undo: ExitStack) -> _Change:
        """Take all that may be refused here.

        :param undo: gets what gives it back.
        """
        before, after = self.listening, config.parts.config
        pools = self._pools.prepare(config)
        undo.callback(pools.abandon)
        listening = Listening.of(after, len(self._places), undo, before, config.found)
        memory = write_config(after)
        undo.callback(os.close, memory)
        undo.callback(self._changes.abandon)
        if self._counts is not None:
            self._counts.prepare(after)
            undo.callback(self._counts.abandon, self.config)
        return _Change(before, listening, memory, files, files.new_since(self._files), pools.commit)

    def _commit(self, change: _Change, parts: Parts, order: Order) -> Deferred[None]:
        """Serve by what is prepared; cannot fail.

        :returns: fires when all workers do.
        """
        gone = change.before.without(change.listening)
        for group in gone:
            group.turn_new_clients_away()
        change.listening.adopt()
        with order():
            change.commit_pools()
        # Before the workers have the backends that are new.
        self._statuses.send_all()
        for follow in self._followed_by:
            follow(parts.config)
        committed = self._changes.commit()
        self._have_draining_ones_keep_theirs()
        if self._counts is not None:
            self._counts.commit(parts.config)
        os.close(self._memory)
        self._listening, self._memory = change.listening, change.memory
        self._parts, self._files = parts, change.files
        self.on_config(parts.config)
        self._watch.watch(watched(parts, self._files_were_read))
        known = set(change.before.places())
        self._log_addresses(place for place in change.listening.places() if place not in known)
        for group in gone:
            group.close()
        return committed

    def _have_draining_ones_keep_theirs(self) -> None:
        for place in self._places:
            for process in place.processes:
                if process.drains:
                    process.send({"keep": True})

    # Its files

    def reload_files(self) -> None:
        """Read the files again; workers get those that have changed and can be used."""
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

    # Ending

    def stop(self) -> None:
        """Change no more, and listen no more; what workers have of the sockets stays open."""
        self._closes = True
        self._watch.stopService()
        if self._sending is not None and self._sending.active():
            self._sending.cancel()
        if self._listening is not None:
            self._listening.close()

    def close(self) -> None:
        """Give back what workers were sent, once they have ended."""
        self._files = None
        if self._memory >= 0:
            os.close(self._memory)
