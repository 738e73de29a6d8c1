"""A client that one worker has banned is banned in all, and in those to come, until the ban is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from support.fleet import Fleet
from tcpbalance import Config
from tcpbalance.admission.banned_networks import network_key
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.workers.sent_bans import BANS_A_MESSAGE, Bans

ANNE, BOB, EVE = b"\xc0\0\2\1", bytes(range(16)), b"\xc0\0\2\2"

Mode = Literal["tcp", "http"]

MODES: tuple[Mode, ...] = ("http", "tcp")


def a_config(**limits: Any) -> Config:
    table = LimitsConfig(
        **{"connections_per_client": 1, "ban_after": 2, "ban_window": 60.0, "ban_for": 60.0, **limits}
    )
    return Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="web", limits=table)},
        pools={"web": PoolConfig(backends=(BackendConfig(address="127.0.0.1:7001"),))},
    )


def control(fleet: Fleet, place: int) -> AdmissionControl:
    admission = fleet.workers[place].balancer._served.frontends["web"]._admission.control
    assert admission is not None
    return admission


def ban(fleet: Fleet, place: int, client: bytes) -> None:
    decide_ban(fleet, place, client)
    fleet.run()


def decide_ban(fleet: Fleet, place: int, client: bytes) -> None:
    """Have a worker decide that a client is banned, and not report it yet."""
    admission = control(fleet, place)
    assert admission.admit(client) is None
    assert [admission.admit(client) for _ in range(2)] == [Refusal.TOO_MANY_CONNECTIONS] * 2
    admission.release(client)


def is_banned(fleet: Fleet, client: bytes) -> list[bool]:
    found: list[bool] = []
    for place in range(len(fleet.workers)):
        refusal = control(fleet, place).admit(client)
        if refusal is None:
            control(fleet, place).release(client)
        found.append(refusal is Refusal.BANNED)
    return found


def test_a_ban_holds_in_all_workers_and_to_its_end() -> None:
    fleet = Fleet(a_config(), workers=3)
    ban(fleet, 1, ANNE)
    assert is_banned(fleet, ANNE) == [True] * 3
    assert is_banned(fleet, BOB) == [False] * 3
    fleet.run(59.9)
    assert is_banned(fleet, ANNE) == [True] * 3
    fleet.run(0.2)
    assert is_banned(fleet, ANNE) == [False] * 3
    fleet.stop()


def test_it_is_an_event_once() -> None:
    fleet = Fleet(a_config(), workers=3)
    events: list[Any] = []
    fleet.bans.on_event = lambda kind, about: events.append((kind, about["client"], about["frontend"]))
    ban(fleet, 1, ANNE)
    ban(fleet, 2, bytes.fromhex("20010db8") + b"\1" * 12)
    assert events == [("ban", "192.0.2.1", "web"), ("ban", "2001:db8:101:101::/64", "web")]
    fleet.stop()


def test_one_that_is_lifted_before_its_worker_has_reported_it_is_not_reported() -> None:
    fleet = Fleet(a_config())
    decide_ban(fleet, 0, ANNE)
    fleet.bans.lift_ban("web", ANNE)
    fleet.deliver_to(fleet.workers[0])
    fleet.run()
    assert is_banned(fleet, ANNE) == [False] * 2
    assert list(fleet.bans.bans()) == []
    fleet.stop()


def test_it_outlives_the_worker() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 1, ANNE)
    ban(fleet, 1, BOB)
    fleet.run(30.0)
    fleet.kill(0)
    fleet.kill(1)
    assert is_banned(fleet, ANNE) == [True, True]
    assert is_banned(fleet, BOB) == [True, True]
    fleet.run(30.1)
    assert is_banned(fleet, ANNE) == [False, False]
    fleet.stop()


def test_the_supervisor_forgets_what_is_over() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 1, ANNE)
    assert len(fleet.bans._bans) == 1
    fleet.run(60.1)
    fleet.kill(0)
    assert len(fleet.bans._bans) == 0
    fleet.stop()


def test_other_limits_that_a_reload_brings_ban_likewise() -> None:
    fleet = Fleet(a_config())
    before = a_config()
    table = evolve(before.frontends["web"], limits=None)
    fleet.apply(evolve(before, frontends={"web": table}))
    fleet.apply(a_config())
    ban(fleet, 0, ANNE)
    assert is_banned(fleet, ANNE) == [True, True]
    fleet.stop()


def test_limits_that_are_removed_and_come_back_begin_without_bans() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 0, ANNE)
    before = a_config()
    fleet.apply(evolve(before, frontends={"web": evolve(before.frontends["web"], limits=None)}))
    fleet.apply(before)
    assert is_banned(fleet, ANNE) == [False, False]
    fleet.kill(0)
    assert is_banned(fleet, ANNE) == [False, False]
    ban(fleet, 0, ANNE)
    assert is_banned(fleet, ANNE) == [True, True]
    fleet.stop()


def test_other_limits_keep_the_bans() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 0, ANNE)
    fleet.apply(a_config(ban_for=70.0))
    fleet.kill(0)
    assert is_banned(fleet, ANNE) == [True, True]
    fleet.stop()


def test_an_order_that_comes_late_ends_the_ban_that_it_replaces() -> None:
    fleet = Fleet(a_config())
    fleet.bans.ban_for("web", network_key(ANNE, 32), 60.0)
    fleet.run()
    fleet.bans.ban_for("web", network_key(ANNE, 32), 1.0, replace=True)
    fleet.reactor.advance(1.0)
    assert is_banned(fleet, ANNE) == [True, True]
    fleet.run()
    assert is_banned(fleet, ANNE) == [False, False]
    fleet.stop()


def with_mode(config: Config, mode: Mode, **keys: Any) -> Config:
    table = evolve(config.frontends["web"], mode=mode, **keys)
    return evolve(config, frontends={"web": table})


def test_another_mode_keeps_all_bans() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 0, ANNE)
    fleet.bans.ban_for("web", network_key(BOB, 64), 60.0)
    fleet.run()
    for mode in MODES:
        fleet.apply(with_mode(a_config(), mode))
        assert is_banned(fleet, ANNE) == [True, True]
        assert is_banned(fleet, BOB) == [True, True]
        ban(fleet, 1, EVE)
        assert is_banned(fleet, EVE) == [True, True]
        fleet.bans.lift_ban("web", EVE)
        fleet.run()
        assert is_banned(fleet, EVE) == [False, False]
    fleet.stop()


def test_another_mode_with_other_limits_keeps_those_of_operators() -> None:
    fleet = Fleet(a_config())
    fleet.bans.ban_for("web", network_key(ANNE, 32), 60.0)
    fleet.run()
    fleet.apply(with_mode(a_config(), "http", limits=None))
    assert is_banned(fleet, ANNE) == [True, True]
    assert is_banned(fleet, BOB) == [False, False]
    fleet.bans.lift_ban("web", network_key(ANNE, 32))
    fleet.run()
    assert is_banned(fleet, ANNE) == [False, False]
    fleet.stop()


def test_a_change_to_another_mode_that_is_abandoned_leaves_the_bans_as_they_were() -> None:
    fleet = Fleet(a_config())
    ban(fleet, 0, ANNE)
    for worker in fleet.workers:
        prepared = worker.balancer.prepare_config(with_mode(a_config(), "http"))
        worker.balancer.prepare_change(prepared).abandon()
    fleet.bans.lift_ban("web", ANNE)
    ban(fleet, 1, EVE)
    fleet.bans.ban_for("web", network_key(BOB, 64), 60.0)
    fleet.run()
    assert is_banned(fleet, ANNE) == [False, False]
    assert is_banned(fleet, EVE) == [True, True]
    assert is_banned(fleet, BOB) == [True, True]
    fleet.stop()


def test_bans_that_come_while_another_mode_is_prepared_hold() -> None:
    fleet = Fleet(a_config())
    balancer = fleet.workers[0].balancer
    change = balancer.prepare_change(balancer.prepare_config(with_mode(a_config(), "http")))
    fleet.bans.ban_for("web", network_key(BOB, 64), 60.0)
    ban(fleet, 1, ANNE)
    change.commit()
    assert is_banned(fleet, ANNE) == [True, True]
    assert is_banned(fleet, BOB) == [True, True]
    fleet.stop()


def test_nothing_is_kept_of_frontends_that_are_removed() -> None:
    table = a_config().frontends["web"]
    fleet = Fleet(evolve(a_config(), frontends={"f0": table}))
    for number in range(1, 5):
        admission = fleet.workers[0].balancer._served.frontends[f"f{number - 1}"]._admission.control
        assert admission is not None
        assert admission.on_ban is not None
        admission.on_ban(ANNE, 1e6)
        fleet.run()
        fleet.apply(evolve(a_config(), frontends={f"f{number}": table}))
        assert admission.on_ban is None
    assert [*fleet.workers[0].following._bans._controls] == ["f4"]
    assert len(fleet.bans._bans) == 0
    fleet.stop()


def test_a_new_worker_gets_many_bans_one_message_after_the_other() -> None:
    fleet = Fleet(a_config())
    for number in range(3 * BANS_A_MESSAGE):
        fleet.bans._bans.add("web", number.to_bytes(4), 1e6)
    late = fleet.begin(1)
    assert sum("bans" in message for message in late.inbox) == 1
    fleet.workers.append(late)
    fleet.run()
    admission = control(fleet, 2)
    assert all(admission.admit(number.to_bytes(4)) is Refusal.BANNED for number in range(3 * BANS_A_MESSAGE))
    fleet.stop()


def test_bans_by_operators_are_sent_first() -> None:
    fleet = Fleet(a_config())
    for number in range(2 * BANS_A_MESSAGE):
        fleet.bans._bans.add("web", number.to_bytes(4), 1e6)
    banned = network_key(ANNE, 32)
    fleet.bans.ban_for("web", banned, 60.0)
    late = fleet.begin(1)
    (first,) = [message for message in late.inbox if "bans" in message]
    assert [client for client, _ in first["clients"]] == [banned.hex()]
    fleet.workers.append(late)
    fleet.run()
    assert is_banned(fleet, ANNE) == [True] * 3
    fleet.stop()


def test_many_bans_go_in_few_messages() -> None:
    fleet = Fleet(a_config())
    admission = control(fleet, 0)
    for number in range(3 * BANS_A_MESSAGE):
        assert admission.on_ban is not None
        admission.on_ban(number.to_bytes(8), 1e6)
    before = fleet.workers[1].count
    fleet.run()
    assert len(fleet.bans._bans) == 3 * BANS_A_MESSAGE
    assert fleet.workers[1].count - before <= 5
    fleet.stop()


def test_of_two_bans_the_later_end_counts_and_open_connections_go_on() -> None:
    fleet = Fleet(a_config(connections_per_client=2))
    first, second = control(fleet, 0), control(fleet, 1)
    assert second.admit(ANNE) is None
    assert first.on_ban is not None
    first.on_ban(ANNE, 50.0)
    fleet.run()
    second.ban(ANNE, 20.0)
    assert second.admit(ANNE) is Refusal.BANNED
    fleet.run(30.0)
    assert second.admit(ANNE) is Refusal.BANNED
    fleet.run(21.0)
    assert second.admit(ANNE) is None
    second.release(ANNE)
    second.release(ANNE)
    second.ban(ANNE, 20.0)
    assert second.admit(ANNE) is None, "a ban that is over is none"
    fleet.stop()


# The list


clients = st.integers(0, 7).map(lambda number: number.to_bytes(4))
frontends = st.sampled_from(("web", "api"))
steps = st.lists(st.tuples(frontends, clients, st.integers(1, 20)), max_size=60)


@given(steps, st.integers(1, 6))
def test_it_is_bounded_and_has_the_later_end_of_the_latest(
    given_steps: list[tuple[str, bytes, int]], max_bans: int
) -> None:
    bans = Bans(max_bans)
    model: dict[str, dict[bytes, float]] = {}
    for frontend, client, until in given_steps:
        bans.add(frontend, client, until)
        its = model.setdefault(frontend, {})
        its[client] = max(until, its.pop(client, until))
        if len(its) > max_bans:
            del its[next(iter(its))]
    assert as_dict(bans) == model


@given(steps, st.integers(0, 20))
def test_what_is_over_is_forgotten_and_the_rest_is_taken_once(
    given_steps: list[tuple[str, bytes, int]], now: int
) -> None:
    bans = Bans()
    for step in given_steps:
        bans.add(*step)
    banned = bans.keys()
    for group, its_clients in banned.items():
        bans.of(group, its_clients, now)
    left = as_dict(bans)
    assert all(until > now for its in left.values() for until in its.values())
    taken: dict[str, dict[bytes, float]] = {}
    while (content := bans.take()) is not None:
        its = taken.setdefault(content["bans"], {})
        its.update({bytes.fromhex(client): until for client, until in content["clients"]})
    assert taken == left
    assert len(bans) == 0


def as_dict(bans: Bans) -> Mapping[str, Mapping[bytes, float]]:
    found: dict[str, dict[bytes, float]] = {}
    for frontend, client, until in bans:
        found.setdefault(frontend, {})[client] = until
    return found
