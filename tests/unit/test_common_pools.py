"""How backends stand is found out in the supervisor, and is so in all workers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, capturedLogs, formatEvent

from support.fleet import Fleet, ScriptedProbe, Worker
from tcpbalance import Balancer, Config, ProbeFailed
from tcpbalance.config.frontends import FrontendConfig, RouteConfig
from tcpbalance.config.names import NamePattern
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.backend_status import BackendStatus
from tcpbalance.pool.changes import PoolChange
from tcpbalance.pool.pool import Pool
from tcpbalance.workers.followed_pools import FollowedPools

FAILURES = 3


def a_config(names: str = "ab", *, frontends: Sequence[str] = ("web",), **pool: Any) -> Config:
    backends = tuple(BackendConfig(address=f"127.0.0.1:{7000 + ord(name)}", name=name) for name in names)
    return Config(
        frontends={name: FrontendConfig(listen="127.0.0.1:0", pool="web") for name in frontends},
        pools={"web": PoolConfig(backends=backends, **pool)},
    )


def checks(probe: ScriptedProbe, **keys: Any) -> HealthConfig:
    return HealthConfig(
        **{"check": "scripted", "probe": probe, "interval": 10.0, "rise": 1, "fall": 1, **keys}
    )


@pytest.fixture(autouse=True)
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def lines(logged: Sequence[LogEvent]) -> list[str]:
    return [str(formatEvent(event)) for event in logged]


def test_checks_are_made_once_and_not_once_a_worker() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe)), workers=3)
    assert probe.asked == ["a", "b"]
    fleet.run(20.0)
    assert probe.asked == ["a", "b"] * 3
    assert fleet.stop()


def test_one_that_goes_down_is_down_everywhere_and_is_logged_once(logged: Sequence[LogEvent]) -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe)))
    probe.down = {"a"}
    fleet.run(10.0)
    assert [worker.states for worker in fleet.workers] == [{"a": "down", "b": "up"}] * 2
    assert fleet.workers[0].backend("a").cause == "refused"
    probe.down = set()
    fleet.run(10.0)
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up"}] * 2
    assert len([line for line in lines(logged) if "backend a (127.0.0.1:7097) is down" in line]) == 1
    assert len([line for line in lines(logged) if "backend a (127.0.0.1:7097) is up" in line]) == 2
    fleet.stop()


def test_that_none_is_left_is_logged_once(logged: Sequence[LogEvent]) -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe)))
    probe.down = {"a", "b"}
    fleet.run(10.0)
    assert lines(logged).count("pool web: no backend left: 2 down") == 1
    fleet.stop()


def test_frontends_open_when_the_first_checks_are_over(logged: Sequence[LogEvent]) -> None:
    probe = ScriptedProbe(hangs=True)
    fleet = Fleet(a_config(health=checks(probe)))
    assert [worker.accepts for worker in fleet.workers] == [False, False]
    waits = "frontends wait for the first checks of pool web, 1 s at most"
    assert lines(logged).count(waits) == 1
    probe.answer()
    fleet.run()
    assert [worker.accepts for worker in fleet.workers] == [True, True]
    fleet.stop()


def test_a_new_worker_knows_how_backends_stand_before_it_opens() -> None:
    probe = ScriptedProbe(down={"a"})
    fleet = Fleet(a_config(health=checks(probe)))
    fleet.kill(1)
    assert fleet.workers[1].accepts
    assert fleet.workers[1].states == {"a": "down", "b": "up"}
    fleet.stop()


@pytest.mark.parametrize(("on_down", "reset"), [("keep", []), ("reset", ["a"])])
def test_sessions_are_reset_in_all_workers_where_that_is_asked_for(on_down: Any, reset: list[str]) -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe, on_down=on_down)))
    ended: list[list[str]] = []
    for worker in fleet.workers:
        its: list[str] = []
        ended.append(its)
        (service,) = worker.balancer._served.pools.values()
        service._on_down = lambda backend, its=its: its.append(backend.name)  # type: ignore[misc]
    probe.down = {"a"}
    fleet.run(10.0)
    assert ended == [reset, reset]
    fleet.stop()


def test_a_pool_without_checks_needs_none() -> None:
    fleet = Fleet(a_config())
    assert [worker.accepts for worker in fleet.workers] == [True, True]
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up"}] * 2
    fleet.stop()


def test_admin_states_reach_all_workers_and_those_to_come() -> None:
    fleet = Fleet(a_config())
    assert fleet.pools.set_admin_state("web", "a", AdminState.DRAIN)
    fleet.run()
    assert [worker.states for worker in fleet.workers] == [{"a": "draining", "b": "up"}] * 2
    fleet.kill(0)
    assert fleet.workers[0].states == {"a": "draining", "b": "up"}
    assert not fleet.pools.set_admin_state("web", "c", AdminState.DRAIN)
    assert not fleet.pools.set_admin_state("api", "a", AdminState.DRAIN)
    fleet.stop()


def test_why_a_backend_is_down_is_known_everywhere() -> None:
    probe = ScriptedProbe(hangs=True)
    fleet = Fleet(a_config("abc", health=checks(probe, initial="down", rise=2)))
    assert "no 2 checks in a row" in fleet.workers[0].backend("a").cause
    waiting, probe.waiting, probe.hangs = probe.waiting, [], False
    for name, answer in waiting:
        answer.errback(ProbeFailed(f"refused by {name}"))
    fleet.run()
    its = [fleet.backend(name) for name in "abc"]
    assert [(backend.awaits_check, backend.cause) for backend in its] == [
        (False, f"refused by {name}") for name in "abc"
    ]
    for worker in fleet.workers:
        assert [BackendStatus.of(worker.backend(name)) for name in "abc"] == [*map(BackendStatus.of, its)]
    fleet.stop()


def test_a_reason_alone_wakes_no_one_in_a_worker() -> None:
    probe = ScriptedProbe(down={"a"})
    fleet = Fleet(a_config("ab", health=checks(probe)))
    changes: list[PoolChange] = []
    fleet.workers[0].pool().subscribe(changes.append)
    supervisors = fleet.pools.pools[0]
    supervisors.mark_down(fleet.backend("a"), "too late")
    fleet.run()
    assert fleet.workers[0].backend("a").cause == "too late"
    before = fleet.workers[0].count
    supervisors.mark_down(fleet.backend("a"), "too late")
    fleet.run()
    assert fleet.workers[0].count == before
    assert not changes
    fleet.stop()


def test_a_panic_that_the_first_checks_show_is_logged_once(logged: Sequence[LogEvent]) -> None:
    probe = ScriptedProbe(hangs=True)
    fleet = Fleet(a_config("ab", health=checks(probe), panic_threshold=0.5))
    waiting, probe.waiting, probe.hangs = probe.waiting, [], False
    probe.down = {"a", "b"}
    for _, answer in waiting:
        answer.errback(ProbeFailed("refused"))
    fleet.run(30.0)
    panic = "pool web: 0 of 2 backends available, below the panic threshold; health is ignored"
    assert lines(logged).count(panic) == 1
    fleet.stop()


def test_a_worker_that_drains_after_it_was_replaced_follows_to_the_end() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe, on_down="reset")))
    before = fleet.workers[0]
    (service,) = before.balancer._served.pools.values()
    reset: list[str] = []
    service._on_down = lambda backend: reset.append(backend.name)
    fleet.replace(0)
    probe.down = {"a"}
    fleet.run(20.0)
    assert [worker.states for worker in fleet.workers] == [{"a": "down", "b": "up"}] * 3
    assert reset == ["a"]
    fleet.stop()


class Ended:
    """The backends of a worker whose sessions were ended because their time was over."""

    def __init__(self, fleet: Fleet, worker: Worker) -> None:
        self._fleet = fleet
        self.at: dict[str, float] = {}
        worker.balancer._shared.drains._end_sessions = self._end

    def _end(self, _: Pool, backends: Collection[Backend]) -> None:
        for backend in backends:
            self.at.setdefault(backend.name, self._fleet.reactor.seconds())


def in_state(state: Any, names: str = "ab") -> Config:
    """A configuration whose first backend is in a state."""
    config = a_config(names, drain_timeout=20.0)
    first, *others = config.pools["web"].backends
    pool = attrs.evolve(config.pools["web"], backends=(attrs.evolve(first, state=state), *others))
    return attrs.evolve(config, pools={"web": pool})


@pytest.mark.parametrize("other", [in_state("drain"), in_state("maintenance"), in_state("ready", "bc")])
def test_sessions_of_a_worker_that_drains_end_with_the_time_of_the_backend(other: Config) -> None:
    fleet = Fleet(in_state("ready"))
    drains = fleet.replace(0)
    ended = [Ended(fleet, worker) for worker in (drains, *fleet.workers[:2])]
    fleet.apply(other)
    fleet.run(30.0)
    assert [it.at for it in ended] == [{"a": 20.0}] * 3
    fleet.stop()


def test_the_time_of_a_backend_goes_on_in_a_worker_that_is_replaced_meanwhile() -> None:
    fleet = Fleet(in_state("ready", "abc"))
    fleet.apply(in_state("drain"))
    fleet.run(5.0)
    drains = fleet.replace(0)
    ended = [Ended(fleet, worker) for worker in (drains, *fleet.workers[:2])]
    fleet.run(30.0)
    # The new one has never had the backend that was removed.
    assert [it.at for it in ended] == [{"a": 20.0, "c": 20.0}, {"a": 20.0}, {"a": 20.0, "c": 20.0}]
    fleet.stop()


def test_the_sessions_of_a_pool_that_is_removed_end_in_a_worker_that_drains() -> None:
    probe = ScriptedProbe()
    red, green = (two_pools(probe, name) for name in ("red", "green"))
    fleet = Fleet(
        attrs.evolve(red, pools={n: attrs.evolve(p, drain_timeout=20.0) for n, p in red.pools.items()})
    )
    drains = fleet.replace(0)
    ended = [Ended(fleet, worker) for worker in (drains, *fleet.workers[:2])]
    fleet.apply(attrs.evolve(fleet.config, frontends=green.frontends))
    fleet.run(30.0)
    assert [it.at for it in ended] == [{"red": 20.0}] * 3
    fleet.stop()


def test_a_backend_that_is_back_in_time_keeps_its_sessions_in_a_worker_that_drains() -> None:
    fleet = Fleet(in_state("ready"))
    drains = fleet.replace(0)
    slots = [worker.pool().take(worker.backend("a"), None) for worker in fleet.workers[:2]]
    ended = [Ended(fleet, worker) for worker in (drains, *fleet.workers[:2])]
    fleet.apply(in_state("ready", "bc"))
    fleet.run(5.0)
    fleet.apply(in_state("ready"))
    fleet.run(30.0)
    assert [it.at for it in ended] == [{}, {"c": 25.0}, {"c": 25.0}]
    for slot in slots:
        slot.release()
    fleet.stop()


def parts(worker: Worker) -> dict[str, float]:
    """The part of its weight that each backend has by slow start."""
    slow_start = worker.pool().selection.slow_start
    assert slow_start is not None
    return {backend.name: slow_start.part(backend) for backend in worker.pool().backends}


@pytest.mark.parametrize("is_checked", [True, False])
def test_slow_start_goes_on_in_a_worker_that_is_new(is_checked: bool) -> None:
    probe = ScriptedProbe(down={"b"})
    health = checks(probe) if is_checked else None
    fleet = Fleet(a_config(health=health, slow_start=40.0))
    if not is_checked:
        fleet.pools.set_admin_state("web", "b", AdminState.MAINTENANCE)
    fleet.run(100.0)
    probe.down.clear()
    fleet.pools.set_admin_state("web", "b", AdminState.READY)
    fleet.run(20.0)
    fleet.kill(0)
    fleet.run(10.0)
    assert parts(fleet.workers[0]) == parts(fleet.workers[1])
    assert parts(fleet.workers[0])["a"] == 1.0
    assert 0.2 < parts(fleet.workers[0])["b"] < 0.8
    fleet.stop()


def test_a_frontend_opens_where_its_pool_was_known_before_it_was_prepared() -> None:
    fleet = Fleet(a_config())
    both = a_config(frontends=["web", "other"])
    pool = a_config("c", health=checks(ScriptedProbe())).pools["web"]
    fleet.apply(
        Config(
            frontends={
                "web": both.frontends["web"],
                "other": FrontendConfig(listen="127.0.0.1:0", pool="new"),
            },
            pools={**both.pools, "new": pool},
        )
    )
    assert [worker.accepts for worker in fleet.workers] == [True, True]
    fleet.stop()


def test_of_many_changes_at_once_no_worker_gets_a_message_each() -> None:
    names = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    fleet = Fleet(a_config(names))
    before = fleet.workers[0].count
    for name in names:
        fleet.pools.set_admin_state("web", name, AdminState.MAINTENANCE)
    fleet.run()
    assert set(fleet.workers[0].states.values()) == {"maintenance"}
    assert fleet.workers[0].count - before < 5
    fleet.stop()


def test_a_worker_that_takes_nothing_has_one_message_waiting() -> None:
    fleet = Fleet(a_config())
    stopped = fleet.workers[1]
    before = stopped.count
    for _ in range(10):
        for state in (AdminState.MAINTENANCE, AdminState.DRAIN):
            fleet.pools.set_admin_state("web", "a", state)
            fleet.reactor.advance(0.1)
            fleet.deliver_to(fleet.workers[0])
            fleet.deliver_from(fleet.workers[0])
    assert stopped.count - before == 1
    assert fleet.workers[0].states["a"] == "draining"
    fleet.run()
    assert stopped.states["a"] == "draining"
    assert stopped.count - before == 2
    fleet.stop()


def test_a_panic_is_logged_once(logged: Sequence[LogEvent]) -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config("abc", health=checks(probe), panic_threshold=0.5))
    probe.down = {"a", "b"}
    fleet.run(10.0)
    assert len([line for line in lines(logged) if "below the panic threshold" in line]) == 1
    for worker in fleet.workers:
        assert worker.backend("a").available
        list(worker.pool().selection.choices(None))
    probe.down = set()
    fleet.run(10.0)
    assert len([line for line in lines(logged) if "panic threshold" in line]) == 1
    assert len([line for line in lines(logged) if "health is used again" in line]) == 1
    fleet.stop()


# Reload


def test_backends_that_are_added_are_checked_once_and_known_everywhere() -> None:
    probe = ScriptedProbe(down={"c"})
    fleet = Fleet(a_config(health=checks(probe)))
    fleet.apply(a_config("abcd", health=checks(probe)))
    assert probe.asked == list("abcd")
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up", "c": "down", "d": "up"}] * 2
    fleet.stop()


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [("checked", "up", "up"), ("down", "up", "up"), ("up", "checked", "down"), ("up", "down", "down")],
)
def test_one_that_is_added_begins_as_the_settings_say_that_come_with_it(
    before: Any, after: Any, stands: str
) -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config("a", health=checks(probe, initial=before)))
    fleet.run(10.0)
    probe.hangs = True
    fleet.apply(a_config("ab", health=checks(probe, initial=after)))
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": stands}] * 2
    assert fleet.backend("b").state == stands
    probe.answer()
    fleet.run(20.0)
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up"}] * 2
    fleet.stop()


def test_one_that_waits_for_a_check_serves_where_that_is_not_asked_for_any_more() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config("a", health=checks(probe)))
    probe.hangs = True
    fleet.apply(a_config("ab", health=checks(probe)))
    fleet.apply(a_config("ab", health=checks(probe, initial="up", fall=2)))
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up"}] * 2
    probe.answer()
    probe.down = {"b"}
    fleet.run(20.0)
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "down"}] * 2
    fleet.stop()


def test_backends_that_take_the_place_of_all_others_serve_in_all_workers_at_once() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe)))
    probe.hangs = True
    fleet.apply(a_config("cd", health=checks(probe)))
    for worker in fleet.workers:
        assert worker.pool().selection.has_available()
    fleet.stop()


def test_a_pool_comes_to_checks_and_from_them() -> None:
    probe = ScriptedProbe(down={"a"})
    fleet = Fleet(a_config())
    fleet.apply(a_config(health=checks(probe)))
    assert [worker.states for worker in fleet.workers] == [{"a": "down", "b": "up"}] * 2
    fleet.apply(a_config())
    assert [worker.states for worker in fleet.workers] == [{"a": "up", "b": "up"}] * 2
    fleet.stop()


def test_a_frontend_that_is_added_opens_when_its_pool_is_known() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(health=checks(probe)))
    fleet.apply(a_config(health=checks(probe), frontends=["web", "api"]))
    assert [worker.accepts for worker in fleet.workers] == [True, True]
    fleet.stop()


def test_a_frontend_of_a_worker_waits_for_its_own_pools_alone() -> None:
    probe = ScriptedProbe()
    pools = two_pools(probe, "red").pools
    frontends = {name: FrontendConfig(listen="127.0.0.1:0", pool=name) for name in pools}
    reactor: Any = MemoryReactorClock()
    balancer = Balancer.from_config(
        reactor,
        Config(frontends=frontends, pools=pools),
        inherited=InheritedSockets(is_handed_over=True),
        following=FollowedPools(reactor, lambda _: None),
    )
    for name, service in balancer._served.frontends.items():
        assert [pool.pool.name for pool in service._pools] == [name]


def two_pools(probe: ScriptedProbe, used: str) -> Config:
    pools = {
        name: PoolConfig(
            backends=(BackendConfig(address=f"127.0.0.1:{port}", name=name),), health=checks(probe)
        )
        for name, port in (("red", 7001), ("green", 7002))
    }
    return Config(frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool=used)}, pools=pools)


def test_a_pool_is_checked_while_a_frontend_uses_it() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(two_pools(probe, "red"))
    assert probe.asked == ["red"]
    fleet.apply(two_pools(probe, "green"))
    assert probe.asked == ["red", "green"]
    fleet.run(10.0)
    assert probe.asked == ["red", "green", "green"]
    probe.hangs = True
    fleet.apply(two_pools(probe, "red"))
    red = fleet.workers[0].pool("red")
    assert fleet.workers[0].balancer._served.pools[red].monitor is not None
    probe.answer()
    fleet.run()
    assert fleet.workers[0].backend("red", "red").up
    assert fleet.stop()


# Ejection


def outlier(**keys: Any) -> OutlierConfig:
    return OutlierConfig(**{"consecutive_failures": FAILURES, "eject_for": 30.0, **keys})


def fail(fleet: Fleet, *places: int, backend: str = "a") -> None:
    """A connection of each of these workers fails, one after the other."""
    for place in places:
        worker = fleet.workers[place]
        slot = worker.pool().take(worker.backend(backend), None)
        slot.failed(0.1, "refused")
        slot.release()
        fleet.run()


def answer(fleet: Fleet, *places: int, backend: str = "a") -> None:
    for place in places:
        worker = fleet.workers[place]
        slot = worker.pool().take(worker.backend(backend), None)
        slot.connected(0.01)
        slot.answered()
        slot.release()
        fleet.run()


def test_failures_of_all_workers_together_eject(logged: Sequence[LogEvent]) -> None:
    fleet = Fleet(a_config(outlier=outlier()))
    fail(fleet, 0, 1)
    assert [worker.states["a"] for worker in fleet.workers] == ["up", "up"]
    fail(fleet, 0)
    assert [worker.states["a"] for worker in fleet.workers] == ["ejected", "ejected"]
    ejected = (
        "pool web: backend a (127.0.0.1:7097) is ejected for 30 s: consecutive failures, the last: refused"
    )
    assert lines(logged).count(ejected) == 1
    fleet.run(29.9)
    assert fleet.workers[1].states["a"] == "ejected"
    fleet.run(0.2)
    assert [worker.states["a"] for worker in fleet.workers] == ["up", "up"]
    assert lines(logged).count("pool web: backend a (127.0.0.1:7097) is no longer ejected") == 1
    fleet.stop()


def test_a_first_byte_in_any_worker_ends_the_row() -> None:
    fleet = Fleet(a_config(outlier=outlier()))
    fail(fleet, 0, 0)
    answer(fleet, 1)
    fail(fleet, 0, 0)
    assert fleet.workers[0].states["a"] == "up"
    fail(fleet, 1)
    assert fleet.workers[0].states["a"] == "ejected"
    fleet.stop()


def test_connections_that_succeed_send_nothing() -> None:
    fleet = Fleet(a_config(outlier=outlier()))
    sent: list[Any] = []
    for worker in fleet.workers:
        worker.following._failures._paced._send = sent.append
    answer(fleet, 0, 1, 0, 1)
    assert sent == []
    fleet.stop()


def test_where_checks_are_made_one_has_to_pass_before_it_comes_back() -> None:
    probe = ScriptedProbe()
    fleet = Fleet(a_config(outlier=outlier(), health=checks(probe, interval=100.0, timeout=99.0)))
    fail(fleet, 0, 1, 0)
    probe.hangs = True
    fleet.run(40.0)
    assert fleet.workers[0].states["a"] == "ejected"
    probe.answer()
    fleet.run(100.0)
    assert fleet.workers[0].states["a"] == "up"
    fleet.stop()


def test_a_slow_one_is_found_by_one_worker_and_ejected_for_all(logged: Sequence[LogEvent]) -> None:
    fleet = Fleet(a_config("abc", outlier=outlier(slow_factor=3.0)))
    worker = fleet.workers[1]

    def connect(name: str, seconds: float) -> None:
        slot = worker.pool().take(worker.backend(name), None)
        slot.connected(seconds)
        slot.took(seconds, 0.001)
        slot.release()
        fleet.run()

    for _ in range(10):
        for name in "abc":
            connect(name, 0.002)
    for _ in range(FAILURES):
        connect("a", 0.5)
    assert [worker.states["a"] for worker in fleet.workers] == ["ejected", "ejected"]
    (line,) = [line for line in lines(logged) if "ejected" in line]
    assert line.endswith("is ejected for 30 s: slow, 500.0 ms to connect, the median is 2.0 ms")
    fleet.stop()


def test_outlier_detection_that_is_configured_later_is_reported_too() -> None:
    fleet = Fleet(a_config())
    fleet.apply(a_config(outlier=outlier()))
    fail(fleet, 0, 1, 0)
    assert [worker.states["a"] for worker in fleet.workers] == ["ejected", "ejected"]
    fleet.apply(a_config())
    assert [worker.states["a"] for worker in fleet.workers] == ["up", "up"]
    fail(fleet, 0, 1, 0)
    fleet.stop()


def test_many_pools_go_in_few_messages() -> None:
    probe = ScriptedProbe()
    pools = {
        f"pool{number}": PoolConfig(
            backends=(BackendConfig(address="127.0.0.1:7001", name="a" * 50),),
            health=checks(probe),
            affinity=AffinityConfig(),
        )
        for number in range(400)
    }
    routes = tuple(RouteConfig(names=(NamePattern.parse(f"{name}.example"),), pool=name) for name in pools)
    frontend = FrontendConfig(listen="127.0.0.1:0", sni_routes=routes)
    fleet = Fleet(Config(frontends={"web": frontend}, pools=pools), workers=1)
    (worker,) = fleet.workers
    assert worker.accepts
    assert worker.count < 30
    probe.down = {"a" * 50}
    before = worker.count
    fleet.run(10.0)
    assert {backend.state for pool in worker.balancer._served.pools for backend in pool.backends} == {"down"}
    assert fleet.stop()
    assert worker.count - before < 500
