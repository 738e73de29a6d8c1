"""Random configurations, for tests that compare several of them or apply one after the other."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from attrs import frozen
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed

from tcpbalance import Target
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.frontends import FrontendConfig, SocketConfig
from tcpbalance.config.http import ForwardedConfig, HttpConfig
from tcpbalance.config.log import AccessLogConfig, LogConfig
from tcpbalance.config.models import Config
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.config.routes import AnswerConfig, HttpRouteConfig, RedirectConfig

T = TypeVar("T")

FRONTENDS = ("web", "api")
POOLS = ("red", "green")


@frozen
class CountingProbe:
    """A probe with a key of its own."""

    count: int = 1

    def check(self, target: Target) -> Deferred[None]:
        return succeed(None)


@frozen
class NamedProbe:
    """A probe with one key like the other's, and one more."""

    count: int = 1
    label: str = "a"

    def check(self, target: Target) -> Deferred[None]:
        return succeed(None)


def configs() -> st.SearchStrategy[Config]:
    """Give configurations that differ in keys of most tables; hypothesis chooses the seed, which is quick."""
    return st.integers(0, 2**32).map(lambda seed: random_config(Random(seed)))


def random_config(rng: Random) -> Config:
    """Make one configuration."""
    served = rng.sample(FRONTENDS, rng.randint(1, len(FRONTENDS)))
    pools = {name: _pool(rng) for name in POOLS}
    # Nothing is rebalanced where requests are served.
    may_read_requests = all(pool.rebalance is None for pool in pools.values())
    return Config(
        data_path=rng.choice(("auto", "portable")),
        shutdown_grace=rng.choice((10, 30)),
        resolver=ResolverConfig(min_ttl=rng.choice((1, 2))),
        overload=_maybe(rng, OverloadConfig(memory=rng.choice((1 << 20, 1 << 30)))),
        log=LogConfig(level=rng.choice(("info", "error"))),
        access_log=_maybe(rng, AccessLogConfig(format=rng.choice(("text", "json")))),
        frontends={name: _frontend(rng, may_read_requests) for name in served},
        pools=pools,
    )


def _maybe(rng: Random, table: T) -> T | None:
    return rng.choice((None, table))


def _frontend(rng: Random, may_read_requests: bool) -> FrontendConfig:
    hosts = rng.sample(("127.0.0.1", "127.0.0.2", "127.0.0.3"), rng.randint(1, 3))
    limits = LimitsConfig(connections=rng.choice((None, 5)), connections_per_client=rng.choice((None, 2, 3)))
    return FrontendConfig(
        listen=[f"{host}:0" for host in hosts],  # any may listen on a port of the system's choice
        pool=rng.choice(POOLS),
        backlog=rng.choice((100, 200)),
        idle_timeout=rng.choice((60, 3600)),
        max_connection_age=rng.choice((None, 3600)),
        accept_proxy_protocol=rng.choice(((), ("10.0.0.0/8",))),
        access=_maybe(rng, AccessConfig(deny=rng.choice(((), ("10.9.9.0/24",))))),
        limits=_maybe(rng, limits),
        socket=SocketConfig(keepalive=rng.choice((None, 60))),
        **(_http(rng) if may_read_requests and rng.choice((False, True)) else {}),
    )


def _http(rng: Random) -> dict[str, Any]:
    routes = [
        HttpRouteConfig(
            name="api", paths=rng.choice((["/api/*"], ["/v1/*"])), pool=rng.choice((None, *POOLS))
        ),
        HttpRouteConfig(
            name="canary",
            paths=["/canary"],
            pools=rng.choice((None, dict.fromkeys(POOLS, 1), {"red": rng.choice((0, 5)), "green": 95})),
        ),
        HttpRouteConfig(hosts=["a.example"], redirect=RedirectConfig(to="https://{host}{target}")),
        HttpRouteConfig(paths=["/gone"], answer=AnswerConfig(status=rng.choice((404, 410)))),
    ]
    return {
        "mode": "http",
        "routes": tuple(rng.sample(routes, rng.randint(0, 4))),
        "http": _maybe(rng, HttpConfig(head_lines=rng.choice((50, 100)))),
        "forwarded": _maybe(rng, ForwardedConfig(trust=rng.choice(((), ("10.0.0.0/8",))))),
    }


def _pool(rng: Random) -> PoolConfig:
    health: dict[str, Any] = {"interval": rng.choice((2, 3)), "initial": "up"}
    probe = rng.choice((CountingProbe(), CountingProbe(2), NamedProbe(2)))
    outlier = OutlierConfig(consecutive_failures=rng.choice((2, 5)), slow_factor=rng.choice((None, 5.0)))
    return PoolConfig(
        backends=_backends(rng),
        balance=rng.choice(("round_robin", "least_connections")),
        panic_threshold=rng.choice((0.0, 0.5)),
        retries=rng.choice((1, 2)),
        slow_start=rng.choice((None, 30)),
        drain_timeout=rng.choice((None, 60)),
        affinity=_maybe(rng, AffinityConfig(ttl=rng.choice((60, 1800)), max_entries=rng.choice((10, 100)))),
        health=_maybe(rng, HealthConfig(check=type(probe).__name__, probe=probe, **health)),
        outlier=_maybe(rng, outlier),
        rebalance=_maybe(rng, RebalanceConfig(rate=5, idle_for=rng.choice((30, 50)))),
    )


def _backends(rng: Random) -> tuple[BackendConfig, ...]:
    """Make backends with one of two addresses each; one of them is always there, and no backup."""
    names = ["a", *rng.sample("bcd", rng.randint(0, 3))]
    rng.shuffle(names)
    return tuple(
        BackendConfig(
            address=f"10.0.{rng.randint(0, 1)}.{ord(name)}:80",
            name=name,
            weight=rng.choice((1, 3)),
            max_connections=rng.choice((None, 10)),
            backup=name != "a" and rng.choice((False, True)),
            state="ready" if name == "a" else rng.choice(("ready", "drain", "maintenance")),
        )
        for name in names
    )
