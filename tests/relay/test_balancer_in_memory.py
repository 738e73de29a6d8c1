"""A whole balancer without sockets and real time: endpoints, backends and the clock are the test's."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from support.network import FRONTEND, Network, no_logged_failure
from support.sockets import fired
from tcpbalance import (
    Backend,
    Balancer,
    EndReason,
    Frontend,
    HealthConfig,
    LimitsConfig,
    ListenError,
    Pool,
    ProbeFailed,
    Target,
    TimeoutsConfig,
)
from tcpbalance.stats import Counts

BACKEND = "10.0.0.1:80"
GRACE = 30.0


@implementer(IStreamServerEndpoint, IListeningPort)
class MemoryEndpoint:
    """An endpoint and its port, at which the test is the client.

    :ivar factory: what would serve a client, None while nothing listens.
    """

    def __init__(self) -> None:
        self.factory: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        factory.doStart()
        return succeed(self)

    def startListening(self) -> None:
        raise NotImplementedError

    def stopListening(self) -> None:
        factory, self.factory = self.factory, None
        factory.doStop()

    def getHost(self) -> IPv4Address:
        return FRONTEND


class Answers:
    """A probe that says what the test wants it to.

    :ivar passes: whether the next checks pass.
    """

    def __init__(self) -> None:
        self.passes = True

    def check(self, target: Target) -> Deferred[None]:
        return succeed(None) if self.passes else fail(ProbeFailed("as the test wants it"))


class Unanswered:
    """A probe whose checks do not end by themselves."""

    def check(self, target: Target) -> Deferred[None]:
        return Deferred()


class Edge:
    """A balancer in a network in memory.

    :param tables: further settings of the frontend.
    :param health: the checks of its pool.
    """

    def __init__(self, health: HealthConfig | None = None, **tables: Any) -> None:
        self.network = Network()
        self.backend = self.network.backend(BACKEND)
        self.endpoint = MemoryEndpoint()
        clock = self.network.clock.seconds
        self.pool = Pool("web", [Backend(BACKEND)], clock=clock, rng=Random(1), health=health)
        self.balancer = Balancer(
            self.network.reactor,
            [Frontend("web", self.endpoint, self.pool, **tables)],
            shutdown_grace=GRACE,
            data_path="portable",
            clock=clock,
            wall_clock=clock,
            rng=Random(1),
            connector=self.network.connector,
        )

    @property
    def ended(self) -> Counts:
        return self.balancer.factories["web"].stats.ended

    def client(self, address: IPv4Address | None = None) -> Any:
        client = self.network.connect_client(self.endpoint.factory, address)
        self.network.run()
        return client


@pytest.fixture(autouse=True)
def no_failure() -> Iterator[None]:
    with no_logged_failure():
        yield


def started(edge: Edge) -> Edge:
    edge.balancer.startService()
    assert fired(edge.balancer.when_listening()) == [True]
    return edge


def is_up(edge: Edge) -> bool:
    (backend,) = edge.pool.backends
    return backend.up


def stop(edge: Edge) -> None:
    """Stop a balancer, which leaves nothing behind."""
    stopped = fired(edge.balancer.stopService())
    edge.network.advance(GRACE)
    assert stopped == [None]
    assert edge.network.leftovers() == []


def test_it_serves() -> None:
    edge = started(Edge())
    client = edge.client()
    client.send(b"question")
    edge.network.run()
    edge.backend.connection.send(b"answer")
    edge.network.run()
    assert (edge.backend.connection.received, client.received) == (b"question", b"answer")
    client.finish()
    edge.backend.connection.finish()
    edge.network.run()
    assert edge.ended == {EndReason.CLIENT_CLOSED: 1}
    stop(edge)


def test_the_grace_runs_by_the_reactor() -> None:
    edge = started(Edge())
    edge.client()
    stopped = fired(edge.balancer.stopService())
    assert edge.endpoint.factory is None
    edge.network.advance(GRACE - 1)
    assert stopped == []
    edge.network.advance(1)
    assert stopped == [None]
    assert edge.ended == {EndReason.SHUTDOWN: 1}
    assert edge.network.leftovers() == []


def test_sessions_are_timed_by_the_clock() -> None:
    edge = started(Edge(timeouts=TimeoutsConfig(idle_timeout=3600)))
    edge.client()
    edge.network.advance(3500)
    assert edge.ended == {}
    edge.network.advance(3600)
    assert edge.ended == {EndReason.IDLE_TIMEOUT: 1}
    stop(edge)


def test_rates_are_measured_by_the_clock() -> None:
    edge = started(Edge(limits=LimitsConfig(connect_rate_per_client=0.1, burst_per_client=1)))
    address = IPv4Address("TCP", "198.51.100.7", 1)
    edge.client(address)
    assert len(edge.balancer.factories["web"].registry.sessions) == 1
    edge.client(address)
    assert len(edge.balancer.factories["web"].registry.sessions) == 1
    edge.network.advance(10)
    edge.client(address)
    assert len(edge.balancer.factories["web"].registry.sessions) == 2
    stop(edge)


def test_checks_run_by_the_reactor() -> None:
    probe = Answers()
    probe.passes = False
    edge = Edge(HealthConfig(check="answers", probe=probe, interval=2, rise=2))
    edge.balancer.startService()
    listening = fired(edge.balancer.when_listening())
    edge.network.run()
    assert listening == [True], "its first check has its outcome"
    assert not is_up(edge)
    edge.client()
    assert edge.ended == {EndReason.NO_BACKEND: 1}
    probe.passes = True
    edge.network.advance(10)
    assert is_up(edge)
    edge.client()
    assert len(edge.balancer.factories["web"].registry.sessions) == 1
    stop(edge)


def test_stopped_and_started_again() -> None:
    edge = Edge(HealthConfig(check="answers", probe=Answers()))
    for _ in range(3):
        edge.balancer.startService()
        edge.network.run()
        edge.client()
        stop(edge)
    assert edge.ended == {EndReason.SHUTDOWN: 3}


def test_a_data_path_that_cannot_be_opened_leaves_nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge()

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(edge.balancer._shared.data_path, "open", refuse)
    listening = fired(edge.balancer.when_listening())
    with pytest.raises(OSError, match="Too many open files"):
        edge.balancer.startService()
    assert [failure.type for failure in listening] == [OSError]
    assert edge.endpoint.factory is None
    assert not edge.balancer.running
    monkeypatch.undo()
    started(edge)
    stop(edge)


def test_a_child_service_that_does_not_start_leaves_nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, own = Edge(HealthConfig(check="unanswered", probe=Unanswered())), Service()
    own.setServiceParent(edge.balancer)

    def refuse() -> None:
        raise RuntimeError("no licence")

    monkeypatch.setattr(own, "startService", refuse)
    listening = fired(edge.balancer.when_listening())
    with pytest.raises(RuntimeError, match="no licence"):
        edge.balancer.startService()
    assert [failure.type for failure in listening] == [RuntimeError]
    assert edge.endpoint.factory is None
    assert not edge.balancer.running
    assert edge.network.leftovers() == []
    gc.collect()  # A Deferred that failed and that nobody looked at is logged then.


def test_names_are_followed_for_as_long_as_a_backend_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: Counter[str] = Counter()
    edge = Edge()
    resolver = edge.balancer._shared.resolver

    def follow(hosts: Iterable[str], timeout: float) -> Deferred[list[str]]:
        followed.update(hosts)
        return succeed([])

    monkeypatch.setattr(resolver, "follow", follow)
    monkeypatch.setattr(resolver, "unfollow", followed.subtract)
    edge.pool.replace(["a.internal:80", "b.internal:80"])
    started(edge)
    assert +followed == {"a.internal": 1, "b.internal": 1}
    edge.pool.replace(["b.internal:81", "b.internal:82", "c.internal:80", BACKEND])
    assert +followed == {"b.internal": 1, "c.internal": 1}
    stop(edge)
    assert not +followed


def test_a_service_that_an_application_adds_starts_and_stops_with_it() -> None:
    edge, own = Edge(), Service()
    own.setServiceParent(edge.balancer)
    edge.balancer.privilegedStartService()
    started(edge)
    assert own.running
    edge.balancer._served.prepare([Frontend("other", MemoryEndpoint(), edge.pool)]).commit()
    assert own.running
    assert own in list(edge.balancer)
    stop(edge)
    assert not own.running


def test_an_error_that_nothing_foresees_does_not_leave_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge()

    def broken() -> None:
        raise RuntimeError("a bug of the endpoint's")

    monkeypatch.setattr(edge.endpoint, "getHost", broken)
    edge.balancer.prepare()
    with pytest.raises(AssertionError, match="a frontend could not be opened"), no_logged_failure():
        edge.balancer.startService()
    (failure,) = fired(edge.balancer.when_listening())
    assert failure.check(RuntimeError)
    assert edge.endpoint.factory is None
    stop(edge)


def test_twisteds_own_memory_reactor() -> None:
    reactor = MemoryReactorClock()
    pool = Pool("web", [Backend(BACKEND)], clock=reactor.seconds)
    frontend = Frontend("web", "tcp:8080", pool)
    network = Network()
    balancer = Balancer(
        reactor, [frontend], data_path="portable", clock=reactor.seconds, connector=network.connector
    )
    balancer.startService()
    ((port, factory, *_),) = reactor.tcpServers
    assert port == 8080
    assert factory.buildProtocol(IPv4Address("TCP", "198.51.100.7", 1)) is not None
    assert fired(balancer.stopService()) == [None]
    assert reactor.getDelayedCalls() == []


def test_a_frontend_that_is_added_and_cannot_be_prepared_leaves_no_endpoint_listening() -> None:
    edge = started(Edge())
    good, bad = MemoryEndpoint(), MemoryEndpoint()
    monkey: Any = bad
    monkey.listen = lambda factory: fail(OSError("no tunnel"))
    frontends = [service.frontend for service in edge.balancer._served.frontends.values()]
    before = list(edge.balancer)
    with pytest.raises(ListenError, match=r"frontend bad: cannot listen on .*: no tunnel"):
        edge.balancer._served.prepare(
            [*frontends, Frontend("good", good, edge.pool), Frontend("bad", bad, edge.pool)]
        ).commit()
    assert good.factory is None
    assert list(edge.balancer) == before
    stop(edge)
