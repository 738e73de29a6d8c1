"""Bans that an operator sees, adds and lifts."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from support.admissions import lists
from support.fleet import Fleet, ScriptedProbe
from tcpbalance import Balancer, Config
from tcpbalance.admission import banned_networks
from tcpbalance.admission.banned_networks import network_key
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.refusal import Refusal
from tcpbalance.admission.report import client_text
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.control import bans as bans_of_api
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.bans import (
    check_space,
    frontends_meant,
    keys_meant,
    list_bans,
    read_banned,
    read_bans_query,
)
from tcpbalance.control.in_pieces import at_once
from tcpbalance.errors import SettingError
from tcpbalance.workers.sent_bans import Bans

ANNE, BOB = b"\xcb\0\x71\x07", b"\x20\x01\x0d\xb8" + bytes(4)
WHOLE_BOB = BOB + bytes(8)
BAN_OF_ANNE, BAN_OF_BOB = read_banned("203.0.113.7"), read_banned("2001:db8::/64")
LIMITS = LimitsConfig(connections_per_client=2, ban_after=5, ban_window=60.0, ban_for=60.0)


NO_LIMITS = LimitsConfig()
TRIED = evolve(LIMITS, dry_run=True)
DENIED = bytes((198, 51, 100, 7))
LISTS = lists(["198.51.100.0/24"])


def control(clock: Clock, limits: LimitsConfig = LIMITS) -> AdmissionControl:
    return AdmissionControl(LISTS, limits, clock.seconds)


@pytest.mark.parametrize("limits", [LIMITS, NO_LIMITS, TRIED])
def test_a_client_is_banned_for_a_time_whatever_limits_there_are(limits: LimitsConfig) -> None:
    clock = Clock()
    admission = control(clock, limits)
    admission.ban_for(BAN_OF_ANNE, 10.0)
    assert admission.admit(ANNE) is Refusal.BANNED
    assert admission.admit(WHOLE_BOB) is None
    assert admission.admit(DENIED) is Refusal.DENIED
    assert list(admission.bans()) == [(BAN_OF_ANNE, 10.0)]
    clock.advance(9.0)
    assert list(admission.bans()) == [(BAN_OF_ANNE, 1.0)]
    clock.advance(1.0)
    assert list(admission.bans()) == []
    assert admission.admit(ANNE) is None
    admission.release(ANNE)
    admission.release(WHOLE_BOB)


def test_what_there_is_to_be_known_is_reported_when_it_begins_and_ends() -> None:
    clock = Clock()
    admission = control(clock, NO_LIMITS)
    known: list[bool] = []
    admission.on_networks = lambda: known.append(admission.has_banned_networks)
    for key in (BAN_OF_ANNE, BAN_OF_BOB):
        admission.ban_for(key, 10.0)
    assert admission.ask(ANNE).refusal is Refusal.BANNED
    clock.advance(10.0)
    assert admission.ask(ANNE).refusal is None
    assert known == [True]
    assert admission.admit(DENIED) is Refusal.DENIED
    assert known == [True, False]
    admission.ban_for(BAN_OF_ANNE, 10.0)
    admission.lift_ban(BAN_OF_ANNE)
    assert known == [True, False, True, False]


@pytest.mark.parametrize("shorten", ["replace", "lift"])
def test_once_the_longest_ban_is_shorter_connections_cost_nothing_sooner(shorten: str) -> None:
    clock = Clock()
    admission = control(clock, NO_LIMITS)
    admission.ban_for(BAN_OF_BOB, 10.0)
    admission.ban_for(BAN_OF_ANNE, 3600.0)
    if shorten == "replace":
        admission.ban_for(BAN_OF_ANNE, 5.0, replace=True)
    else:
        admission.lift_ban(BAN_OF_ANNE)
    clock.advance(9.0)
    assert admission.admit(WHOLE_BOB) is Refusal.BANNED
    clock.advance(1.0)
    assert admission.admit(WHOLE_BOB) is None
    assert not admission.has_banned_networks


def test_a_ban_replaces_an_earlier_one_where_that_is_asked_for() -> None:
    clock = Clock()
    fleet = Fleet(config(), workers=2)
    for ban_for in (control(clock).ban_for, partial(fleet.bans.ban_for, "web")):
        assert ban_for(BAN_OF_ANNE, 20.0) == (BAN_OF_ANNE, 20.0)
        assert ban_for(BAN_OF_ANNE, 10.0, replace=True) == (BAN_OF_ANNE, 10.0)
        assert ban_for(BAN_OF_ANNE, 5.0) == (BAN_OF_ANNE, 10.0)
    fleet.run(9.9)
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    fleet.run(0.2)
    assert refusals(fleet, ANNE) == [None] * 2
    fleet.stop()


def test_a_ban_by_limits_is_one_of_its_own() -> None:
    clock = Clock()
    admission = control(clock)
    fill(admission)
    assert list(admission.bans()) == [(ANNE, 60.0)]
    assert admission.ban_for(BAN_OF_ANNE, 10.0) == (ANNE, 60.0)
    assert sorted(admission.bans()) == [(ANNE, 60.0), (BAN_OF_ANNE, 10.0)]
    assert admission.lift_ban(BAN_OF_ANNE)
    assert admission.admit(ANNE) is Refusal.BANNED
    assert admission.ban_for(BAN_OF_ANNE, 70.0) == (BAN_OF_ANNE, 70.0)
    assert admission.lift_ban(ANNE)
    assert admission.admit(ANNE) is Refusal.BANNED
    assert list(admission.bans()) == [(BAN_OF_ANNE, 70.0)]


def fill(admission: AdmissionControl) -> None:
    """Have a client come until it is banned, if limits are in force."""
    for _ in range(2 + 5):
        admission.admit(ANNE)


def test_what_limits_would_ban_is_not_shown_as_banned() -> None:
    admission = control(Clock(), TRIED)
    fill(admission)
    assert admission.admit(ANNE) is None
    assert admission.last_would_refuse is Refusal.BANNED
    assert list(admission.bans()) == []
    assert admission.ban_for(BAN_OF_ANNE, 10.0) == (BAN_OF_ANNE, 10.0)


def test_one_with_open_connections_can_be_banned_and_keeps_them() -> None:
    clock = Clock()
    admission = control(clock)
    assert admission.admit(WHOLE_BOB) is None
    admission.ban_for(BAN_OF_BOB, 10.0)
    assert list(admission.bans()) == [(BAN_OF_BOB, 10.0)]
    assert admission.admit(WHOLE_BOB) is Refusal.BANNED
    admission.release(WHOLE_BOB)
    assert list(admission.bans()) == [(BAN_OF_BOB, 10.0)]


def test_a_lifted_ban_is_no_more_and_refusals_count_anew() -> None:
    admission = control(Clock())
    for _ in range(2):
        assert admission.admit(ANNE) is None
    assert [admission.admit(ANNE) for _ in range(5)] == [Refusal.TOO_MANY_CONNECTIONS] * 5
    assert admission.admit(ANNE) is Refusal.BANNED
    assert admission.lift_ban(ANNE)
    assert [admission.admit(ANNE) for _ in range(4)] == [Refusal.TOO_MANY_CONNECTIONS] * 4
    assert not admission.lift_ban(ANNE)
    assert [admission.admit(ANNE) for _ in range(5)] == [Refusal.TOO_MANY_CONNECTIONS] * 5


def test_what_is_not_banned_is_not_remembered_by_lifting() -> None:
    admission = control(Clock())
    for key in (ANNE, BAN_OF_ANNE):
        assert not admission.lift_ban(key)
    assert len(admission.clients) == 0


def test_others_may_go_while_all_are_listed() -> None:
    clock = Clock()
    admission = control(clock)
    for number in range(3):
        admission.ban(bytes((203, 0, 113, number)), 10.0)
    found = admission.bans()
    first, _ = next(found)
    for number in range(3):
        admission.lift_ban(bytes((203, 0, 113, number)))
    assert (first, list(found)) == (bytes((203, 0, 113, 0)), [])


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("203.0.113.0/24", b"\xcb\0\x71\0\x18", "203.0.113.0/24"),
        ("::ffff:203.0.113.0/120", b"\xcb\0\x71\0\x18", "203.0.113.0/24"),
        ("0.0.0.0/0", bytes(5), "0.0.0.0/0"),
        ("2001:db8::/32", b"\x20\x01\x0d\xb8" + bytes(12) + b"\x20", "2001:db8::/32"),
        ("203.0.113.7", ANNE + b"\x20", "203.0.113.7"),
        ("203.0.113.7/32", ANNE + b"\x20", "203.0.113.7"),
        ("::ffff:203.0.113.7", ANNE + b"\x20", "203.0.113.7"),
        ("2001:db8::17", WHOLE_BOB + b"\x40", "2001:db8::/64"),
        ("2001:db8::/64", WHOLE_BOB + b"\x40", "2001:db8::/64"),
        ("2001:db8::1:0:0:0/80", WHOLE_BOB + b"\x40", "2001:db8::/64"),
    ],
)
def test_what_is_banned_is_what_admission_knows(text: str, key: bytes, shown: str) -> None:
    assert read_banned(text) == key
    assert client_text(key) == shown


@pytest.mark.parametrize(("key", "shown"), [(ANNE, "203.0.113.7"), (BOB, "2001:db8::/64")])
def test_what_limits_have_banned_reads_the_same(key: bytes, shown: str) -> None:
    assert client_text(key) == shown


def test_a_request_is_about_bans_by_operators_by_limits_or_both() -> None:
    assert keys_meant(BAN_OF_ANNE, None) == [BAN_OF_ANNE, ANNE]
    assert keys_meant(BAN_OF_BOB, None) == [BAN_OF_BOB, BOB]
    assert keys_meant(BAN_OF_ANNE, "operator") == [BAN_OF_ANNE]
    assert keys_meant(BAN_OF_ANNE, "limits") == [ANNE]
    assert keys_meant(NETWORK, None) == [NETWORK]
    assert keys_meant(NETWORK, "limits") == []


@pytest.mark.parametrize("value", ["203.0.113.7/24", "everyone.example", 7, None, ["203.0.113.7"]])
def test_what_is_no_client(value: Any) -> None:
    with pytest.raises(SettingError, match="must be"):
        read_banned(value)


def test_bans_are_listed_up_to_a_limit_and_all_are_counted() -> None:
    bans = [("web", bytes((203, 0, 113, number)), 10.0) for number in range(5)] + [("api", BOB, 5.0)]

    def listed(**query: str) -> Any:
        return at_once(list_bans(iter(bans), read_bans_query(query), 1000.0))

    assert listed(limit="2")["total"] == 6
    assert [ban["client"] for ban in listed(limit="2")["bans"]] == ["203.0.113.0", "203.0.113.1"]
    assert listed(frontend="api")["bans"] == [
        {
            "frontend": "api",
            "by": "limits",
            "client": "2001:db8::/64",
            "until": "1970-01-01T00:16:45.000Z",
            "seconds": 5.0,
        }
    ]
    assert listed(by="limits")["total"] == 6
    assert listed(by="operator")["total"] == 0
    with pytest.raises(ApiError, match='by must be one of "operator" or "limits"'):
        listed(by="me")
    assert listed(client="203.0.113.2/31")["total"] == 2
    assert listed(client="2001:db8::17")["total"] == 1
    with pytest.raises(ApiError, match="unknown key"):
        listed(clients="203.0.113.2")


NETWORK = read_banned("203.0.112.0/23")
"""That Anne is in."""


def test_a_network_is_banned_for_a_time() -> None:
    clock = Clock()
    admission = control(clock)
    admission.ban_for(NETWORK, 10.0)
    assert admission.admit(ANNE) is Refusal.BANNED
    assert admission.admit(bytes((203, 0, 114, 7))) is None
    assert admission.admit(WHOLE_BOB) is None
    assert list(admission.bans()) == [(NETWORK, 10.0)]
    asked = admission.ask(ANNE)
    assert (asked.refusal, asked.banned_for) == (Refusal.BANNED, 10.0)
    assert (admission.banned_networks(BAN_OF_ANNE), len(admission.clients)) == (1, 2)
    clock.advance(10.0)
    assert admission.admit(ANNE) is None
    assert (list(admission.bans()), admission.banned_networks(BAN_OF_ANNE)) == ([], 0)


@pytest.mark.parametrize("key", [BAN_OF_ANNE, NETWORK])
def test_the_end_that_counts_is_given(key: bytes) -> None:
    clock = Clock()
    fleet = Fleet(config(), workers=2)
    for ban_for in (control(clock).ban_for, partial(fleet.bans.ban_for, "web")):
        ends = [ban_for(key, seconds) for seconds in (10.0, 5.0, 20.0)]
        assert ends == [(key, 10.0), (key, 10.0), (key, 20.0)]
    fleet.stop()


def test_once_no_network_is_banned_no_connection_is_looked_up_for_that() -> None:
    admission = control(Clock())
    other = read_banned("10.0.0.0/8")
    admission.ban_for(NETWORK, 10.0)
    admission.ban_for(other, 10.0)
    are_looked_up = []
    for key in (NETWORK, other):
        admission.lift_ban(key)
        are_looked_up.append(admission._networks is not None)
    assert are_looked_up == [True, False]
    assert not admission.lift_ban(other)


def test_a_network_is_let_in_again() -> None:
    admission = control(Clock())
    assert not admission.lift_ban(NETWORK)
    admission.ban_for(NETWORK, 10.0)
    assert not admission.lift_ban(read_banned("203.0.113.0/24"))
    assert admission.lift_ban(NETWORK)
    assert not admission.lift_ban(NETWORK)
    assert admission.admit(ANNE) is None


def test_a_client_of_a_banned_network_with_open_connections_keeps_them() -> None:
    admission = control(Clock())
    assert admission.admit(ANNE) is None
    admission.ban_for(NETWORK, 10.0)
    assert admission.admit(ANNE) is Refusal.BANNED
    admission.release(ANNE)
    assert admission.lift_ban(NETWORK)
    assert [admission.admit(ANNE) for _ in range(3)] == [None, None, Refusal.TOO_MANY_CONNECTIONS]


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(24, 32), st.floats(1.0, 9.0)), max_size=12),
    st.integers(0, 15),
    st.floats(0.0, 10.0),
)
def test_a_client_is_banned_while_one_of_its_networks_is(
    bans: list[tuple[int, int, float]], host: int, after: float
) -> None:
    clock = Clock()
    admission = control(clock)
    client = ip_address(f"203.0.113.{host * 16}")
    until = 0.0
    for place, bits, seconds in bans:
        network = ip_network(f"203.0.113.{place * 16}/{bits}", strict=False)
        admission.ban_for(read_banned(str(network)), seconds)
        until = max(until, seconds) if client in network else until
    clock.advance(after)
    assert (admission.admit(client.packed) is Refusal.BANNED) == (after < until)


def test_too_many_are_refused_and_a_process_keeps_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (banned_networks, bans_of_api):
        monkeypatch.setattr(module, "MAX_BANNED_NETWORKS", 20)
    clock = Clock()
    admission = control(clock)
    keys = [network_key(bytes((10, 0, number, 0)), 24 + number % 9) for number in range(20)]
    for key in keys:
        check_space("web", admission.banned_networks(key))
        admission.ban_for(key, 20.0)
    fleet = Fleet(config(), workers=1)
    for key in keys:
        fleet.bans.ban_for("web", key, 20.0)
    assert fleet.bans.banned_networks("web", NETWORK) == 20
    assert fleet.bans.banned_networks("web", keys[0]) == 19
    fleet.run(20.0)
    assert fleet.bans.banned_networks("web", NETWORK) == 0
    fleet.stop()
    with pytest.raises(ApiError, match="frontend web has 20 bans by operators") as error:
        check_space("web", admission.banned_networks(NETWORK))
    assert error.value.status == 409
    check_space("web", admission.banned_networks(keys[0]))
    assert admission.ban_for(keys[0], 40.0) == (keys[0], 40.0)
    admission.ban_for(NETWORK, 30.0)
    assert admission.banned_networks(BAN_OF_ANNE) == 20
    assert admission.admit(ANNE) is Refusal.BANNED


def test_a_flood_makes_no_ban_of_an_operator_forgotten() -> None:
    bans = Bans(max_bans=10)
    bans.add("web", BAN_OF_ANNE, 20.0)
    for number in range(20):
        bans.add("web", bytes((203, 0, 113, number)), 20.0)
    assert len(bans) == 11
    assert bans.end_of("web", BAN_OF_ANNE) == 20.0


def test_networks_are_found_by_what_they_have_in_common_with_another() -> None:
    bans = [("web", NETWORK, 5.0), ("web", read_banned("2001:db8::/32"), 5.0), ("web", ANNE, 5.0)]

    def found(client: str) -> list[str]:
        query = read_bans_query({"client": client})
        return [ban["client"] for ban in at_once(list_bans(iter(bans), query, 0.0))["bans"]]

    assert found("203.0.113.7") == ["203.0.112.0/23", "203.0.113.7"]
    assert found("203.0.112.0/24") == ["203.0.112.0/23"]
    assert found("203.0.0.0/16") == ["203.0.112.0/23", "203.0.113.7"]
    assert found("203.0.114.0/24") == []
    assert found("2001:db8:1::/48") == ["2001:db8::/32"]
    assert found("2001::/16") == ["2001:db8::/32"]


def config(limits: LimitsConfig | None = LIMITS, access: AccessConfig | None = None) -> Config:
    return Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="web", limits=limits, access=access)},
        pools={"web": PoolConfig(backends=(BackendConfig(address="127.0.0.1:7001"),))},
    )


def test_a_frontend_that_there_is_not() -> None:
    assert frontends_meant(["web", "api"], None) == ["web", "api"]
    assert frontends_meant(["web", "api"], "api") == ["api"]
    with pytest.raises(ApiError, match="no frontend is named") as error:
        frontends_meant(["web"], "wep")
    assert error.value.status == 404


def refusals(fleet: Fleet, client: bytes) -> list[Refusal | None]:
    """Have a client come to each worker, and leave."""
    return [refusal_in(worker.balancer, client) for worker in fleet.workers]


def refusal_in(balancer: Balancer, client: bytes) -> Refusal | None:
    admission = balancer.factories["web"].context.admission
    if admission is None:
        return None
    refusal = admission.control.admit(client)
    if refusal is None:
        admission.control.release(client)
    return refusal


def is_free(fleet: Fleet) -> bool:
    """Whether connections are admitted by nothing, which costs them nothing."""
    return all(worker.balancer.factories["web"].context.admission is None for worker in fleet.workers)


@pytest.mark.parametrize("limits", [LIMITS, None, TRIED])
def test_in_all_workers_a_client_is_banned_and_let_in_again(limits: LimitsConfig | None) -> None:
    fleet = Fleet(config(limits), workers=2)
    assert is_free(fleet) is (limits is None)
    fleet.bans.ban_for("web", BAN_OF_ANNE, 60.0)
    fleet.run()
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    assert list(fleet.bans.bans()) == [("web", BAN_OF_ANNE, 60.0)]
    fleet.kill(1)
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    assert fleet.bans.lift_ban("web", BAN_OF_ANNE)
    fleet.run()
    assert refusals(fleet, ANNE) == [None] * 2
    fleet.kill(0)
    assert refusals(fleet, ANNE) == [None] * 2
    assert list(fleet.bans.bans()) == []
    assert not fleet.bans.lift_ban("web", BAN_OF_ANNE)
    assert is_free(fleet) is (limits is None)
    fleet.stop()


def test_a_ban_by_an_operator_outlives_each_change_of_the_frontend() -> None:
    fleet = Fleet(config(None), workers=2)
    fleet.bans.ban_for("web", BAN_OF_ANNE, 60.0)
    fleet.run()
    for limits in (LIMITS, TRIED, None, LimitsConfig(connections=5)):
        fleet.apply(config(limits))
        assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
        fleet.kill(0)
        assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    fleet.apply(config(None, access=AccessConfig(deny=("198.51.100.0/24",))))
    assert (refusals(fleet, ANNE), refusals(fleet, DENIED)) == ([Refusal.BANNED] * 2, [Refusal.DENIED] * 2)
    fleet.apply(config(None))
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    fleet.run(60.1)
    assert refusals(fleet, ANNE) == [None] * 2
    assert is_free(fleet)
    fleet.stop()


def test_a_ban_that_comes_while_a_change_waits_for_its_pools_holds_behind_it() -> None:
    reactor: Any = MemoryReactorClock()
    balancer = Balancer.from_config(reactor, config(None), clock=reactor.seconds)
    balancer.prepare()
    balancer.startService()
    probe = ScriptedProbe(hangs=True)
    checked = evolve(config(None).pools["web"], health=HealthConfig(probe=probe, initial="checked"))
    waits = evolve(config(None).frontends["web"], pool="checked")
    balancer.apply(
        evolve(config(None), frontends={"web": waits}, pools={**config(None).pools, "checked": checked})
    )
    factory = balancer.factories["web"]
    assert [pool.name for pool in factory.context.pools] == ["web"]
    balancer.admissions["web"].ban_for(BAN_OF_ANNE, 60.0)
    assert refusal_in(balancer, ANNE) is Refusal.BANNED
    probe.answer()
    assert [pool.name for pool in factory.context.pools] == ["checked"]
    assert refusal_in(balancer, ANNE) is Refusal.BANNED
    balancer.stopService()


def test_in_all_workers_a_network_is_banned_and_let_in_again() -> None:
    fleet = Fleet(config(), workers=2)
    fleet.bans.ban_for("web", NETWORK, 60.0)
    fleet.run()
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    assert list(fleet.bans.bans()) == [("web", NETWORK, 60.0)]
    assert fleet.bans.banned_networks("web", BAN_OF_ANNE) == 1
    fleet.kill(1)
    assert refusals(fleet, ANNE) == [Refusal.BANNED] * 2
    assert fleet.bans.lift_ban("web", NETWORK)
    fleet.run()
    assert refusals(fleet, ANNE) == [None] * 2
    assert fleet.bans.banned_networks("web", BAN_OF_ANNE) == 0
    fleet.stop()


def test_a_ban_that_waits_to_be_sent_is_lifted_with_the_others() -> None:
    fleet = Fleet(config(), workers=2)
    for number in range(5):
        fleet.bans.ban_for("web", read_banned(f"203.0.113.{number}"), 60.0)
    assert fleet.bans.lift_ban("web", read_banned("203.0.113.4"))
    fleet.run()
    assert refusals(fleet, bytes((203, 0, 113, 4))) == [None] * 2
    assert refusals(fleet, bytes((203, 0, 113, 3))) == [Refusal.BANNED] * 2
    fleet.stop()


def test_a_ban_that_a_worker_has_decided_is_listed_and_lifted() -> None:
    fleet = Fleet(config(), workers=2)
    admission = fleet.workers[1].balancer.factories["web"].context.admission
    assert admission is not None
    for _ in range(7):
        admission.control.admit(ANNE)
    fleet.run()
    assert list(fleet.bans.bans()) == [("web", ANNE, 60.0)]
    assert fleet.bans.lift_ban("web", ANNE)
    fleet.run()
    assert admission.control.admit(ANNE) is Refusal.TOO_MANY_CONNECTIONS
    assert refusals(fleet, ANNE)[0] is None
    fleet.stop()
