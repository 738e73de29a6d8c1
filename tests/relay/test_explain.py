"""What explain says of a connection is what the next connection does, and nothing changes by asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.logger import capturedLogs

from support.network import no_logged_failure
from support.scene import ONE, THREE, TWO, BareScene, Scene
from support.whole_state import state_of
from tcpbalance.admission.access import Access
from tcpbalance.admission.banned_networks import network_key
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.quantities import Rate
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.explain import explain, put_together
from tcpbalance.control.explain_query import check_listeners, read_explain_query
from tcpbalance.control.in_pieces import at_once
from tcpbalance.pool import explanation
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.policies.base import OrderPreview, PolicyFactory, PolicyTools
from tcpbalance.pool.policies.least_connections import LeastConnections
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.power_of_two_choices import PowerOfTwoChoices
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.policies.source_hash import SourceHash
from tcpbalance.pool.policies.weighted_random import WeightedRandom
from tcpbalance.pool.pool import Pool

EXACT: list[PolicyFactory] = [RoundRobin, LeastConnections, SourceHash]
DRAWN: list[PolicyFactory] = [PowerOfTwoChoices, PeakEwmaPolicy, WeightedRandom]
CLIENTS = [f"198.51.100.{host}" for host in range(1, 6)]
DENIED = CLIENTS[-1]
IN_ORDER = {"sticky", "fallback"}
"""Reasons of backends that come in the order in which they are listed, also where the policy draws."""

anyone = st.integers(0, 10**6)


def asked(scene: Scene, client: str, **more: str) -> dict[str, Any]:
    """Ask, and see that nothing changes by that."""
    query = read_explain_query({"frontend": "frontend", "client": client, **more})
    frontend = scene.frontend
    whole = (scene.pool, frontend.context, frontend.stats, scene.network.clock.getDelayedCalls())
    before = state_of(*whole)
    with capturedLogs() as logged:
        answer = put_together(at_once(explain(frontend, query, frontend.registry.accept_pause.reasons)))
    # Not all of it, which would be long to show.
    assert [pair for pair in zip_longest(before, state_of(*whole)) if pair[0] != pair[1]] == []
    assert logged == []
    return answer


def names(explained: list[dict[str, Any]]) -> list[str]:
    return [each["backend"] for each in explained]


def limited(**limits: Any) -> Callable[[Callable[[], float]], AdmissionControl]:
    """Give what makes an admission with a list and limits."""
    deny = NetworkSet([ip_network(DENIED)])
    return lambda clock: AdmissionControl(Access(deny=deny), LimitsConfig(**limits), clock)


class Explained(RuleBasedStateMachine):
    """Connections that are explained before they come, while all that decides about them changes."""

    scene_kind: type[Scene] = Scene

    @initialize(
        policy=st.sampled_from(EXACT + DRAWN),
        members=st.lists(
            st.tuples(st.integers(1, 5), st.none() | st.integers(1, 2), st.booleans()), min_size=1, max_size=5
        ),
        affine=st.booleans(),
        bounded_load=st.none() | st.just(1.25),
        panic_threshold=st.sampled_from([0.0, 0.5]),
        slow_start=st.none() | st.just(10.0),
        queue=st.sampled_from([0, 2]),
        outlier=st.booleans(),
        limits=st.fixed_dictionaries(
            {"connections_per_client": st.integers(1, 3)},
            optional={
                "connect_rate_per_client": st.just(Rate.parse("1/s")),
                "ban_after": st.just(3),
                "dry_run": st.just(True),
            },
        ),
    )
    def build(
        self,
        policy: PolicyFactory,
        members: list[tuple[int, int | None, bool]],
        affine: bool,
        bounded_load: float | None,
        panic_threshold: float,
        slow_start: float | None,
        queue: int,
        outlier: bool,
        limits: dict[str, Any],
    ) -> None:
        addresses = [f"10.0.0.{number}:80" for number in range(1, len(members) + 1)]
        self.logged = no_logged_failure()
        self.logged.__enter__()
        self.scene = self.scene_kind(
            addresses,
            members=[
                Backend(address, weight=weight, max_connections=limit, backup=backup)
                for address, (weight, limit, backup) in zip(addresses, members, strict=True)
            ],
            admission=limited(**limits),
            balance=policy,
            affinity=AffinityConfig(ttl=20.0, max_entries=3) if affine else None,
            bounded_load=None if policy is PeakEwmaPolicy else bounded_load,
            panic_threshold=panic_threshold,
            slow_start=None if policy is SourceHash else slow_start,
            queue=queue,
            outlier=OutlierConfig(consecutive_failures=1, eject_for=5.0) if outlier else None,
            retries=1,
        )
        self.ports = iter(range(1000, 60_000))
        self.open: list[Any] = []

    @rule(host=st.sampled_from(CLIENTS))
    def comes(self, host: str) -> None:
        scene = self.scene
        said = asked(scene, host)
        before = scene.frontend.stats.snapshot()
        tried = {backend: backend.stats.connect_attempts for backend in scene.pool.backends}
        waiting = scene.pool.snapshot()["queue_total"]
        address = IPv4Address("TCP", host, next(self.ports))
        if said["outcome"] == "refused":
            scene.turned_away(address=address)
            word = f"refused.{said['admission']['refused']}"
            assert scene.frontend.stats.snapshot()[word] == before.get(word, 0) + 1
            return
        records = len(scene.records)
        client = scene.connect(address=address)
        now = {backend: backend.stats.connect_attempts for backend in scene.pool.backends}
        first = [it.name for it in scene.pool.backends for _ in range(now[it] - tried[it])]
        queued = scene.pool.snapshot()["queue_total"] - waiting
        assert said["pool"]["outcome"] == said["outcome"]
        if said["outcome"] == "connects":
            self.is_tried(first, said["pool"])
            self.open.append(client)
        elif said["outcome"] == "queued":
            assert (first, queued) == ([], 1)
            self.open.append(client)
        else:
            assert (first, queued) == ([], 0)
            scene.run()
            # One that was displaced in a full queue ends before it.
            assert said["outcome"] in [record.reason.word for record in scene.records[records:]]
        scene.run()

    def is_tried(self, first: list[str], pool: dict[str, Any]) -> None:
        candidates = pool["candidates"]
        if pool["exact"] or candidates[0]["why"] in IN_ORDER:
            assert first == names(candidates)[:1]
        else:
            # One of those that the draw is among: of the first rank, and for the reason of the first.
            rank, why = candidates[0]["backup"], candidates[0]["why"]
            assert len(first) == 1
            assert first[0] in [c["backend"] for c in candidates if (c["backup"], c["why"]) == (rank, why)]

    @precondition(lambda self: self.open)
    @rule(which=anyone)
    def ends(self, which: int) -> None:
        self.open.pop(which % len(self.open)).reset()
        self.scene.run()

    @rule(which=anyone, behaviour=st.sampled_from(["accepts", "refuses", "hangs"]))
    def behaves(self, which: int, behaviour: Any) -> None:
        backends = list(self.scene.backends.values())
        backends[which % len(backends)].behaviour = behaviour
        self.scene.run()

    @rule(which=anyone, state=st.sampled_from(AdminState))
    def is_set(self, which: int, state: AdminState) -> None:
        backends = self.scene.pool.backends
        self.scene.pool.set_admin_state(backends[which % len(backends)], state)
        self.scene.run()

    @rule(which=anyone, up=st.booleans())
    def is_checked(self, which: int, up: bool) -> None:
        pool = self.scene.pool
        backend = pool.backends[which % len(pool.backends)]
        if up:
            pool.mark_up(backend)
        else:
            pool.mark_down(backend, "refused")
        self.scene.run()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.scene.advance(seconds)

    @rule(host=st.sampled_from(CLIENTS), seconds=st.sampled_from([1.0, 10.0]))
    def is_banned(self, host: str, seconds: float) -> None:
        address = IPv4Address("TCP", host, 1)
        assert self.scene.admission is not None
        self.scene.admission.ban_for(bytes(map(int, address.host.split("."))), seconds)

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def networks_are_banned(self, seconds: float) -> None:
        assert self.scene.admission is not None
        self.scene.admission.ban_for(network_key(bytes((198, 51, 100, 2)), 31), seconds)

    def teardown(self) -> None:
        if hasattr(self, "scene"):
            self.scene.leave()
            self.logged.__exit__(None, None, None)


class ExplainedBare(Explained):
    """The same with sessions that begin bare."""

    scene_kind = BareScene


TestExplained = Explained.TestCase
TestExplained.settings = settings(max_examples=30, stateful_step_count=25)
TestExplainedBare = ExplainedBare.TestCase
TestExplainedBare.settings = TestExplained.settings


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("before", range(5))
def test_all_backends_are_tried_in_the_order(make_scene: Any, policy: Any, before: int) -> None:
    members = [
        Backend(ONE, weight=3),
        Backend(TWO),
        Backend(THREE, weight=2),
        Backend("10.0.0.4:80", backup=True),
    ]
    addresses = dict.fromkeys([str(backend.address) for backend in members], "accepts")
    scene = make_scene(addresses, members=members, balance=policy, retries=3)
    for _ in range(before):
        scene.connect()
        scene.run()
    for backend in scene.backends.values():
        backend.behaviour = "refuses"
    said = asked(scene, "198.51.100.7")
    assert said["pool"]["attempts"] == 4
    scene.connect()
    scene.advance(1)
    assert [name for name, _ in scene.record.failures] == names(said["pool"]["candidates"])


def test_it_says_why_a_backend_is_skipped(make_scene: Any) -> None:
    addresses = [f"10.0.0.{number}:80" for number in range(1, 8)]
    members = [Backend(address, max_connections=1) for address in addresses]
    scene = make_scene(
        addresses, members=members, outlier=OutlierConfig(consecutive_failures=1, eject_for=60)
    )
    full, down, draining, maintenance, ejected, *others = members
    held = scene.pool.take(full, None)
    scene.pool.mark_down(down, "connection refused")
    scene.pool.set_admin_state(draining, AdminState.DRAIN)
    scene.pool.set_admin_state(maintenance, AdminState.MAINTENANCE)
    slot = scene.pool.take(ejected, None)
    slot.failed(0.1, "refused")
    slot.release()
    pool = asked(scene, "198.51.100.7")["pool"]
    assert names(pool["candidates"]) == [backend.name for backend in others]
    assert [each["why"] for each in pool["skipped"]] == ["full", "down", "draining", "maintenance", "ejected"]
    assert pool["skipped"][1]["meaning"] == "it is down: connection refused"
    held.release()


def test_an_ejection_whose_time_is_over_is_not_taken_for_one(make_scene: Any) -> None:
    outlier = OutlierConfig(consecutive_failures=1, eject_for=5)
    scene = make_scene([ONE, TWO], outlier=outlier, retries=0)
    scene.backends[ONE].behaviour = "refuses"
    scene.connect()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    assert names(asked(scene, "198.51.100.7")["pool"]["candidates"]) == [TWO]
    scene.advance(6)
    assert scene.pool.backends[0].state == "ejected"
    said = asked(scene, "198.51.100.7")
    assert sorted(names(said["pool"]["candidates"])) == [ONE, TWO]
    assert scene.pool.backends[0].state == "ejected"


def test_a_backend_whose_ejection_is_over_begins_with_slow_start(make_scene: Any) -> None:
    outlier = OutlierConfig(consecutive_failures=1, eject_for=5)
    scene = make_scene([ONE, TWO], outlier=outlier, slow_start=10.0, retries=0)
    scene.advance(100)
    scene.backends[ONE].behaviour = "refuses"
    while scene.pool.backends[0].state != "ejected":
        scene.connect()
        scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.advance(6)
    said = asked(scene, "198.51.100.7")["pool"]
    assert said["exact"]
    assert [(it["backend"], it["why"]) for it in said["candidates"]] == [(TWO, "policy"), (ONE, "slow_start")]
    before = scene.pool.backends[1].stats.connect_attempts
    scene.connect()
    scene.run()
    assert scene.pool.backends[1].stats.connect_attempts == before + 1


def test_a_preview_that_leaves_a_backend_out_is_shown_as_that(make_scene: Any) -> None:
    class FirstAlone:
        def __init__(self, backends: Sequence[Backend], tools: PolicyTools) -> None:
            self.backends = backends

        def candidates(self, client: bytes | None) -> Iterator[Backend]:
            yield self.backends[0]

        def preview(self, client: bytes | None) -> OrderPreview:
            return OrderPreview(self.backends[:1], True, "the first one")

    scene = make_scene([ONE, TWO], balance=FirstAlone)
    pool = asked(scene, "198.51.100.7")["pool"]
    assert (names(pool["candidates"]), pool["exact"]) == ([ONE], True)
    assert [(each["backend"], each["why"]) for each in pool["skipped"]] == [(TWO, "left_out")]


class CountedBackend(Backend):
    """One that counts how often it is looked at."""

    looks = 0

    @property
    def load(self) -> int:
        CountedBackend.looks += 1
        return super().load


def test_the_work_grows_no_faster_than_the_backends() -> None:
    for count in (10, 100):
        CountedBackend.looks = 0
        backends = [CountedBackend(f"10.0.0.{number}:80") for number in range(1, count + 1)]
        pool = Pool("web", backends, balance=SourceHash, bounded_load=1.25)
        with explanation.asked(pool) as (_, selection):
            selection.explain(b"\1\2\3\4")
        assert CountedBackend.looks <= 8 * count


def test_it_says_which_rule_decides_and_what_is_left(make_scene: Any) -> None:
    rate = Rate.parse("1/s")
    limits = {
        "connections_per_client": 2,
        "connect_rate_per_client": rate,
        "burst_per_client": 3,
        "ban_after": 2,
    }
    scene = make_scene(admission=limited(**limits))
    assert asked(scene, CLIENTS[0])["admission"] == {
        "refused": None,
        "would_refuse": None,
        "meaning": None,
        "list": None,
        "banned_for": 0,
        "connections": {"used": 0, "limit": 2, "left": 2},
        "rate": {"used": 0, "limit": 3, "left": 3},
        "next_in": 0,
        "refusals": {"used": 0, "limit": 2, "left": 2},
    }
    address = IPv4Address("TCP", CLIENTS[0], 1)
    for _ in range(2):
        scene.connect(address=address)
    scene.turned_away(address=address)
    said = asked(scene, CLIENTS[0])["admission"]
    assert (said["refused"], said["connections"]["left"], said["rate"]["left"]) == (
        "too_many_connections",
        0,
        1,
    )
    assert said["refusals"] == {"used": 1, "limit": 2, "left": 1}
    scene.turned_away(address=address)
    said = asked(scene, CLIENTS[0])["admission"]
    assert said["refused"] == "banned"
    assert said["banned_for"] > 0
    said = asked(scene, DENIED)["admission"]
    assert (said["refused"], said["list"]) == ("denied", "deny")


def test_a_frontend_that_is_full_has_its_clients_wait(make_scene: Any) -> None:
    scene = make_scene(settings={"connections": 1})
    assert asked(scene, CLIENTS[0])["connections"] == {"open": 0, "limit": 1}
    scene.connect()
    scene.run()
    said = asked(scene, CLIENTS[0])
    assert (said["outcome"], said["waits_for"]) == ("waits", ["max_sessions"])
    assert said["connections"] == {"open": 1, "limit": 1}
    assert said["pool"]["outcome"] == "connects"


def test_a_client_at_a_unix_socket_is_never_refused_and_has_no_affinity(make_scene: Any) -> None:
    affinity = AffinityConfig(ttl=20.0)
    scene = make_scene([ONE, TWO], admission=limited(connections_per_client=1), affinity=affinity)
    said = asked(scene, "unix")
    assert (said["client"], said["outcome"], said["any_worker_accepts"]) == ("unix", "connects", False)
    assert (said["admission"]["refused"], said["admission"]["connections"]) == (None, None)
    first = names(said["pool"]["candidates"])[0]
    scene.connect(address=UNIXAddress(None))
    scene.run()
    assert scene.pool.backends[[ONE, TWO].index(first)].stats.connect_attempts == 1


@pytest.mark.parametrize(
    ("listen", "client", "why"),
    [
        (["127.0.0.1:80"], "unix", "frontend web has no unix socket: give the IP address of a client"),
        (["unix:/a", "unix:/b"], "192.0.2.1", "frontend web has unix sockets alone, .*: give client=unix"),
        (["unix:/a", "[::1]:80"], "unix", None),
        (["unix:/a", "[::1]:80"], "192.0.2.1", None),
    ],
)
def test_a_client_that_cannot_come_to_the_frontend(listen: list[str], client: str, why: str | None) -> None:
    query = read_explain_query({"frontend": "web", "client": client})
    addresses = [Address.parse(it) for it in listen]
    if why is None:
        check_listeners(addresses, query)
    else:
        with pytest.raises(ApiError, match=why) as error:
            check_listeners(addresses, query)
        assert error.value.status == 400
