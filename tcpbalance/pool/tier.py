"""A pool's primaries, or its backups: one policy over them, and what happens when that policy fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NoReturn

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import (
    OrderPreview,
    PolicyFactory,
    PolicyTools,
    PreviewablePolicy,
    QuickPolicy,
)
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.rate_limited_log import FAILURES_EVERY, RateLimitedLog


class PolicyFailureLog:
    """Logs the failures of one pool's policy, a line a minute.

    :param policy: which pool and policy this is, for the log.
    :param clock: the clock.
    :param timer: for lines that are written later; see `RateLimitedLog`.
    """

    _log = Logger()

    def __init__(self, policy: str, clock: Callable[[], float], timer: IReactorTime | None) -> None:
        self.policy = policy
        self._lines: RateLimitedLog[str, Exception] = RateLimitedLog(
            self._write, clock, timer, FAILURES_EVERY
        )

    def note(self, error: Exception, instead: str = "round robin serves instead") -> None:
        """Take note of one.

        :param instead: what becomes of it.
        """
        self._lines.note(instead, error)

    def flush(self) -> None:
        """Write what is held back now."""
        self._lines.flush()

    def _write(self, failures: Counter[str], last: Exception) -> None:
        self._log.failure(
            "{policy} failed; {instead} (failures since last reported: {times})",
            Failure(last),  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            policy=self.policy,
            instead=", ".join(failures),
            times=failures.total(),
        )


class Tier:
    """Backends of equal rank, in the order of a policy that is not trusted to be right.

    :param balance: makes the policy.
    :param backends: at least one.
    :param tools: handed to the policy.
    :param failures: takes the exceptions of the policy.
    :ivar members: the backends, to ask for one.
    """

    def __init__(
        self,
        balance: PolicyFactory,
        backends: Sequence[Backend],
        tools: PolicyTools,
        failures: PolicyFailureLog,
    ) -> None:
        self.backends = tuple(backends)
        self.members = frozenset(self.backends)
        self._policy = balance(self.backends, tools)
        quick = all(callable(getattr(self._policy, name, None)) for name in ("first", "others"))
        self._policy_first = getattr(self._policy, "first", None) if quick else None
        self._fallback = RoundRobin(self.backends, tools)
        self._failures = failures

    def first(self, client: bytes | None) -> Backend | None:
        """Give the first of what the policy yields, where it can be had apart; None where it cannot.

        :param client: the client's packed address, None when it has none.
        """
        if self._policy_first is None:
            return None
        try:
            first: Backend = self._policy_first(client)
            if first not in self.members:
                _refuse(first)
        except Exception as error:
            self._failures.note(error)
            return None
        return first

    def preview(self, client: bytes | None) -> OrderPreview:
        """Say what the policy would yield; nothing changes by that.

        Where that goes wrong, or names a backend twice or one of others, its order is not known.

        :param client: the client's packed address, None when it has none.
        """
        if not callable(getattr(self._policy, "preview", None)):
            return self._unknown_order("a policy that does not say what it will do")
        try:
            return self._ask_for_preview(client)
        except Exception as error:
            self._failures.note(error, "explain does not know its order")
            return self._unknown_order("a policy that has failed to say what it will do")

    def _ask_for_preview(self, client: bytes | None) -> OrderPreview:
        policy: PreviewablePolicy = self._policy  # type: ignore[assignment]  # it has that
        backends, exact, by = policy.preview(client)
        known = dict.fromkeys(backends)
        for backend in known:
            if backend not in self.members:
                _refuse(backend)
        if len(known) < len(backends):
            raise LookupError("its preview must have each backend at most once")
        return OrderPreview(backends, bool(exact), str(by))

    def _unknown_order(self, by: str) -> OrderPreview:
        return OrderPreview(self.backends, len(self.backends) == 1, by)

    def candidates(
        self, client: bytes | None, first: Backend | None = None
    ) -> Generator[Backend, None, None]:
        """Yield what the policy does; once that goes wrong, what round robin does, which may repeat some.

        The policy's generator is closed with this one.

        :param first: what `first` has given; None where it was not asked, or has given None.
        """
        walk: Iterator[Backend] | None = None
        failed = False
        if first not in self.members or self._policy_first is None:
            first = None  # The pool has another list, or another policy, by now.
        try:
            if first is not None:
                yield first
            walk = iter(self._policy.candidates(client) if first is None else self._others(client, first))
            for given, backend in enumerate(walk, 0 if first is None else 1):
                if given == len(self.members) or backend not in self.members:
                    _refuse(backend)
                yield backend
        except Exception as error:
            failed = True
            self._failures.note(error)
        finally:
            self._close(walk)
        if failed:
            yield from self._fallback.candidates(client)

    def _others(self, client: bytes | None, first: Backend) -> Iterator[Backend]:
        policy: QuickPolicy = self._policy  # type: ignore[assignment]  # it has given the first one
        return policy.others(client, first)

    def _close(self, walk: object) -> None:
        """End the policy's generator here, where it is heard of when that fails; Python itself prints it."""
        close = getattr(walk, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            self._failures.note(error)


def _refuse(candidate: object) -> NoReturn:
    raise LookupError(f"it must yield each backend of its own at most once, got {candidate!r} beyond that")
