"""All names of one balancer, and what looks them up."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver.answer import Reply
from tcpbalance.net.resolver.knowledge import Notice
from tcpbalance.net.resolver.resolution import Resolution
from tcpbalance.net.resolver.system import SystemEngine
from tcpbalance.rate_limited_log import RateLimitedLog

MAX_NAMES = 1024
"""Names that are remembered although they are not followed."""

NAMES_A_LINE = 50
"""Names in one line of the log at most: a line of some 3 KB."""


class Engine(Protocol):
    """Looks names up: the seam between the two ways."""

    def ask(self, host: str) -> Deferred[Reply]:
        """Start a lookup.

        :returns: fires, never with an error, in the reactor's thread; it may be cancelled.
        """
        ...

    def stop(self) -> None:
        """Leave no thread and no descriptor behind; another question starts anew.

        Questions under way may be left without an answer.
        """
        ...


def engine_for(reactor: Any, config: ResolverConfig) -> Engine:
    """Make the engine that the configuration asks for.

    :param reactor: IReactorTime and IReactorFromThreads; of an engine alone, ``seconds`` and
        ``callFromThread`` are used.
    """
    if config.engine == "dns":
        from tcpbalance.net.resolver.cares import CaresEngine

        return CaresEngine(reactor, config)
    return SystemEngine(reactor)


class Resolver:
    """Knows the addresses of host names; all dials and checks of a balancer share it.

    :param reactor: IReactorTime and IReactorFromThreads.
    :param config: which servers to ask, and how long answers are kept.
    :param engine: looks names up; the one that the configuration names by default.
    :param random: where jitter and the first address of a dial come from.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: ResolverConfig = ResolverConfig(),
        engine: Engine | None = None,
        random: Random | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._engine = engine
        self._random = random or Random()
        self._names: dict[str, Resolution] = {}
        self._is_following = False
        # When a name server fails, so does each name.
        self._notices = RateLimitedLog[Notice, None](self._write, reactor.seconds, reactor)

    def resolution(self, host: str) -> Resolution:
        """Give what is known of a name, made at the first call."""
        known = self._names.get(host)
        if known is None:
            self._drop_idle()
            known = self._names[host] = Resolution(
                host, self._reactor, self._ask, self._config, self._random, self._report
            )
        return known

    def _ask(self, host: str) -> Deferred[Reply]:
        # Many have no names to look up.
        if self._engine is None:
            self._engine = engine_for(self._reactor, self._config)
        return self._engine.ask(host)

    def follow(self, hosts: Iterable[str], timeout: float) -> Deferred[list[str]]:
        """Keep names up to date until ``unfollow`` or ``stop``.

        :param timeout: seconds to wait for the first answers.
        :returns: fires, never with an error, when each name has had an answer, or at the end of that time,
            with the names that have had none.
        """
        names = [self.resolution(host) for host in dict.fromkeys(hosts)]
        if not names:
            return succeed([])
        self._is_following = True
        answered: Deferred[list[str]] = Deferred()

        def end_waiting() -> None:
            answered.callback([name.host for name in names if name.verdict is None])

        def end_in_time(_: object) -> None:
            if timer.active():
                timer.cancel()
                end_waiting()

        timer = self._reactor.callLater(timeout, end_waiting)
        DeferredList([name.follow() for name in names]).addCallback(end_in_time)
        return answered

    def unfollow(self, hosts: Iterable[str]) -> None:
        """Take a call of ``follow`` with these names back."""
        for host in dict.fromkeys(hosts):
            known = self._names.get(host)
            if known is not None:
                known.unfollow()

    def stop(self) -> None:
        """Forget all names and leave nothing behind: no thread, no descriptor, no delayed call."""
        names, self._names = self._names, {}
        for known in names.values():
            known.stop()
        if self._engine is not None:
            self._engine.stop()
        self._is_following = False
        self._notices.flush()

    def _report(self, notice: Notice) -> None:
        self._notices.note(notice, None)
        if not self._is_following:
            # It is never stopped, so no delayed call may be left.
            self._notices.flush()

    def _write(self, notices: Iterable[Notice], _: None) -> None:
        """Write one line for a cause, or several where it concerns many names."""
        by_cause: dict[str, list[Notice]] = {}
        for notice in notices:
            by_cause.setdefault(notice.cause, []).append(notice)
        for cause, alike in by_cause.items():
            emit = self._log.warn if alike[0].bad else self._log.info
            for start in range(0, len(alike), NAMES_A_LINE):
                part = alike[start : start + NAMES_A_LINE]
                if len(part) == 1:
                    emit("{notice}", notice=part[0])
                else:
                    names = ", ".join(f"{notice.host} ({notice.detail})" for notice in part)
                    emit("{cause}: {names}", cause=cause, names=names)

    def _drop_idle(self) -> None:
        """Drop the name that was asked for first, of those that are not followed, when there are too many."""
        if len(self._names) >= MAX_NAMES:
            idle = next((host for host, known in self._names.items() if known.may_be_dropped), None)
            if idle is not None:
                del self._names[idle]


_resolvers: dict[Any, Resolver] = {}
"""By reactor; a process has one, and a resolver that is not used holds nothing open."""


def resolver_of(reactor: Any) -> Resolver:
    """The resolver of a reactor, with the default settings, shared by all that were given no other."""
    resolver = _resolvers.get(reactor)
    if resolver is None:
        resolver = _resolvers[reactor] = Resolver(reactor)
    return resolver
