"""A configuration becomes parts: what is written reaches the part that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from support.configs import SMALLEST
from tcpbalance.balancer import Balancer
from tcpbalance.build import build_frontend, build_pool
from tcpbalance.config import rules
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.errors import Mistake, Severity
from tcpbalance.config.frontends import FrontendConfig, RouteConfig
from tcpbalance.config.names import NamePattern
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.config_reader import read_config
from tcpbalance.errors import SettingError
from tcpbalance.pool import extensions
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool

BACKENDS = (
    BackendConfig(address=Address.parse("10.0.0.1:80")),
    BackendConfig(address=Address.parse("10.0.0.2:80"), name="b", weight=3, max_connections=5, backup=True),
)


class Waiting:
    """Somebody in a queue."""

    client: bytes | None = None

    def its_turn(self) -> None: ...

    def look_soon(self) -> None: ...

    def displaced(self) -> None: ...


def pool(**options: Any) -> Pool:
    return build_pool("web", PoolConfig(backends=BACKENDS, **options))


def test_a_policy_may_have_methods_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(RoundRobin):
        def prepare(self) -> None:
            """Something else than the tables."""

    monkeypatch.setattr(extensions, "policy", lambda name: Own)
    assert len(pool().backends) == 2


def test_tables_of_a_policy_that_cannot_be_made_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(RoundRobin):
        @staticmethod
        def prepare_tables(backends: object, rest: object) -> None:
            raise ZeroDivisionError("no weights")

    monkeypatch.setattr(extensions, "policy", lambda name: Broken)
    with pytest.raises(SettingError) as refused:
        pool(balance="round_robin")
    assert str(refused.value) == (
        "pool web: policy round_robin: its tables cannot be made: ZeroDivisionError('no weights')"
    )


def test_backends() -> None:
    first, second = pool().backends
    assert (first.name, first.weight, first.max_connections, first.backup) == ("10.0.0.1:80", 1, None, False)
    assert (second.name, second.weight, second.max_connections, second.backup) == ("b", 3, 5, True)


def test_dialling() -> None:
    made = pool(connect_timeout=Duration(7), retries=5)
    assert (made.connect_timeout, made.retries) == (7, 5)
    made = pool(retry_on=("connect_failed", "reset_before_answer"), dial_timeout=Duration(20))
    assert (made.replays, made.dial_timeout) == (True, 20)


def test_dialling_by_default() -> None:
    assert (pool().replays, pool().dial_timeout) == (False, 15)
    assert pool(connect_timeout=Duration(20)).dial_timeout == 20


def test_checked_where_there_are_checks() -> None:
    assert not pool().checked
    assert pool(health=HealthConfig(probe=object())).checked


def test_panic_threshold() -> None:
    made = pool(panic_threshold=Fraction.parse("60%"))
    down, _ = made.backends
    made.mark_down(down, "refused")
    with capturedLogs():
        assert down in set(made.selection.choices(None))


def test_affinity() -> None:
    assert pool().affinity is None
    affinity = pool(affinity=AffinityConfig(ipv4_prefix=24)).affinity
    assert affinity is not None
    backend = pool().backends[0]
    affinity.opened(bytes([10, 0, 0, 1]), backend)
    assert list(affinity.lookup(bytes([10, 0, 0, 9]))) == [backend]


def test_queue() -> None:
    assert pool().queue is None
    made = pool(queue=1, queue_timeout=Duration(7))
    assert made.queue is not None
    first, second = (Waiting() for _ in range(2))
    assert (made.queue.join(first), made.queue.join(second), made.queue_timeout) == (True, False, 7)


def test_outlier() -> None:
    assert pool().ejections is None
    config = OutlierConfig(
        consecutive_failures=2, eject_for=Duration(7), max_ejected=Fraction(0.3), slow_factor=3
    )
    made = pool(outlier=config)
    assert made.ejections is not None
    for _ in range(2):
        made.take(made.backends[0], None).failed(0.001, "refused")
    assert made.backends[0].state == "ejected"


def test_rebalance() -> None:
    config = RebalanceConfig(rate=5)
    assert pool(rebalance=config).rebalance is config
    assert pool().rebalance is None


def test_slow_start() -> None:
    assert pool(slow_start=Duration(30)).selection.slow_start is not None
    assert pool().selection.slow_start is None


def test_frontend() -> None:
    config = FrontendConfig(
        listen=(Address.parse("127.0.0.1:0"),),
        pool="web",
        backlog=7,
        idle_timeout=Duration(1),
        half_close_timeout=Duration(2),
        max_connection_age=Duration(3),
    )
    made = build_frontend("front", config, {config.pool or "": pool()})
    assert (made.name, made.backlog, made.pool.name) == ("front", 7, "web")
    assert made.timeouts is config


@pytest.mark.parametrize("trial", [False, True])
def test_the_number_of_sessions_is_tried_or_in_force(trial: bool) -> None:
    config = FrontendConfig(
        listen=(Address.parse("127.0.0.1:0"),),
        pool="web",
        limits=LimitsConfig(connections=7, dry_run=trial),
    )
    limits = build_frontend("front", config, {"web": pool()}).limits
    assert (limits.connections, limits.dry_run) == (7, trial)


@pytest.mark.parametrize("trial", [False, True])
def test_how_fast_connections_are_is_tried_or_in_force(trial: bool) -> None:
    limits = LimitsConfig(bandwidth_per_connection=Bandwidth(1000), min_rate=Bandwidth(10), dry_run=trial)
    config = FrontendConfig(listen=(Address.parse("127.0.0.1:0"),), pool="web", limits=limits)
    made = build_frontend("front", config, {"web": pool()})
    assert made.limits is limits
    edge = Balancer(Clock(), [made], data_path="portable")
    assert edge.factories["front"].context.admission is None


@pytest.mark.parametrize(("tls", "warnings"), [(PoolTlsConfig(verify=False), 1), (None, 0)])
def test_tls_that_would_be_wrapped_in_tls_is_told_of(tls: PoolTlsConfig | None, warnings: int) -> None:
    routes = tuple(
        RouteConfig(names=(NamePattern.parse(name),), pool="web") for name in ("a.example", "b.example")
    )
    config = FrontendConfig(listen=(Address.parse("127.0.0.1:0"),), sni_routes=routes)
    with capturedLogs() as events:
        build_frontend("front", config, {"web": pool(tls=tls)})
    told = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
    assert len(told) == warnings
    assert all(line.startswith("pool web: TLS that sni_routes pass through is wrapped") for line in told)


def test_what_does_not_stop_the_start_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = Mistake(("pools", "db", "backends"), "is odd", Severity.WARNING)
    monkeypatch.setattr(rules, "broken", lambda *_: [mistake])
    file = tmp_path / "a.toml"
    file.write_text(SMALLEST)
    with capturedLogs() as logged:
        read_config(file)
    (event,) = logged
    assert event["log_level"] is LogLevel.warn
    assert formatEvent(event).endswith(": warning: pools.db.backends: is odd")
