"""Changes of the configuration by the admin side come one after the other, and are bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tcpbalance.control.api_request import ApiError
from tcpbalance.control.change_queue import MAX_WAITING_CHANGES
from tcpbalance.control.process_controls import ProcessControls


class MemoryBalancer:
    """A balancer whose configuration is a list of numbers, and the reactor that prepares others.

    :ivar threads: what threads are to work off.
    :ivar prepared: how often a configuration was.
    """

    def __init__(self) -> None:
        self.config: Any = []
        self.pools: list[Any] = []
        self.threads: list[tuple[Any, Deferred[Any]]] = []
        self.prepared = 0

    def in_thread(self, work: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((work, done))
        return done

    def work(self) -> None:
        """Have all threads come to their end that work now."""
        threads, self.threads = self.threads, []
        for done, result in [(done, work()) for work, done in threads]:
            done.callback(result)

    def prepare_config(self, config: Any, rest: Any) -> Any:
        self.prepared += 1
        return config

    def apply(self, config: Any) -> None:
        self.config = config

    def report_events_to(self, on_event: Any) -> None: ...


def controls_of(balancer: MemoryBalancer, monkeypatch: Any) -> ProcessControls:
    monkeypatch.setattr("tcpbalance.control.process_controls.in_thread", lambda _: balancer.in_thread)
    any_of: Any = balancer
    file: Any = type("File", (), {})()
    return ProcessControls(Clock(), any_of, file)


def adding(number: int) -> Any:
    return lambda config: [*config, number]


def test_each_is_prepared_once(monkeypatch: Any) -> None:
    balancer = MemoryBalancer()
    controls = controls_of(balancer, monkeypatch)
    made = [controls.change_config(adding(number), nullcontext) for number in range(5)]
    at_once = []
    while balancer.threads:
        at_once.append(len(balancer.threads))
        balancer.work()
    assert (balancer.config, balancer.prepared, at_once) == ([0, 1, 2, 3, 4], 5, [1] * 5)
    assert all(one.called for one in made)


def test_each_is_under_order_while_it_is_committed_alone(monkeypatch: Any) -> None:
    balancer = MemoryBalancer()
    controls = controls_of(balancer, monkeypatch)
    held: list[int] = []
    committed: list[tuple[Any, list[int]]] = []
    monkeypatch.setattr(balancer, "apply", lambda config: committed.append((config, list(held))))

    @contextmanager
    def order() -> Iterator[None]:
        held.append(7)
        yield
        held.remove(7)

    controls.change_config(adding(1), order)
    assert not held
    balancer.work()
    assert (committed, held) == ([([1], [7])], [])


def test_one_that_a_reload_overtakes_changes_what_was_loaded(monkeypatch: Any) -> None:
    balancer = MemoryBalancer()
    controls = controls_of(balancer, monkeypatch)
    controls.change_config(adding(1), nullcontext)
    balancer.config = [7]
    while balancer.threads:
        balancer.work()
    assert balancer.config == [7, 1]


def test_one_more_than_may_wait_is_refused(monkeypatch: Any) -> None:
    balancer = MemoryBalancer()
    controls = controls_of(balancer, monkeypatch)
    for number in range(1 + MAX_WAITING_CHANGES):
        controls.change_config(adding(number), nullcontext)
    refused: list[Any] = []
    controls.change_config(adding(100), nullcontext).addErrback(refused.append)
    assert [(one.value.status, one.value.code) for one in refused] == [(503, "too_many_changes")]
    assert isinstance(refused[0].value, ApiError)
    while balancer.threads:
        balancer.work()
    assert balancer.config == list(range(1 + MAX_WAITING_CHANGES))
