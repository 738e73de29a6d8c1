"""Keeps what is known of one host name up to date."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver.answer import Reply, Verdict
from tcpbalance.net.resolver.knowledge import Knowledge, Notice, State
from tcpbalance.net.resolver.targets import Targets


class Resolution:
    """The addresses of one name, with at most one question under way.

    While it is followed, it asks again in the background whenever an answer's time to live is over, so that
    no dial waits once an address was known. While it is not, a dial after that time asks, and waits.

    :param host: the name.
    :param clock: IReactorTime.
    :param ask: starts one question; what it returns fires with a ``Reply``, and may be cancelled.
    :param config: how long answers are kept.
    :param random: where jitter and the first address of a dial come from.
    :param report: called with what to log.
    """

    _log = Logger()

    def __init__(
        self,
        host: str,
        clock: Any,
        ask: Callable[[str], Deferred[Reply]],
        config: ResolverConfig,
        random: Random,
        report: Callable[[Notice], object],
    ) -> None:
        self.host = host
        self._clock = clock
        self._ask = ask
        self._random = random
        self._report = report
        self._known = Knowledge(host, clock.seconds(), config, random)
        self._followers = 0
        self._question: Deferred[Reply] | None = None
        self._waiting: OrderedDict[Deferred[None], None] = OrderedDict()
        self._timer: IDelayedCall | None = None
        self._targets: dict[int, Targets] = {}

    @property
    def verdict(self) -> Verdict | None:
        """How the last question ended; None before the first has."""
        return self._known.verdict

    @property
    def addresses(self) -> list[str]:
        """The IP addresses that are known now, without zones."""
        return [host.address for host in self._known.hosts]

    @property
    def is_open(self) -> bool:
        """Whether no address is known because the name could not be looked up so far, or is being."""
        if self._known.hosts:
            return False
        return self._question is not None or self._known.state is State.FAILING

    @property
    def may_be_dropped(self) -> bool:
        """Whether it is neither followed nor waited for."""
        return not self._followers and self._question is None

    def targets(self, port: int) -> Targets | None:
        """Give the addresses with a port; None when no address is known."""
        if not self._known.hosts:
            return None
        targets = self._targets.get(port)
        if targets is None:
            targets = Targets(self._known.hosts, port, self._clock.seconds, self._random)
            self._targets[port] = targets
        return targets

    def look_up(self) -> Deferred[None] | None:
        """Ask if it is time to.

        :returns: None when what is known is what counts; else it fires, when it is, and may be cancelled.
        """
        known = self._known
        if self._followers:
            may_wait = not known.hosts
        else:
            # An answer whose time is over is not used, except that nothing better can be had.
            may_wait = not known.hosts or known.state is State.FOUND
            if self._question is None and self._clock.seconds() >= known.due:
                self._start()
        return self._wait() if may_wait and self._question is not None else None

    def follow(self) -> Deferred[None]:
        """Keep it up to date from now on.

        :returns: fires, never with an error, when the first question has ended.
        """
        self._followers += 1
        if self._question is None and self._timer is None:
            self._schedule()
        return self._wait() if self.verdict is None else succeed(None)

    def unfollow(self) -> None:
        """Take one call of `follow` back; after the last, it is asked for only when it is needed."""
        self._followers -= 1
        if not self._followers:
            self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """Ask no more; what waits for an answer waits no longer."""
        self._followers = 0
        self._cancel_timer()
        question, self._question = self._question, None
        if question is not None:
            question.cancel()
        self._release()

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._waiting.pop)
        self._waiting[waiting] = None
        return waiting

    def _release(self) -> None:
        while self._waiting:
            self._waiting.popitem(last=False)[0].callback(None)

    def _schedule(self) -> None:
        delay = self._known.due - self._clock.seconds()
        if delay > 0:
            self._timer = self._clock.callLater(delay, self._start)
        else:
            self._start()

    def _start(self) -> None:
        self._timer = None
        self._question = question = maybeDeferred(self._ask, self.host)
        question.addCallbacks(self._settle, self._break)

    def _break(self, failure: Failure) -> None:
        if self._question is not None:  # else it was cancelled
            self._log.failure("{host}: the lookup failed", failure, host=self.host)
            self._settle(Reply.failed(Verdict.UNKNOWN))

    def _settle(self, reply: Reply) -> None:
        self._question = None
        before = self._known.hosts
        notice = self._known.take(reply, self._clock.seconds())
        if self._known.hosts != before:
            # In place: a dial under way reports to them addresses that fail.
            for targets in self._targets.values():
                targets.change(self._known.hosts)
        if notice is not None:
            self._report(notice)
        if self._followers:
            self._schedule()
        self._release()
