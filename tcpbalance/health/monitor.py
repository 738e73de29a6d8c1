"""Finds out by periodic checks which backends of a pool are up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.pools import HealthConfig, Initial
from tcpbalance.health.check_loop import CheckLoop
from tcpbalance.health.counter import Flip, HealthCounter
from tcpbalance.health.probe_run import Outcome, ProbeRun
from tcpbalance.health.probes.base import Probe, Target
from tcpbalance.net.resolver.resolver import Resolver
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import NOT_CHECKED, Pool
from tcpbalance.rate_limited_log import FAILURES_EVERY, RateLimitedLog
from tcpbalance.wire.proxy_protocol import ProxyVersion

STOP_GRACE = 1.0
"""Seconds that cancelled probes get to end, with their children and connections."""

STARTED_A_TURN = 20
"""First checks that begin in one turn of the reactor; each takes a tenth of a millisecond or more."""

_STANDS, _FAILED = "backends keep their state", "which counts as failed"
"""What comes of an error in a probe."""

_STAYS = {"maintenance": "in maintenance"}
"""How a sentence says the word for how a backend stands, where that is no adjective."""


@define(eq=False, slots=False)
class HealthMonitor(Service):
    """Checks every backend of a pool, and marks it up and down; each flip is logged once, with its cause.

    It goes on for as long as the service runs, and follows the pool when its list of backends is replaced.
    When it stops, backends stay as they were found.

    :param pool: whose backends are checked.
    :param config: the checks; most often those of the pool.
    :param reactor: IReactorTime, and whatever the probe needs.
    :param rng: gives the jitter.
    :param on_down: called with a backend that has just gone down.
    :param on_result: called with each outcome, and the seconds that the check took.
    :param resolver: knows the addresses of names; the one of the reactor by default.
    :ivar first_round: fires when the first check of each backend that there was at the start has its outcome,
        or the backend is removed; not at all when the monitor is stopped before. A start that follows a stop
        makes a new one.
    """

    _log = Logger()

    pool: Pool
    config: HealthConfig
    reactor: Any = field(kw_only=True)
    rng: Random = field(kw_only=True)
    on_down: Callable[[Backend], object] = field(default=lambda _: None, kw_only=True)
    on_result: Callable[[Backend, Outcome, float], object] = field(default=lambda *_: None, kw_only=True)
    resolver: Resolver | None = field(default=None, kw_only=True)

    first_round: Deferred[None] = field(init=False, factory=Deferred)
    _loops: dict[Backend, CheckLoop] = field(init=False, factory=dict)
    _ending: list[CheckLoop] = field(init=False, factory=list)
    _unstarted: deque[CheckLoop] = field(init=False, factory=deque)
    _next_start: IDelayedCall | None = field(init=False, default=None)
    _unsubscribe: Callable[[], object] = field(init=False, default=lambda: None)
    _errors: RateLimitedLog[str, Failure] = field(init=False)

    def __attrs_post_init__(self) -> None:
        clock = self.reactor
        self._errors = RateLimitedLog(self._write_errors, clock.seconds, clock, FAILURES_EVERY)

    def startService(self) -> None:
        """Start the first check of every backend at once; the later ones are spread over the interval."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        if self.config.initial == "down":
            self._log.info(
                'pool {pool}: initial = "down": each backend is down until {rise} checks in a row have '
                "passed",
                pool=self.pool.name,
                rise=self.config.rise,
            )
        for backend in self.pool.backends:
            self._begin_with(backend)
        self._start()

    def take_over(self) -> None:
        """Start to check a pool that serves already: a backend stays as it stands until checks show
        otherwise, but for one that waits for its first check."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._serve_if_alone([backend for backend in self.pool.backends if backend.awaits_check])
        self._start()

    def _start(self) -> None:
        backends = self.pool.backends
        self._loops = {
            backend: self._loop(backend, (place + self.rng.random()) / len(backends))
            for place, backend in enumerate(backends)
        }
        self._unsubscribe = self.pool.subscribe(self._on_change)
        loops = list(self._loops.values())
        self._start_loops(loops)
        first_round = self.first_round
        round_ = DeferredList([loop.first.wait() for loop in loops])
        round_.addCallback(lambda _: first_round.callback(None))

    def check_by(self, config: HealthConfig) -> None:
        """Check in another way from now on; how backends stand stays until that shows otherwise, but those
        that wait for a check that ``initial`` does not ask for any more serve now."""
        self.config = config
        before, self._loops = self._loops, {}
        for backend, loop in before.items():
            loop.stop()
            self._ending.append(loop)
            if config.initial == "up" and backend.awaits_check:
                self._mark_up(backend)
            new = self._loops[backend] = self._loop(backend, self.rng.random())
            new.first.wait().addCallback(loop.first.settle)
        self._start_loops(self._loops.values())

    def stopService(self) -> Deferred[None]:
        """Cancel the checks that run, and make no more.

        :returns: fires when they have ended and their connections and children are gone; a probe that cannot
            be cancelled is left behind after a second, with a line in the log.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._unsubscribe()
        self._unstarted.clear()
        if self._next_start is not None:
            self._next_start.cancel()
            self._next_start = None
        loops = [*self._loops.values(), *self._ending]
        self._loops, self._ending = {}, []
        self.first_round = Deferred()
        ended = DeferredList([loop.stop() for loop in loops], consumeErrors=True)
        ended.addTimeout(STOP_GRACE, self.reactor)
        ended.addCallback(lambda _: self._flush_logs())
        return ended.addCallback(lambda _: self._log_unstoppable(loops))

    def give_up(self) -> Deferred[None]:
        """Stop for good; what waits for the first round waits no longer.

        :returns: see ``stopService``.
        """
        first_round, ended = self.first_round, self.stopService()
        if not first_round.called:
            first_round.callback(None)
        return ended

    def _on_change(self, change: PoolChange) -> None:
        """Begin with backends that are added, and end with those that are removed."""
        self._ending = [loop for loop in self._ending if not loop.idle]
        for backend in change.removed:
            loop = self._loops.pop(backend)
            loop.stop()
            self._ending.append(loop)
            # The first round does not wait for what will never be checked.
            loop.first.settle(None)
        for backend in change.added:
            self._begin_with(backend)
            self._loops[backend] = self._loop(backend, self.rng.random())
        if change.removed:
            self._serve_if_alone(change.added)
        self._start_loops([self._loops[backend] for backend in change.added])

    def _start_loops(self, loops: Iterable[CheckLoop]) -> None:
        """Make the first check of each now, or of many in the next turns: all traffic waits meanwhile."""
        has_begun = bool(self._unstarted)
        self._unstarted.extend(loops)
        if not has_begun:
            self._start_some()

    def _start_some(self) -> None:
        self._next_start = None
        for _ in range(STARTED_A_TURN):
            if self._unstarted:  # A check may have an outcome at once, and end others.
                self._unstarted.popleft().start()
        if self._unstarted and self._next_start is None:
            self._next_start = self.reactor.callLater(0, self._start_some)

    def _serve_if_alone(self, backends: Iterable[Backend]) -> None:
        """Let backends that take the place of all others serve at once: clients would be refused meanwhile.

        The first check decides.
        """
        if self.config.initial != "checked" or self.pool.selection.has_available():
            return
        backends = list(backends)
        for backend in backends:
            self._log_state(self._log.info, backend, "serves before its first check, no other is available")
        self.pool.status.serve_unchecked(backends)

    def _begin_with(self, backend: Backend) -> None:
        """Let a backend stand as it is to stand before its first check."""
        if self.config.initial == "up":
            self.pool.mark_up(backend)
        else:
            self.pool.status.await_check(backend, self._first_cause())

    def _loop(self, backend: Backend, phase: float) -> CheckLoop:
        """Make the checks of one backend, from how it stands now.

        :param phase: where in the interval its later checks come, 0 to 1.
        """
        config = self.config
        known: Initial = "up" if backend.up else "down"
        counter = HealthCounter(config.rise, config.fall, config.initial if backend.awaits_check else known)
        return CheckLoop(
            self.reactor,
            lambda: ProbeRun(cast(Probe, config.probe), config.check, self._target(backend)),
            lambda: config.interval if counter.up else config.down_interval or config.interval,
            phase,
            lambda outcome, seconds: self._on_outcome(backend, counter, outcome, seconds),
        )

    def _target(self, backend: Backend) -> Target:
        """Say what is checked; the server name of a backend may change meanwhile."""
        return Target(
            self.config.checked_address(backend.address),
            backend.name,
            self.config.timeout,
            self.reactor,
            self._proxy_version(),
            self.pool.tls,
            backend.server_name,
            self.resolver,
        )

    def _proxy_version(self) -> ProxyVersion | None:
        own = self.config.send_proxy_protocol
        if own is None:
            return self.pool.send_proxy_protocol
        return None if own == "none" else own

    def _first_cause(self) -> str:
        """Why a backend is down before its first check has an outcome."""
        if self.config.initial != "down":
            return NOT_CHECKED
        return f'initial = "down", and no {self.config.rise} checks in a row have passed yet'

    def _on_outcome(self, backend: Backend, counter: HealthCounter, outcome: Outcome, seconds: float) -> None:
        """Do what follows from the outcome of a check."""
        self.on_result(backend, outcome, seconds)
        if outcome.trouble is not None:
            self._errors.note(_STANDS if outcome.passed is None else _FAILED, outcome.trouble)
        if outcome.passed is not None:
            self._count(backend, counter, outcome.passed, outcome.cause)
            return
        # It says nothing about the backend: something was missing here, or the probe is broken.
        if outcome.trouble is None:
            self.pool.shortage.note(outcome.cause, outcome.remedy)
        if backend.awaits_check and not backend.up:
            self.pool.status.await_check(backend, f"{self._first_cause()}: {outcome.cause}")

    def _count(self, backend: Backend, counter: HealthCounter, passed: bool, cause: str) -> None:
        if passed:
            # Also while it is up: an ejection that has expired ends with a pass.
            self.pool.passed_a_check(backend)
        flip = counter.record(passed)
        if flip is Flip.UP:
            self._mark_up(backend)
        elif flip is Flip.DOWN:
            self._log_state(self._log.warn, backend, f"is down: {cause}")
            self.pool.mark_down(backend, cause)
            self.on_down(backend)
        elif not counter.up and not passed:
            # With initial = "down", the first failure is no flip, yet the first that is known.
            if backend.awaits_check:
                self._log_state(self._log.warn, backend, f"stays down: {cause}")
            # The latest cause is what the operator should find.
            self.pool.mark_down(backend, cause)

    def _mark_up(self, backend: Backend) -> None:
        state = backend.state_if(up=True)
        # A backend that is drained, in maintenance or ejected gets no connections although it passes.
        stays = f"passes its checks, and stays {_STAYS.get(state, state)}"
        self._log_state(self._log.info, backend, "is up" if state == "up" else stays)
        self.pool.mark_up(backend)

    def _log_state(self, emit: Callable[..., None], backend: Backend, state: str) -> None:
        pool = self.pool.name
        emit("pool {pool}: backend {backend} {state}", pool=pool, backend=backend.described, state=state)

    def _write_errors(self, errors: Counter[str], last: Failure) -> None:
        self._log.failure(
            "pool {pool}: error in probe {probe}, {effect}",
            failure=last,
            pool=self.pool.name,
            probe=self.config.check,
            effect=", ".join(f"{effect} ({count})" for effect, count in errors.items()),
        )

    def _flush_logs(self) -> None:
        self._errors.flush()
        self.pool.shortage.flush_log()

    def _log_unstoppable(self, loops: list[CheckLoop]) -> None:
        count = sum(not loop.idle for loop in loops)
        if count:
            self._log.warn(
                "pool {pool}: {count} checks by probe {probe} go on although they were cancelled",
                pool=self.pool.name,
                count=count,
                probe=self.config.check,
            )
