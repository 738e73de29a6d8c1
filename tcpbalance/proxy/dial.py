"""Decides how a session goes on to reach a backend: the pool's choices in order, again and again, under the
pool's bounds.

A dial decides and does nothing: it holds no socket, no timer and no place in a queue. ``dialler`` carries its
decisions out, one at a time, and asks for the next when one has come to its end.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from attrs import define

from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.backoff import backoff
from tcpbalance.proxy.reasons import EndReason

PATIENCE = 10
"""Pauses that a dial makes for the retry budget, the better part of a second together. Clients that failed at
once, because one backend has died, are served one after the other; in an outage of all backends they are
closed soon."""


# Not frozen, because one is made for each connection and a frozen one takes twice as long to make.
@define
class Try:
    """Dial this backend."""

    backend: Backend


@define
class Pause:
    """Wait so many seconds, and ask again."""

    seconds: float


@define
class Queue:
    """Wait in the pool's queue until a backend has capacity.

    :ivar put_back: whether that is where it was: it had its turn, and another process was quicker.
    """

    put_back: bool = False


@define
class GiveUp:
    """No backend is left to be tried; the session ends for this reason."""

    reason: EndReason


Decision: TypeAlias = Try | Pause | Queue | GiveUp


class Dial:
    """The decisions for one session.

    :param pool: whose backends are tried, with at most ``1 + pool.retries`` attempts.
    :param client: the client's packed address, None when it has none.
    :ivar attempts: how many were decided on.
    :ivar retrying: whether the decisions need a part of the pool's retry budget, or have it.
    :ivar failure: how the last attempt that failed did so.
    :ivar reached: whether an attempt has succeeded.
    """

    __slots__ = (
        "_choices",
        "_has_turn",
        "_patience",
        "_paused",
        "_pauses",
        "attempts",
        "client",
        "failure",
        "pool",
        "reached",
        "retrying",
    )

    def __init__(self, pool: Pool, client: bytes | None) -> None:
        self.pool = pool
        self.client = client
        self._choices = pool.selection.choices(client)
        self._pauses = 0
        self._patience = PATIENCE
        self._paused = False
        self._has_turn = False
        self.attempts = 0
        self.retrying = False
        self.reached = False
        self.failure: ConnectFailed | None = None

    def resume(self, backend: Backend | None, choices: Generator[Backend, None, None] | None) -> None:
        """Go on after the first choice, as `Selection.choose` has made it.

        :param backend: the choice; None where there was none.
        :param choices: the others; None for what the pool yields after it.
        """
        if choices is not None:
            self._choices = choices
        elif backend is not None:
            self._choices = self.pool.selection.choices_after(self.client, backend)
        self.attempts = 0 if backend is None else 1

    def decide(self) -> Decision:
        """Decide what is next: at first, when an attempt has failed, and after a pause."""
        self._has_turn = False
        if not self.attempts or self._paused:
            self._paused = False
            return self._choose()
        pool, failure = self.pool, self.failure
        if failure is not None and failure.out_of_descriptors:
            return self._give_up()  # No other backend could do better.
        if self.attempts > pool.retries or not pool.selection.has_available():
            return self._give_up()
        if not self.retrying and not pool.retry_budget.has_capacity:
            return self._wait_for_budget()
        self.retrying = True
        # The first round tries each backend at once; after that there is a pause before each attempt.
        return self._pause_for_next_round() if self._pauses else self._choose()

    def _choose(self) -> Decision:
        backend = next(self._choices, None)
        if backend is None and self._pauses:
            self._begin_anew()
            backend = next(self._choices, None)
        return self._without_choice() if backend is None else self._attempt(backend)

    def _attempt(self, backend: Backend) -> Try:
        self.attempts += 1
        return Try(backend)

    def _without_choice(self) -> Decision:
        pool, selection = self.pool, self.pool.selection
        # Without any attempt, all that are available were full a moment ago, whatever other processes have
        # given back since.
        if pool.queue is not None and (
            selection.is_full() or (not self.attempts and selection.has_available())
        ):
            # Slots are given back one by one, so that the budget is not asked about those that wait for them.
            self.retrying = False
            return Queue()
        if self.attempts and selection.has_available():
            return self._pause_for_next_round()
        return self._give_up()

    def after_refusal(self) -> Decision:
        """Decide what is next where another process was quicker with the backend that was to be tried: what
        would be if that had been full.

        It is not chosen again from all before something has been waited for: the same one might be refused
        again and again within this call.
        """
        self.attempts -= 1
        backend = next(self._choices, None)
        if backend is not None:
            return self._attempt(backend)
        decision = self._without_choice()
        return Queue(put_back=self._has_turn) if isinstance(decision, Queue) else decision

    def after_queue(self) -> Decision:
        """Decide what is next for a session that has come to its turn in the queue."""
        self._has_turn = True
        self._begin_anew()
        return self._choose()

    def after_queue_timeout(self) -> Decision:
        """Decide what is next for a session that has waited in the queue for as long as it may.

        One that waited for the backend of its client may go elsewhere now.
        """
        self._has_turn = False
        self._begin_anew()
        backend = self.pool.selection.choose_ahead(self._choices)
        if backend is not None:
            return self._attempt(backend)
        available = self.pool.selection.has_available()
        return GiveUp(EndReason.QUEUE_TIMEOUT if available else EndReason.NO_BACKEND)

    def settle(self) -> None:
        """No other backend will be tried: let the policy know now."""
        self._choices.close()

    def _pause_for_next_round(self) -> Pause:
        """All have been tried: pause before the next attempt."""
        pause = Pause(backoff(self._pauses, self.pool.rng))
        self._pauses += 1
        self._paused = True
        return pause

    def _wait_for_budget(self) -> Decision:
        if self._patience:
            self._patience -= 1
            return Pause(backoff(0, self.pool.rng))
        if self.failure is not None:
            self.failure = ConnectFailed(f"{self.failure.cause}, and too many retries are under way")
        return self._give_up()

    def _begin_anew(self) -> None:
        """Choose from all again, by how things stand now."""
        self._choices.close()
        self._choices = self.pool.selection.choices(self.client)

    def _give_up(self) -> GiveUp:
        failure = self.failure
        if failure is None:
            return GiveUp(EndReason.NO_BACKEND)
        if failure.out_of_descriptors:
            return GiveUp(EndReason.OUT_OF_DESCRIPTORS)
        if failure.fault is Fault.BALANCER:
            return GiveUp(EndReason.LOCAL_FAILURE)
        return GiveUp(EndReason.BACKEND_RESET if self.reached else EndReason.CONNECT_FAILED)
