"""A gate under clients that come and go in any order, against rules that look at the whole past each time."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from support.admissions import CountedAdmission, lists
from tcpbalance.admission.limits import limits_clients
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.net.addresses import packed

HOSTS = (
    "192.0.2.1",
    "::ffff:192.0.2.1",
    "192.0.2.2",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:0:1::1",
    "/run/app.sock",
)
DENY: tuple[list[str], ...] = ([], ["192.0.2.1"], ["2001:db8::/63", "192.0.2.2"])
ALLOW: tuple[list[str], ...] = ([], ["192.0.2.0/24", "2001:db8::/48"], ["192.0.2.0/31"])
# Everything happens at multiples of an eighth of a second, so that the model has no rounding to think of.
RATE, WINDOW = 2.0, 4.0
PAUSES = st.sampled_from([0.125, 0.5, 1.0, 1.875, 2.0, 3.875, 4.0, 7.875, 8.0, 30.0])


def bans(ban_after: int, ban_for: float) -> dict[str, Any]:
    return {"ban_after": ban_after, "ban_window": WINDOW, "ban_for": ban_for}


LIMITS = st.builds(
    lambda connections, burst, ban_after, ban_for: LimitsConfig(
        connections_per_client=connections,
        connect_rate_per_client=None if burst is None else RATE,
        burst_per_client=burst,
        **({} if ban_after is None else bans(ban_after, ban_for)),
    ),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 4),
    st.sampled_from([2.0, 8.0]),
)


class Past:
    """All that ever happened of one client."""

    def __init__(self) -> None:
        self.open = 0
        self.conforming: list[float] = []
        self.window: list[float] = []
        self.banned_until = 0.0


class Model:
    """The rules once more, without any state but the past."""

    def __init__(self, limits: LimitsConfig, on_trial: set[str]) -> None:
        self.limits = limits
        self.on_trial = on_trial
        self.allow: list[str] = []
        self.deny: list[str] = []
        self.pasts: dict[object, Past] = {}
        self.refused: Counter[Refusal] = Counter()
        self.would_refuse: Counter[Refusal] = Counter()

    def past(self, host: str) -> Past:
        address = ip_address(host)
        address = getattr(address, "ipv4_mapped", None) or address
        prefix = 32 if address.version == 4 else 64
        return self.pasts.setdefault(ip_network((address, prefix), strict=False), Past())

    def admit(self, host: str, now: float) -> Refusal | None:
        past = self.past(host)
        broken = [(refusal, part) for refusal, part in self.rules(host, past, now) if refusal]
        refusal = next((refusal for refusal, part in broken if part not in self.on_trial), None)
        if refusal is None:
            past.open += 1
            self.would_refuse.update(refusal for refusal, _ in broken[:1])
        else:
            self.refused[refusal] += 1
        # What lists on trial say is held against nobody by limits that are in force.
        held = [
            refusal
            for refusal, part in broken
            if not (part == "access" and part in self.on_trial and "limits" not in self.on_trial)
        ]
        if not held:
            past.conforming.append(now)
        elif held[0] is not Refusal.BANNED:
            self.count(past, now)
        return refusal

    def rules(self, host: str, past: Past, now: float) -> list[tuple[Refusal | None, str]]:
        """The rules in their order, each with what it says and whose it is."""
        limits = self.limits
        full = limits.connections_per_client is not None and past.open >= limits.connections_per_client
        return [
            (Refusal.BANNED if now < past.banned_until else None, "limits"),
            (self.listed(host), "access"),
            (Refusal.TOO_MANY_CONNECTIONS if full else None, "limits"),
            (Refusal.TOO_FAST if self.too_fast(past, now) else None, "limits"),
        ]

    def listed(self, host: str) -> Refusal | None:
        address = ip_address(host)
        address = getattr(address, "ipv4_mapped", None) or address
        if any(address in ip_network(network) for network in self.deny):
            return Refusal.DENIED
        if self.allow and not any(address in ip_network(network) for network in self.allow):
            return Refusal.NOT_ALLOWED
        return None

    def too_fast(self, past: Past, now: float) -> bool:
        """Whether one more would be too many in any of the times that end now."""
        burst = self.limits.burst_per_client
        return burst is not None and any(
            len(past.conforming) - index + 1 > burst + RATE * (now - since)
            for index, since in enumerate(past.conforming)
        )

    def count(self, past: Past, now: float) -> None:
        if self.limits.ban_after is None:
            return
        if past.window and now >= past.window[0] + WINDOW:
            past.window = []
        past.window.append(now)
        if len(past.window) == self.limits.ban_after:
            past.window = []
            past.banned_until = now + self.limits.ban_for


class GateMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, the gate answers and counts as the model does."""

    @initialize(
        limits=LIMITS,
        on_trial=st.sets(st.sampled_from(["access", "limits"])),
        start=st.sampled_from([0, 1e9]),
    )
    def build(self, limits: LimitsConfig, on_trial: set[str], start: float) -> None:
        self.clock = Clock()
        self.clock.advance(start)
        self.access_dry_run = "access" in on_trial
        tried = attrs.evolve(limits, dry_run="limits" in on_trial and limits_clients(limits))
        self.admission = CountedAdmission(lists([], dry_run=self.access_dry_run), tried, self.clock.seconds)
        self.model = Model(limits, on_trial)
        self.open: list[str] = []

    @rule(host=st.sampled_from(HOSTS), times=st.integers(1, 4))
    def come(self, host: str, times: int) -> None:
        for _ in range(times):
            answer = self.admission.admit(packed(host))
            if packed(host) is None:
                assert answer is None
            else:
                assert answer is self.model.admit(host, self.clock.seconds())
            if answer is None:
                self.open.append(host)

    @rule(which=st.integers(0, 10**6))
    def goes(self, which: int) -> None:
        if self.open:
            host = self.open.pop(which % len(self.open))
            self.admission.release(packed(host))
            if packed(host) is not None:
                self.model.past(host).open -= 1

    @rule(host=st.sampled_from(HOSTS))
    def nobody_goes_who_is_not_there(self, host: str) -> None:
        there = packed(host) is None or self.model.past(host).open
        if limits_clients(self.model.limits) and not there:
            with pytest.raises(KeyError):
                self.admission.release(packed(host))

    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(deny=st.sampled_from(DENY), allow=st.sampled_from(ALLOW))
    def lists_are_replaced(self, deny: list[str], allow: list[str]) -> None:
        self.admission.access = lists(deny, allow, dry_run=self.access_dry_run)
        self.model.deny, self.model.allow = deny, allow

    @invariant()
    def both_count_the_same(self) -> None:
        assert self.admission.refused == self.model.refused
        assert self.admission.would_refuse == self.model.would_refuse

    @invariant()
    def nobody_has_more_than_they_may(self) -> None:
        most = self.model.limits.connections_per_client
        if most is not None and "limits" not in self.model.on_trial:
            assert all(past.open <= most for past in self.model.pasts.values())

    @invariant()
    def only_those_are_known_of_whom_something_happened(self) -> None:
        assert len(self.admission.clients) <= len(self.model.pasts)
        if not limits_clients(self.model.limits):
            assert len(self.admission.clients) == 0

    def teardown(self) -> None:
        """When all have left and enough time has passed, nothing is left of them."""
        if not hasattr(self, "admission"):
            return
        while self.open:
            self.goes(0)
        self.admission.access = lists([])
        for _ in HOSTS:
            self.clock.advance(1000)
            assert self.admission.admit(packed("198.51.100.1")) is None
            self.admission.release(packed("198.51.100.1"))
        assert self.admission.clients.idle <= 1  # the stranger


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(max_examples=200, stateful_step_count=40)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(HOSTS), st.sampled_from(["comes", "comes", "comes", "goes"]), st.none() | PAUSES
    ),
    max_size=80,
)


def both(limits: LimitsConfig, deny: list[str]) -> tuple[CountedAdmission, CountedAdmission, Clock]:
    """A gate in force, and the same on trial."""
    clock = Clock()
    real = CountedAdmission(lists(deny), limits, clock.seconds)
    tried = attrs.evolve(limits, dry_run=limits_clients(limits))
    trial = CountedAdmission(lists(deny, dry_run=True), tried, clock.seconds)
    return real, trial, clock


@given(limits=LIMITS, deny=st.sampled_from(DENY), steps=STEPS)
def test_a_trial_finds_whom_the_gate_would_refuse(
    limits: LimitsConfig, deny: list[str], steps: list[tuple[str, str, float | None]]
) -> None:
    """One to one, where a connection that would have been refused ends at once, as one refused does."""
    real, trial, clock = both(limits, deny)
    open_: Counter[str] = Counter()
    for host, what, pause in steps:
        client = packed(host)
        if what == "comes":
            refusal = real.admit(client)
            assert trial.admit(client) is None
            if refusal is None:
                open_[host] += 1
            else:
                trial.release(client)
        elif open_[host]:
            open_[host] -= 1
            real.release(client)
            trial.release(client)
        clock.advance(pause or 0)
        assert trial.would_refuse == real.refused
    assert not trial.refused
    assert not real.would_refuse


@given(limits=LIMITS, deny=st.sampled_from(DENY), steps=STEPS)
def test_but_for_numbers_of_connections_it_does_so_however_long_they_last(
    limits: LimitsConfig, deny: list[str], steps: list[tuple[str, str, float | None]]
) -> None:
    without = LimitsConfig(
        connect_rate_per_client=limits.connect_rate_per_client,
        burst_per_client=limits.burst_per_client,
        **({} if limits.ban_after is None else bans(limits.ban_after, limits.ban_for)),
    )
    real, trial, clock = both(without, deny)
    staying: Counter[str] = Counter()
    for host, what, pause in steps:
        client = packed(host)
        if what == "comes":
            if real.admit(client) is None:
                real.release(client)
            assert trial.admit(client) is None
            staying[host] += 1
        elif staying[host]:
            staying[host] -= 1
            trial.release(client)
        clock.advance(pause or 0)
        assert trial.would_refuse == real.refused
