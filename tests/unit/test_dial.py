"""What a dial decides, with pools and backends and nothing else: no socket, no clock, nobody who is told."""

from __future__ import annotations

from typing import Any

import pytest

from support.pools import a_pool, some_backends
from tcpbalance.errors import Fault
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.retry_budget import MIN_RETRIES
from tcpbalance.pool.selection import Selection
from tcpbalance.proxy.backoff import FIRST_BACKOFF, MAX_BACKOFF
from tcpbalance.proxy.dial import PATIENCE, Decision, Dial, GiveUp, Pause, Queue, Try
from tcpbalance.proxy.reasons import EndReason

REFUSED = ConnectFailed("refused")


def a_dial(count: int = 2, **settings: Any) -> Dial:
    return Dial(a_pool(some_backends(*[1] * count), **settings), None)


def tried(decision: Decision) -> str:
    """The name of the backend that is to be tried."""
    assert isinstance(decision, Try)
    return decision.backend.name


def pause(decision: Decision) -> float:
    """The seconds that are to be waited."""
    assert isinstance(decision, Pause)
    return decision.seconds


def after(dial: Dial, failure: ConnectFailed = REFUSED) -> Decision:
    """What is decided after an attempt that failed."""
    dial.failure = failure
    return dial.decide()


def all_full(pool: Pool) -> None:
    for backend in pool.backends:
        backend.max_connections = backend.active = 1


def use_up(pool: Pool) -> None:
    """Leave no part of the retry budget."""
    while pool.retry_budget.take():
        pass


def test_the_first_choice_is_tried_at_once() -> None:
    dial = a_dial()
    assert (tried(dial.decide()), dial.attempts, dial.retrying) == ("a", 1, False)


def test_the_next_after_a_failure_within_the_budget() -> None:
    dial = a_dial()
    dial.decide()
    assert (tried(after(dial)), dial.attempts, dial.retrying) == ("b", 2, True)


def test_asking_takes_nothing_of_the_budget() -> None:
    dial = a_dial()
    dial.decide()
    after(dial)
    assert dial.pool.retry_budget.taken == 0


def test_no_backend_is_there() -> None:
    dial = a_dial(1)
    dial.pool.mark_down(dial.pool.backends[0], "refused")
    assert dial.decide() == GiveUp(EndReason.NO_BACKEND)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_so_many_attempts_and_no_more(retries: int) -> None:
    dial = a_dial(5, retries=retries)
    decision = dial.decide()
    for _ in range(retries):
        assert isinstance(decision, Try)
        decision = after(dial)
    assert isinstance(decision, Try)
    assert after(dial) == GiveUp(EndReason.CONNECT_FAILED)


def test_a_new_round_begins_with_a_pause_and_each_attempt_in_it_has_one() -> None:
    dial = a_dial(2, retries=9)
    assert (tried(dial.decide()), tried(after(dial))) == ("a", "b")
    pauses = []
    for name in "abab":
        pauses.append(pause(after(dial)))
        assert tried(dial.decide()) == name
    for number, seconds in enumerate(pauses):
        whole = min(MAX_BACKOFF, FIRST_BACKOFF * 2**number)
        assert whole / 2 <= seconds <= whole


def test_no_pause_for_backends_that_are_down() -> None:
    dial = a_dial(1, retries=9)
    dial.decide()
    dial.pool.mark_down(dial.pool.backends[0], "refused")
    assert after(dial) == GiveUp(EndReason.CONNECT_FAILED)


def test_one_that_went_down_in_a_pause_is_not_tried() -> None:
    dial = a_dial(1, retries=9)
    dial.decide()
    pause(after(dial))
    dial.pool.mark_down(dial.pool.backends[0], "refused")
    assert dial.decide() == GiveUp(EndReason.CONNECT_FAILED)


def test_without_budget_it_pauses_for_a_while_and_gives_up() -> None:
    dial = a_dial(5, retries=3)
    use_up(dial.pool)
    assert dial.pool.retry_budget.taken == MIN_RETRIES
    dial.decide()
    for _ in range(PATIENCE):
        assert pause(after(dial)) <= FIRST_BACKOFF
        assert not dial.retrying
    assert after(dial) == GiveUp(EndReason.CONNECT_FAILED)
    assert dial.failure is not None
    assert dial.failure.cause == "refused, and too many retries are under way"


def test_with_budget_again_it_goes_on() -> None:
    dial = a_dial(5, retries=3)
    use_up(dial.pool)
    dial.decide()
    pause(after(dial))
    dial.pool.retry_budget.give_back(failed=False)
    assert (tried(dial.decide()), dial.retrying) == ("b", True)


def test_a_budget_that_is_held_is_not_asked_for_again() -> None:
    dial = a_dial(5, retries=3)
    dial.decide()
    assert tried(after(dial)) == "b"
    use_up(dial.pool)
    assert tried(after(dial)) == "c"


def test_where_all_are_full_it_queues() -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    assert (dial.decide(), dial.attempts) == (Queue(), 0)


def test_where_all_were_full_a_moment_ago_it_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    # Another process gives a slot back, behind the choice.
    monkeypatch.setattr(Selection, "is_full", lambda _: False)
    assert (dial.decide(), dial.attempts) == (Queue(), 0)


def test_one_that_is_refused_in_a_later_round_pauses_before_it_chooses_from_all_again() -> None:
    dial = a_dial(1, retries=5)
    dial.decide()
    pause(after(dial))
    assert tried(dial.decide()) == "a"
    pause(dial.after_refusal())
    assert tried(dial.decide()) == "a"


def test_one_that_is_refused_while_the_last_backend_goes_down_is_not_queued() -> None:
    dial = a_dial(1, queue=1)
    dial.decide()
    dial.pool.mark_down(dial.pool.backends[0], "refused")
    assert dial.after_refusal() == GiveUp(EndReason.NO_BACKEND)


def test_where_all_are_full_without_a_queue_it_gives_up() -> None:
    dial = a_dial(2)
    all_full(dial.pool)
    assert dial.decide() == GiveUp(EndReason.NO_BACKEND)


def test_who_queues_after_a_failure_needs_no_budget() -> None:
    dial = a_dial(2, queue=5, retries=3)
    dial.decide()
    all_full(dial.pool)
    assert (after(dial), dial.retrying) == (Queue(), False)


def test_at_its_turn_it_chooses_from_all_again() -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    dial.decide()
    (first, _) = dial.pool.backends
    first.active = 0
    assert (tried(dial.after_queue()), dial.attempts) == ("a", 1)


def test_at_its_turn_for_nothing_it_queues_again() -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    dial.decide()
    assert dial.after_queue() == Queue()


def test_when_the_time_in_the_queue_is_over() -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    dial.decide()
    assert dial.after_queue_timeout() == GiveUp(EndReason.QUEUE_TIMEOUT)
    for backend in dial.pool.backends:
        dial.pool.mark_down(backend, "refused")
    assert dial.after_queue_timeout() == GiveUp(EndReason.NO_BACKEND)


def test_one_with_room_when_the_time_in_the_queue_is_over_is_tried() -> None:
    dial = a_dial(2, queue=5)
    all_full(dial.pool)
    dial.decide()
    dial.pool.backends[1].active = 0
    assert (tried(dial.after_queue_timeout()), dial.attempts) == ("b", 1)


OURS = ConnectFailed("no local port free", Fault.BALANCER)
NO_DESCRIPTOR = ConnectFailed("no descriptor", Fault.BALANCER, out_of_descriptors=True)


@pytest.mark.parametrize(
    ("failure", "reached", "reason"),
    [
        (REFUSED, False, EndReason.CONNECT_FAILED),
        (REFUSED, True, EndReason.BACKEND_RESET),
        (OURS, False, EndReason.LOCAL_FAILURE),
        (OURS, True, EndReason.LOCAL_FAILURE),
        (NO_DESCRIPTOR, False, EndReason.OUT_OF_DESCRIPTORS),
    ],
)
def test_why_it_gives_up(failure: ConnectFailed, reached: bool, reason: EndReason) -> None:
    dial = a_dial(2, retries=0)
    dial.decide()
    dial.reached = reached
    assert after(dial, failure) == GiveUp(reason)


def test_without_a_descriptor_no_other_is_tried() -> None:
    dial = a_dial(5, retries=3)
    dial.decide()
    assert after(dial, NO_DESCRIPTOR) == GiveUp(EndReason.OUT_OF_DESCRIPTORS)


def test_for_want_of_something_else_another_is_tried() -> None:
    dial = a_dial(5, retries=3)
    dial.decide()
    assert tried(after(dial, OURS)) == "b"


def test_the_policy_is_told_when_no_other_will_be_asked_for() -> None:
    closed: list[str] = []

    class Told:
        def __init__(self, backends: list[Backend], _: object) -> None:
            self.backends = backends

        def candidates(self, client: bytes | None) -> Any:
            try:
                yield from self.backends
            except GeneratorExit:
                closed.append("settled")
                raise

    dial = a_dial(2, balance=Told)
    dial.decide()
    assert closed == []
    dial.settle()
    assert closed == ["settled"]
