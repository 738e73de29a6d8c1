"""The gate, rule by rule."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.admissions import DENIED, Guarded, lists
from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.limits import connect_rate, limits_clients
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.errors import SettingError

ANNE, BOB = "192.0.2.1", "192.0.2.2"
BANS: dict[str, Any] = {"ban_after": 3, "ban_window": 10.0, "ban_for": 60.0}


class TestLists:
    def test_alone(self) -> None:
        guarded = Guarded(access=lists(allow=["192.0.2.0/24"]))
        assert guarded.come(ANNE) == ["in"]
        assert guarded.come(DENIED) == ["denied"]
        assert guarded.come("198.51.100.1") == ["not_allowed"]
        assert guarded.refused == {"denied": 1, "not_allowed": 1}
        guarded.go(ANNE)
        assert len(guarded.admission.clients) == 0

    def test_another_list_holds_from_then_on(self) -> None:
        guarded = Guarded()
        guarded.admission.access = lists([ANNE])
        assert (guarded.come(ANNE), guarded.come(DENIED)) == (["denied"], ["in"])

    def test_who_has_no_address_always_comes_in(self) -> None:
        guarded = Guarded(
            access=lists(["0.0.0.0/0", "::/0"]), connections_per_client=1, connect_rate_per_client=1
        )
        assert guarded.come("/run/app.sock", 50) == ["in"] * 50
        guarded.go("/run/app.sock", 50)
        assert len(guarded.admission.clients) == 0


class TestConnections:
    def test_as_many_as_there_may_be(self) -> None:
        guarded = Guarded(connections_per_client=2)
        assert guarded.come(ANNE, 4) == ["in", "in", "too_many_connections", "too_many_connections"]
        assert guarded.come(BOB) == ["in"]
        guarded.go(ANNE)
        assert guarded.come(ANNE, 2) == ["in", "too_many_connections"]
        assert guarded.refused == {"too_many_connections": 3}

    def test_who_has_left_is_forgotten(self) -> None:
        guarded = Guarded(connections_per_client=2)
        guarded.come(ANNE, 2)
        guarded.go(ANNE)
        assert len(guarded.admission.clients) == 1
        guarded.go(ANNE)
        assert len(guarded.admission.clients) == 0

    def test_nobody_leaves_more_often_than_they_came(self) -> None:
        guarded = Guarded(connections_per_client=1)
        guarded.come(ANNE, 2)
        guarded.go(ANNE)
        with pytest.raises(KeyError):
            guarded.go(ANNE)
        assert guarded.come(ANNE, 2) == ["in", "too_many_connections"]

    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            ("192.0.2.1", "::ffff:192.0.2.1", True),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("192.0.2.1", "192.0.2.2", False),
            ("32.1.13.184", "2001:db8::", False),
            ("fe80::1%eth0", "fe80::2%eth1", True),
        ],
    )
    def test_who_is_one_client(self, first: str, second: str, same: bool) -> None:
        guarded = Guarded(connections_per_client=1)
        guarded.come(first)
        assert guarded.come(second) == ["too_many_connections" if same else "in"]


class TestRate:
    def test_a_burst_then_the_rate(self) -> None:
        guarded = Guarded(connect_rate_per_client=2, burst_per_client=3)
        assert guarded.come(ANNE, 5) == ["in"] * 3 + ["too_fast"] * 2
        assert guarded.come(BOB) == ["in"]
        guarded.wait(0.5)
        assert guarded.come(ANNE, 2) == ["in", "too_fast"]
        guarded.wait(0.25)
        assert guarded.come(ANNE) == ["too_fast"]
        guarded.wait(0.25)
        assert guarded.come(ANNE, 2) == ["in", "too_fast"]
        guarded.wait(100)
        assert guarded.come(ANNE, 4) == ["in"] * 3 + ["too_fast"]

    @pytest.mark.parametrize(("rate", "burst"), [(50, 50), (1.5, 1), (0.1, 1), (1, 1), (2.9, 2)])
    def test_the_burst_of_those_who_do_not_say(self, rate: float, burst: int) -> None:
        guarded = Guarded(connect_rate_per_client=rate)
        assert guarded.come(ANNE, burst + 1) == ["in"] * burst + ["too_fast"]

    def test_a_connection_that_is_one_too_many_uses_up_nothing(self) -> None:
        guarded = Guarded(connections_per_client=1, connect_rate_per_client=1, burst_per_client=2)
        assert guarded.come(ANNE, 3) == ["in", "too_many_connections", "too_many_connections"]
        guarded.go(ANNE)
        assert guarded.come(ANNE) == ["in"]
        guarded.go(ANNE)
        assert guarded.come(ANNE) == ["too_fast"]

    @given(
        rate=st.floats(0.01, 300),
        burst=st.integers(1, 50),
        now=st.floats(0, 2e9),
        waits=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    )
    def test_in_no_time_more_than_the_burst_and_the_rate(
        self, rate: float, burst: int, now: float, waits: list[float]
    ) -> None:
        guarded = Guarded(connect_rate_per_client=rate, burst_per_client=burst)
        guarded.wait(now)
        came: list[tuple[float, int]] = []
        for wait in waits:
            until_refused = iter(lambda: guarded.come(ANNE), ["too_fast"])
            came.append((guarded.clock.seconds(), len(list(until_refused))))
            guarded.wait(wait)
        assert came[0][1] == burst
        for first in range(len(came)):
            for last in range(first, len(came)):
                together = sum(count for _, count in came[first : last + 1])
                seconds = came[last][0] - came[first][0] + 2**-22
                assert together <= burst + rate * seconds

    @given(rate=st.floats(0.1, 1000), now=st.floats(0, 2e9))
    def test_who_keeps_to_the_rate_is_never_refused(self, rate: float, now: float) -> None:
        guarded = Guarded(connect_rate_per_client=rate, burst_per_client=1)
        guarded.wait(now)
        steady = connect_rate(LimitsConfig(connect_rate_per_client=rate))
        assert steady is not None
        pause = steady.interval
        assert 0 <= pause - 1 / rate <= 2**-22
        for _ in range(20):
            assert guarded.come(ANNE) == ["in"]
            guarded.wait(pause)


NOT_A_DURATION = 'must be a duration such as "250ms", "2s", "5m", "1h" or a number of seconds'


class TestBans:
    def test_the_refusal_that_makes_it_full(self) -> None:
        guarded = Guarded(**BANS)
        assert guarded.come(DENIED, 5) == ["denied"] * 3 + ["banned"] * 2
        assert guarded.come(ANNE) == ["in"]
        assert guarded.refused == {"denied": 3, "banned": 2}

    def test_it_lasts_for_as_long_as_it_says_however_much_the_client_knocks(self) -> None:
        guarded = Guarded(connect_rate_per_client=0.5, burst_per_client=1, **BANS)
        assert guarded.come(ANNE, 4) == ["in"] + ["too_fast"] * 3
        for _ in range(59):
            assert guarded.come(ANNE, 10) == ["banned"] * 10
            guarded.wait(1)
        guarded.wait(1 - 2**-10)
        assert guarded.come(ANNE) == ["banned"]
        guarded.wait(2**-10)
        assert guarded.come(ANNE, 2) == ["in", "too_fast"]

    def test_all_refusals_add_up(self) -> None:
        guarded = Guarded(connections_per_client=2, connect_rate_per_client=1, burst_per_client=2, **BANS)
        assert guarded.come(ANNE, 3) == ["in", "in", "too_many_connections"]
        guarded.go(ANNE)
        assert guarded.come(ANNE) == ["too_fast"]
        guarded.admission.access = lists([ANNE])
        assert guarded.come(ANNE, 2) == ["denied", "banned"]
        guarded.admission.access = lists([])
        assert guarded.come(ANNE) == ["banned"]

    def test_the_window_begins_with_its_first_refusal(self) -> None:
        guarded = Guarded(**BANS)
        guarded.come(DENIED)
        guarded.wait(9)
        guarded.come(DENIED)
        guarded.wait(1)
        assert guarded.come(DENIED, 4) == ["denied"] * 3 + ["banned"]

    def test_connections_that_are_open_when_it_begins_go_on(self) -> None:
        guarded = Guarded(connections_per_client=1, **BANS)
        assert guarded.come(ANNE, 5) == ["in"] + ["too_many_connections"] * 3 + ["banned"]
        guarded.go(ANNE)
        assert guarded.come(ANNE) == ["banned"]
        guarded.wait(60)
        assert guarded.come(ANNE) == ["in"]

    def test_nothing_is_held_against_a_client_that_was_banned(self) -> None:
        guarded = Guarded(**BANS)
        guarded.come(DENIED, 10)
        guarded.wait(60)
        assert guarded.come(DENIED, 4) == ["denied"] * 3 + ["banned"]

    def test_what_is_refused_elsewhere_counts_too(self) -> None:
        guarded = Guarded(**BANS)
        client = bytes((192, 0, 2, 1))
        assert guarded.come(ANNE) == ["in"]
        for _ in range(2):
            guarded.admission.count_refusal(client)
        guarded.admission.count_refusal(None)
        assert guarded.come(ANNE) == ["in"]
        guarded.admission.count_refusal(client)
        assert (guarded.come(ANNE), guarded.come(BOB)) == (["banned"], ["in"])
        (ban,) = guarded.admission.bans()
        guarded.admission.count_refusal(client)
        assert list(guarded.admission.bans()) == [ban]
        guarded.go(ANNE, 2)

    def test_without_bans_it_counts_for_nothing(self) -> None:
        guarded = Guarded(connections_per_client=2)
        guarded.admission.count_refusal(bytes((192, 0, 2, 1)))
        assert (guarded.come(ANNE), len(guarded.admission.clients)) == (["in"], 1)
        guarded.go(ANNE)

    def test_a_window_does_not_outlive_a_ban(self) -> None:
        guarded = Guarded(ban_after=2, ban_window=10.0, ban_for=1.0)
        guarded.come(DENIED, 2)
        guarded.wait(5)
        assert guarded.come(DENIED) == ["denied"]
        guarded.wait(6)
        assert guarded.come(DENIED, 2) == ["denied", "banned"]

    def test_the_neighbour_in_an_ipv6_network_is_the_same_client(self) -> None:
        guarded = Guarded(access=lists(["2001:db8::bad"]), **BANS)
        guarded.come("2001:db8::bad", 3)
        assert guarded.come("2001:db8::1") == ["banned"]

    @given(knocks=st.lists(st.floats(0, 100), max_size=20), now=st.floats(0, 2e9))
    def test_it_lasts_exactly_that_long(self, knocks: list[float], now: float) -> None:
        guarded = Guarded(access=lists([]), ban_after=1, ban_for=60.0, connect_rate_per_client=0.001)
        guarded.wait(now)
        assert guarded.come(ANNE, 2) == ["in", "too_fast"]
        guarded.admission.access = Access()
        ends = guarded.clock.seconds() + 60.0
        for knock in sorted(knocks):
            guarded.wait(max(0.0, now + knock - guarded.clock.seconds()))
            if guarded.clock.seconds() >= ends:
                assert guarded.come(ANNE) == ["too_fast"]
                break
            assert guarded.come(ANNE) == ["banned"]


class TestTrials:
    def test_lists(self) -> None:
        guarded = Guarded(trial="access")
        assert guarded.come(DENIED, 2) == ["in", "in"]
        assert (guarded.refused, guarded.would_refuse) == ({}, {"denied": 2})

    def test_limits(self) -> None:
        guarded = Guarded(trial="limits", connections_per_client=1)
        assert guarded.come(ANNE, 3) == ["in"] * 3
        assert guarded.come(DENIED) == ["denied"]
        guarded.go(ANNE, 3)
        assert len(guarded.admission.clients) == 0
        assert (guarded.refused, guarded.would_refuse) == ({"denied": 1}, {"too_many_connections": 2})

    def test_a_trial_of_all_bans_nobody(self) -> None:
        guarded = Guarded(trial="access limits", **BANS)
        assert guarded.come(DENIED, 5) == ["in"] * 5
        assert (guarded.refused, guarded.would_refuse) == ({}, {"denied": 3, "banned": 2})

    def test_lists_on_trial_ban_nobody_for_real(self) -> None:
        guarded = Guarded(trial="access", **BANS)
        assert guarded.come(DENIED, 5) == ["in"] * 5
        assert (guarded.refused, guarded.would_refuse) == ({}, {"denied": 5})

    def test_limits_hold_for_whom_lists_on_trial_let_in(self) -> None:
        guarded = Guarded(trial="access", connections_per_client=1)
        assert guarded.come(DENIED, 2) == ["in", "too_many_connections"]
        assert (guarded.refused, guarded.would_refuse) == ({"too_many_connections": 1}, {"denied": 1})

    def test_lists_in_force_lead_to_a_ban_on_trial(self) -> None:
        guarded = Guarded(trial="limits", **BANS)
        assert guarded.come(DENIED, 4) == ["denied"] * 4
        guarded.admission.access = Access()
        assert guarded.come(DENIED) == ["in"]
        assert (guarded.refused, guarded.would_refuse) == ({"denied": 4}, {"banned": 1})


class TestLimits:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (
                {"connections_per_client": 0},
                "connections_per_client must be at least 1, got 0",
            ),
            ({"ban_after": 0}, "ban_after must be at least 1, got 0"),
            ({"ban_after": 1.5}, "ban_after must be a whole number, got 1.5"),
            (
                {"connect_rate_per_client": 1, "burst_per_client": 0},
                "burst_per_client must be at least 1, got 0",
            ),
            ({"burst_per_client": 1}, 'burst_per_client has no effect without "connect_rate_per_client"'),
            ({"ban_after": 1, "ban_window": 0.0}, "ban_window must be longer than 0s, got 0s"),
            ({"ban_for": 1.0}, 'ban_for has no effect without "ban_after"'),
            ({"ban_for": math.inf}, f"ban_for {NOT_A_DURATION}, got inf"),
            *[
                (
                    {"connect_rate_per_client": rate},
                    f"connect_rate_per_client must be a finite number a second above 0, got {rate}/s",
                )
                for rate in (0, -1.0, math.nan, math.inf)
            ],
        ],
    )
    def test_refused(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(SettingError) as caught:
            LimitsConfig(**values)
        assert str(caught.value) == said

    def test_a_gate_that_may_remember_nobody(self) -> None:
        with pytest.raises(SettingError, match="max_clients must be at least 1, got 0"):
            AdmissionControl(Access(), LimitsConfig(), lambda: 0.0, max_clients=0)

    def test_whether_there_is_any(self) -> None:
        assert not limits_clients(LimitsConfig())
        assert not limits_clients(LimitsConfig(connections=1, bandwidth_per_connection=1))
        assert limits_clients(LimitsConfig(ban_after=1))
        assert limits_clients(LimitsConfig(connections_per_client=1))
        assert limits_clients(LimitsConfig(connect_rate_per_client=1))
