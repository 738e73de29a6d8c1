"""Reads the configuration file of a daemon again, and has its balancer serve by it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.difference import Difference, difference
from tcpbalance.config.errors import ConfigError, key_text
from tcpbalance.config.models import Config
from tcpbalance.config.pieces import KnownTables
from tcpbalance.config.plan import plan_lines
from tcpbalance.config_reader import read_config
from tcpbalance.control.reloading import ReloadOutcome
from tcpbalance.errors import TcpbalanceError
from tcpbalance.event import OneTimeEvent
from tcpbalance.net.own_listeners import warn_of_loops_by_name
from tcpbalance.net.resolver import LOOKUP_TIMEOUT
from tcpbalance.reload import HANGS_AFTER
from tcpbalance.threads import InThread, give_way

SETTLED_AFTER = 0.05
"""Seconds for which the file must not have changed before it is read: it may be half written."""

MAX_LOOKS = 40
"""Looks at a file that changes all the time; it is read after the last of them, whatever is in it then."""

MAX_LOGGED = 50
"""Changes, or mistakes, that the log lists of one reload."""


def read_settled(
    path: str, known: KnownTables | None = None, pause: Callable[[float], object] = time.sleep
) -> Config:
    """Read a configuration file once it has stopped changing; waits meanwhile.

    :param known: what was read of it before.
    :raises ConfigError: the file has mistakes; the text lists them all.
    """
    for _ in range(MAX_LOOKS):
        before = _state(path)
        pause(SETTLED_AFTER)
        if _state(path) == before:
            break
    return read_config(path, rest=give_way, known=known)


def _state(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


_GIVES_WAY = "another program that takes over is starting; it reads the configuration, this one does not"


class Configured(Protocol):
    """What is needed of a ``Balancer``; a ``Supervisor`` has it, too."""

    @property
    def running(self) -> Any: ...

    @property
    def config(self) -> Config | None: ...

    def reload_files(self) -> None: ...

    def prepare_config(self, config: Config, rest: Callable[[], object]) -> Any: ...

    def apply(self, config: Any) -> Difference | Deferred[Difference]: ...

    def addresses_of(self, host: str) -> Collection[str]: ...


class ConfigReloader(Service):
    """Has a balancer serve by its file again, on request.

    The file is read in a thread, and all that can be made of it beforehand is made there. Where it has a
    mistake, or the balancer cannot serve by it, everything stays as it was, and the log has the reason.
    Requests that come while one is carried out are joined into one more after it. Certificates, keys and
    lists are read again with each request, whatever becomes of the file. A read that takes too long is not
    waited for: the next request begins another one, and what the first one finds is used only if it comes
    before.

    :param reactor: IReactorTime.
    :param path: the file.
    :param balancer: made of it.
    :param in_thread: calls what reads it.
    :param read: reads it.
    :ivar path: where the file is, absolute.
    :ivar gives_way: whether another program is taking over, which reads the file itself.
    :ivar on_outcome: called with what has come of each reload, before what waits for it goes on.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        balancer: Configured,
        in_thread: InThread,
        read: Callable[[str], Config] = read_settled,
    ) -> None:
        # The process may change its folder; the paths in the file are made in the same way.
        self.path = Path(path).absolute()
        self._path = str(self.path)
        self._reactor = reactor
        self._balancer = balancer
        self._in_thread = in_thread
        self._read = read
        self.gives_way: Callable[[], bool] = lambda: False
        self.on_outcome: Callable[[ReloadOutcome], object] = lambda _: None
        self._under_way: OneTimeEvent[ReloadOutcome | None] | None = None
        self._reading: Deferred[Any] | None = None
        self._once_more = False
        self._loops_call: IDelayedCall | None = None
        self._hang_call: IDelayedCall | None = None

    def reload(self) -> Deferred[ReloadOutcome | None]:
        """Read the file again, and serve by it.

        :returns: what has come of it, also where the file could not be used, or reading it hangs; None where
            the balancer does not run.
        """
        if not self._balancer.running:
            return succeed(None)  # It has not started, or it stops.
        if self.gives_way():
            return succeed(ReloadOutcome(error=_GIVES_WAY))
        self._balancer.reload_files()
        if self._under_way is not None:
            # What has been read of the file may be from before the change that is asked for.
            self._once_more = True
            return self._under_way.wait()
        self._under_way = OneTimeEvent()
        done = self._under_way.wait()
        self._begin()
        return done

    def compare(self, running: Config) -> Deferred[Difference]:
        """See what a reload would change; nothing changes by that.

        :param running: the configuration that is in use.
        :returns: fails with ConfigError where the file has mistakes.
        """
        compared: Deferred[Difference] = self._in_thread(lambda: difference(running, self._read(self._path)))
        return compared

    def finish(self) -> Deferred[None]:
        """Wait for a reload that is under way.

        :returns: fires when none is; what a read that hangs may find still is not used then.
        """
        done: Deferred[Any] = succeed(None) if self._under_way is None else self._under_way.wait()
        return done.addCallback(self._forget_read)

    def _forget_read(self, _: object) -> None:
        self._reading = None

    def _begin(self) -> None:
        self._hang_call = self._reactor.callLater(HANGS_AFTER, self._report_hang)
        reading = self._reading = self._in_thread(self._prepare)
        reading.addBoth(self._has_ended, reading)

    def _prepare(self) -> Any:
        """Read the file, and make what it needs; called in a thread."""
        return self._balancer.prepare_config(self._read(self._path), give_way)

    def _has_ended(self, outcome: Any, reading: Deferred[Any]) -> None:
        if self._reading is not reading:
            return  # It hung, and another one has begun since.
        self._reading = None
        _cancel(self._hang_call)
        used = fail(outcome) if isinstance(outcome, Failure) else maybeDeferred(self._apply, outcome)
        used.addErrback(self._report_failure).addCallback(self._go_on)

    def _report_hang(self) -> None:
        """Report a read that hangs, which nothing can end but the system, and wait for it no longer."""
        self._log.warn(
            "reading {path} has not ended for {seconds:g} s, everything stays as it was meanwhile, and the "
            "next request to reload reads it anew; a pipe that nothing writes to and a file server that does "
            "not answer hang like this",
            path=self._path,
            seconds=HANGS_AFTER,
        )
        hangs = f"{self._path}: reading it has not ended for {HANGS_AFTER:g} s, everything stays as it was"
        self._go_on(ReloadOutcome(error=hangs))

    def _apply(self, config: Any) -> Deferred[ReloadOutcome | None]:
        if not self._balancer.running:
            return succeed(None)
        applied: Deferred[Any] = maybeDeferred(self._balancer.apply, config)
        return applied.addCallback(self._report_later)

    def _report_later(self, found: Difference) -> Deferred[ReloadOutcome | None]:
        self._look_for_loops_later()
        # Clients have waited for long enough: those that have come meanwhile go first.
        return deferLater(self._reactor, 0, self._report, found)

    def _go_on(self, outcome: ReloadOutcome | None) -> None:
        if outcome is not None:
            self.on_outcome(outcome)
        again, self._once_more = self._once_more, False
        if again and self._balancer.running:
            self._begin()
            return
        done, self._under_way = self._under_way, None
        if done is not None:  # A read that hung was not waited for.
            done.settle(outcome)

    def _report_failure(self, failure: Failure) -> ReloadOutcome:
        if isinstance(failure.value, TcpbalanceError):
            self._log.error("{path} is not used, everything stays as it was:", path=self._path)
            mistakes = str(failure.value).splitlines()
            for mistake in mistakes[:MAX_LOGGED]:
                self._log.error("{mistake}", mistake=mistake)
            if len(mistakes) > MAX_LOGGED:
                more = len(mistakes) - MAX_LOGGED
                self._log.error("and {count} more, `tcpbalance check` shows all", count=more)
        else:
            self._log.failure("{path} could not be reloaded", failure, path=self._path)
            return ReloadOutcome(error="the balancer has made a mistake; its log has the cause")
        problems = failure.value.problems if isinstance(failure.value, ConfigError) else ()
        return ReloadOutcome(error=str(failure.value), problems=problems)

    def _report(self, found: Difference) -> ReloadOutcome | None:
        lines = list(plan_lines(found))
        for line in lines[:-1][:MAX_LOGGED]:
            self._log.info("reload: {line}", line=line)
        for change in found.needing_restart:
            self._log.warn(
                "{key} keeps its value until the next restart, which it needs", key=key_text(change.path)
            )
        self._log.info("reloaded {path}: {summary}", path=self._path, summary=lines[-1])
        return ReloadOutcome(found)

    def _look_for_loops_later(self) -> None:
        """See, once names have had time for an answer, whether a name leads back to a listener."""
        _cancel(self._loops_call)
        self._loops_call = self._reactor.callLater(LOOKUP_TIMEOUT, self._look_for_loops)

    def _look_for_loops(self) -> None:
        if self._balancer.config is not None:
            warn_of_loops_by_name(self._balancer.config, self._balancer.addresses_of)

    def stopService(self) -> None:
        """Twisted's call: the balancer is about to stop."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        _cancel(self._loops_call)
        _cancel(self._hang_call)


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
