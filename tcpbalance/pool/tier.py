"""A pool's primaries, or its backups: one policy over them, and what happens when that policy fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import NoReturn

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.base import PolicyFactory, PolicyTools
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.rate_limited_log import RateLimitedLog

COMPLAINT_INTERVAL = 60.0
"""Seconds between two log lines on a policy that fails; it may do so at every connection."""


class Tier:
    """Backends of equal rank, in the order of a policy that is not trusted to be right.

    :param where: which pool and policy this is, for the log.
    :param balance: makes the policy.
    :param backends: at least one.
    :param tools: handed to the policy.
    :param timer: for failures that are logged later; see `RateLimitedLog`.
    :ivar members: the backends, to ask for one.
    """

    _log = Logger()

    def __init__(
        self,
        where: str,
        balance: PolicyFactory,
        backends: Sequence[Backend],
        tools: PolicyTools,
        timer: IReactorTime | None = None,
    ) -> None:
        self.backends = tuple(backends)
        self._where = where
        self.members = frozenset(self.backends)
        self._policy = balance(self.backends, tools)
        self._fallback = RoundRobin(self.backends, tools)
        self._failures = RateLimitedLog(self._write_failures, tools.clock, timer, COMPLAINT_INTERVAL)

    def candidates(self, client: bytes | None) -> Generator[Backend, None, None]:
        """Yield what the policy does; once that goes wrong, what round robin does, which may repeat some.

        The policy's generator is closed with this one.
        """
        walk: Iterator[Backend] | None = None
        failed = False
        try:
            walk = iter(self._policy.candidates(client))
            for given, backend in enumerate(walk):
                if given == len(self.members) or backend not in self.members:
                    _refuse(backend)
                yield backend
        except Exception as error:
            failed = True
            self._failures.note(None, error)
        finally:
            self._close(walk)
        if failed:
            yield from self._fallback.candidates(client)

    def _close(self, walk: object) -> None:
        """End the policy's generator here, where it is heard of when that fails; Python itself prints it."""
        close = getattr(walk, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            self._failures.note(None, error)

    def flush_log(self) -> None:
        """Write what is held back now."""
        self._failures.flush()

    def _write_failures(self, failures: Counter[None], last: Exception) -> None:
        self._log.failure(
            "{where} failed; round robin serves instead (failures since last reported: {times})",
            Failure(last),  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            where=self._where,
            times=failures.total(),
        )


def _refuse(candidate: object) -> NoReturn:
    raise LookupError(f"it must yield each backend of its own at most once, got {candidate!r} beyond that")
