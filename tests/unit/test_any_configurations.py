"""Any sequence of configurations ends in the same state as a fresh start with the last one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock

from support.configurations import configs
from support.pools import facts
from tcpbalance import Balancer, Config
from tcpbalance.config.difference import difference
from tcpbalance.http.context import HttpContext


def without_log(config: Config) -> Config:
    """Leave the access log out, which has a thread."""
    return attrs.evolve(config, access_log=None)


@contextmanager
def running(config: Config) -> Iterator[Balancer]:
    """Run a balancer whose time stands still, on sockets that no client connects to."""
    reactor: Any = MemoryReactorClock()
    balancer = Balancer.from_config(reactor, config, clock=reactor.seconds)
    balancer.startService()
    try:
        yield balancer
    finally:
        balancer.stopService()


def state(balancer: Balancer) -> dict[str, Any]:
    """Give all that a configuration decides of a balancer, but for the ports that the system chose."""
    frontends = {
        name: {
            "hosts": [str(place).partition(":")[0] for place in service.frontend.listen],
            "listeners": [listener_facts(carrier) for carrier in service.listening._carriers],
            "context": context_facts(service.factory.context),
            "limit": service.factory.registry._max_sessions,
            "dry_run": service.factory.registry._dry_run is not None,
            "closed": service.factory.registry.closed,
            "pools": [pool.pool.name for pool in service._pools],
        }
        for name, service in balancer._served.frontends.items()
    }
    pools = {
        pool.name: facts(pool)
        | {
            "monitor": None if service.monitor is None else service.monitor.config,
            "rebalances": service._rebalancer._config,
        }
        for pool, service in balancer._served.pools.items()
    }
    guard = [watch.resource for watch in balancer._guard._asked], balancer._guard.running
    return {"frontends": frontends, "pools": pools, "guard": guard, "grace": balancer._shared.grace}


def listener_facts(carrier: Any) -> list[tuple[str, int, bool]]:
    return [(it.getHost().host, it._backlog, it._started) for it in carrier.listeners]


def context_facts(context: Any) -> dict[str, Any]:
    control = context.admission and context.admission.control
    preread = context.preread
    return {
        "timeouts": context.timeouts.idle_timeout,
        "age": context.timeouts.max_connection_age,
        "limits": context.limits,
        "pool": context.pool.name,
        "proxies": preread is not None and bytes([10, 0, 0, 1]) in preread.proxies,
        "control": control
        and (control._limited, control._max_open, control.access.refusal(bytes([10, 9, 9, 1]))),
        "bare": None if context.bare is None else context.bare.pool.name,
        "look_every": context.look_every,
        "http": http_facts(context) if isinstance(context, HttpContext) else None,
    }


class NoFields:
    """The head of a request without any field."""

    def values(self, name: bytes, /) -> list[bytes]:
        return []


NO_FIELDS = NoFields()


def http_facts(context: HttpContext) -> dict[str, Any]:
    asked = [(host, path) for host in (b"", b"a.example") for path in (b"/", b"/api/x", b"/v1/x", b"/gone")]
    taken = [context.routes.match(host, path, b"GET", NO_FIELDS) for host, path in asked]
    return {
        "routes": [route and (route.name, route.pool and route.pool.name) for route in taken],
        "answers": [route and route.answer and route.answer.status for route in taken],
        "lines": context.http.limits.lines,
        "path": context.http.ambiguous_path,
        "trusts": bytes([10, 0, 0, 1]) in context.http.trust,
    }


@pytest.mark.timeout(300)
@given(st.lists(configs().map(without_log), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_sequence_ends_like_a_fresh_start_with_the_last(sequence: list[Config]) -> None:
    with running(sequence[0]) as balancer:
        for config in sequence[1:]:
            present = balancer.config
            assert present is not None
            found = balancer.apply(config)
            assert found.changed == difference(present, config).changed
        assert balancer.config is not None
        left = difference(balancer.config, sequence[-1])
        assert left.changed == left.needing_restart
        with running(balancer.config) as fresh:
            assert state(balancer) == state(fresh)
