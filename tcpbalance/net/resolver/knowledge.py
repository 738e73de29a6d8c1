"""What is known of one host name, and what a reply changes about it: pure, the time is an argument."""

from __future__ import annotations

import enum
import math
from random import Random

from attrs import frozen

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver.answer import Answer, Host, Reply, Verdict

FIRST_RETRY = 1.0
"""Seconds from a question that failed to the next; each further failure doubles them."""

MAX_RETRY = 30.0
"""Seconds between two questions at most while they fail."""

JITTER = 0.1
"""The part of an answer's time to live that the next question may be late by, so that the questions for many
names spread out. Late and not early: a caching server would answer with the rest of the old time."""

MAX_JITTER = 1.0
"""Seconds; a changed address is seen within the time to live and one second more."""

MAX_HOSTS = 256
"""Addresses of one family that are used: each dial looks at all of them."""


class State(enum.Enum):
    """What the last question has shown, in three kinds; a change from one to another is logged."""

    FOUND = "found"
    EMPTY = "empty"
    FAILING = "failing"


@frozen
class Notice:
    """What the log has to say about a name.

    :ivar host: the name.
    :ivar cause: what has happened, in words that are the same for all names.
    :ivar detail: what that means for this name.
    :ivar bad: whether an operator should look.
    """

    host: str
    cause: str
    detail: str
    bad: bool = True

    def __str__(self) -> str:
        return f"{self.host}: {self.cause} ({self.detail})"


@frozen
class _Kept:
    """The last good answer of one family, when the name server gave it, and when its time to live is over."""

    hosts: tuple[Host, ...] = ()
    since: float = 0.0
    expires: float = 0.0


class Knowledge:
    """The addresses of one name, as far as they are known.

    The last good answer stays in use while the name servers fail, for ``hold`` after its time to live (as
    ``max-stale-timer`` of RFC 8767, section 5). A reply that there is no such
    name, or no address, is believed once it has stood for ``hold_empty``; at once where no address is known.
    A family whose question fails keeps its last good answer although the other family has a new one.

    :param now: seconds.
    :param config: how long answers are kept.
    :param random: where the jitter comes from.
    :ivar hosts: the addresses in use, in the order of preference.
    :ivar verdict: how the last question ended; None before the first has.
    :ivar state: the same in three kinds.
    :ivar due: when to ask again, in seconds.
    """

    def __init__(self, host: str, now: float, config: ResolverConfig, random: Random) -> None:
        self._host = host
        self.hosts: tuple[Host, ...] = ()
        self.verdict: Verdict | None = None
        self.state: State | None = None
        self.due = now
        self._config = config
        self._random = random
        self._ipv4 = self._ipv6 = _Kept()
        self._ipv6_first = True
        self._retry = FIRST_RETRY
        self._state_since = now
        self._empty_until = math.inf
        self._is_crowded = False

    def take(self, reply: Reply, now: float) -> Notice | None:
        """Learn how a question ended.

        :returns: what to log, None when nothing has changed that an operator should know.
        """
        before, before_since, had = self.state, self._state_since, len(self.hosts)
        self.verdict = self._judge(reply, now)
        self.state = _state_of(self.verdict)
        if self.state is not before:
            self._state_since = now
            self._empty_until = now + self._config.hold_empty
            self._retry = FIRST_RETRY
        if self.state is State.EMPTY and now >= self._empty_until:
            self._ipv4 = self._ipv6 = _Kept()
        self.hosts = self._in_order()
        self.due = now + self._pause(reply)
        if self.state is State.FAILING:
            self.due = min(self.due, self._end_of_hold(now))
        elif self.state is State.EMPTY and self.hosts:
            self.due = min(self.due, self._empty_until)
        return self._notice(before, now - before_since, had, now) or self._notice_of_crowd(reply)

    def _judge(self, reply: Reply, now: float) -> Verdict:
        """Put what was found in the place of what was kept, and say how the question ended as a whole."""
        ipv4, ipv6, verdict = reply.ipv4, reply.ipv6, verdict_of(reply)
        if verdict.is_empty:
            return verdict
        if verdict is not Verdict.FOUND:
            self._ipv4, self._ipv6 = self._still_held(self._ipv4, now), self._still_held(self._ipv6, now)
            return verdict
        self._ipv4, self._ipv6 = self._merged(self._ipv4, ipv4, now), self._merged(self._ipv6, ipv6, now)
        if ipv4.hosts and ipv6.hosts:
            self._ipv6_first = reply.ipv6_first
        # A family that fails and has never had an address spoils nothing: some servers fail for every AAAA.
        for answer, kept in ((ipv4, self._ipv4), (ipv6, self._ipv6)):
            if not answer.hosts and kept.hosts:
                return answer.verdict
        return verdict

    def _merged(self, kept: _Kept, answer: Answer, now: float) -> _Kept:
        if answer.hosts:
            return _Kept(answer.hosts[:MAX_HOSTS], now, now + self._bounded(answer.ttl))
        return _Kept() if answer.verdict.is_empty else self._still_held(kept, now)

    def _still_held(self, kept: _Kept, now: float) -> _Kept:
        return kept if now < kept.expires + self._config.hold else _Kept()

    def _in_order(self) -> tuple[Host, ...]:
        ipv4, ipv6 = self._ipv4.hosts, self._ipv6.hosts
        return ipv6 + ipv4 if self._ipv6_first else ipv4 + ipv6

    def _pause(self, reply: Reply) -> float:
        """The seconds until the next question."""
        if self.state is not State.FOUND:
            pause, self._retry = self._retry, min(2 * self._retry, MAX_RETRY)
            return pause
        ttl = self._bounded(min(answer.ttl for answer in (reply.ipv4, reply.ipv6) if answer.hosts))
        return ttl + self._random.random() * min(JITTER * ttl, MAX_JITTER)

    def _bounded(self, ttl: float) -> float:
        return min(max(ttl, self._config.min_ttl), self._config.max_ttl)

    def _end_of_hold(self, now: float) -> float:
        """When the first of the answers that are kept has been held for long enough, if that is to come."""
        ends = [kept.expires + self._config.hold for kept in (self._ipv4, self._ipv6) if kept.hosts]
        return min((end for end in ends if end > now), default=math.inf)

    def _notice(self, before: State | None, lasted: float, had: int, now: float) -> Notice | None:
        assert self.verdict is not None
        cause, count = self.verdict.value, _count(len(self.hosts))
        if self.state is State.FOUND:
            if before in (None, State.FOUND):
                return None
            return Notice(self._host, "good answer again", f"{count}, after {_age(lasted)}", bad=False)
        given_up = had and not self.hosts
        if self.state is before and not given_up:
            return None
        if given_up:
            detail = f"its addresses are given up after {_age(now - self._state_since)}"
        elif not self.hosts:
            detail = "no address of it is known"
        elif self.state is State.EMPTY:
            detail = f"keeping {count} for {self._config.hold_empty}"
        else:
            detail = f"keeping {count}, {_age(now - self._oldest())} old"
        return Notice(self._host, cause, detail)

    def _notice_of_crowd(self, reply: Reply) -> Notice | None:
        """Report, once, that a name has more addresses than are used."""
        found = [len(answer.hosts) for answer in (reply.ipv4, reply.ipv6)]
        used = [min(count, MAX_HOSTS) for count in found]
        was_crowded, self._is_crowded = self._is_crowded, found != used
        if was_crowded or not self._is_crowded:
            return None
        return Notice(self._host, "too many addresses", f"using {sum(used)} of {sum(found)}")

    def _oldest(self) -> float:
        return min(kept.since for kept in (self._ipv4, self._ipv6) if kept.hosts)


def verdict_of(reply: Reply) -> Verdict:
    """Say how a question ended as a whole, from how it ended for each family.

    :returns: ``FOUND`` where one has an address; else the failure where one failed, because the other alone
        does not say that the name has none.
    """
    ipv4, ipv6 = reply.ipv4, reply.ipv6
    if ipv4.hosts or ipv6.hosts:
        return Verdict.FOUND
    failed = next((answer for answer in (ipv4, ipv6) if not answer.verdict.is_empty), None)
    if failed is not None:
        return failed.verdict
    return ipv4.verdict if ipv4.verdict is ipv6.verdict else Verdict.NO_ADDRESS


def _state_of(verdict: Verdict) -> State:
    if verdict is Verdict.FOUND:
        return State.FOUND
    return State.EMPTY if verdict.is_empty else State.FAILING


def _count(hosts: int) -> str:
    return "1 address" if hosts == 1 else f"{hosts} addresses"


def _age(seconds: float) -> str:
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
