"""A pool whose connections come back to it is found, and frontends before frontends are left alone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from support.configs import load_text, problems
from tcpbalance import Backend, Balancer, Frontend, Pool, SettingError
from tcpbalance.config.addresses import Address
from tcpbalance.config.errors import BrokenRules, Severity
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loops import Inlet, Machine, Outlet, inlets, loops, outlets, ports_of
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.net.own_addresses import is_own

DIRECT = """\
[frontends.web]
listen = "{listen}"
pool = "web"
[pools.web]
backends = ["{backend}"]
"""


def ways(made: Config) -> tuple[list[Inlet], list[Outlet]]:
    """Give what `loops` takes of a configuration."""
    listeners = list(inlets(made.frontends))
    return listeners, list(outlets(made.pools, ports_of(listeners)))


def direct(listen: str, backend: str) -> str:
    return DIRECT.format(listen=listen, backend=backend)


@pytest.mark.parametrize(
    ("listen", "backend"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.9.9.9:80"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80"),
        ("[::]:80", "[::1]:80"),
        ("[::]:80", "[::]:80"),
        ("[::1]:80", "[::]:80"),
        ("0.0.0.0:80", "localhost:80"),
        ("[::]:80", "localhost:80"),
        ("localhost:80", "127.0.0.1:80"),
        ("web.internal:80", "web.internal:80"),
        ("unix:web.sock", "unix:web.sock"),
        ("unix:web.sock", "unix:./web.sock"),
    ],
)
def test_a_pool_of_ones_own_listener_is_a_mistake(tmp_path: Path, listen: str, backend: str) -> None:
    (problem,) = problems(tmp_path, direct(listen, backend))
    assert problem.startswith("5: pools.web.backends[0]: ")
    assert problem.endswith(
        " is where frontends.web listens, which leads to this pool again: connections would loop, "
        "name a server behind the balancer"
    )


@pytest.mark.parametrize(
    ("listen", "backend"),
    [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("0.0.0.0:80", "10.0.0.1:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::]:80", "[2001:db8::1]:80"),
        ("10.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "web.internal:80"),
        ("127.0.0.1:0", "127.0.0.1:80"),
        ("unix:web.sock", "unix:other.sock"),
    ],
)
def test_another_place_is_none(tmp_path: Path, listen: str, backend: str) -> None:
    load_text(tmp_path, direct(listen, backend))


CHAIN = """\
[frontends.a]
listen = "127.0.0.1:1"
pool = "to_b"
[frontends.b]
listen = "127.0.0.1:2"
pool = "to_c"
[frontends.c]
listen = "127.0.0.1:3"
pool = "last"
[pools.to_b]
backends = ["127.0.0.1:2"]
[pools.to_c]
backends = ["127.0.0.1:3"]
[pools.last]
backends = ["10.0.0.1:80", {last}]
"""


def test_frontends_before_frontends_are_allowed(tmp_path: Path) -> None:
    load_text(tmp_path, CHAIN.format(last='"10.0.0.2:80"'))


def test_a_way_back_through_others_is_told_at_each_step(tmp_path: Path) -> None:
    found = problems(tmp_path, CHAIN.format(last='"127.0.0.1:1"'))
    assert [problem.split(" is where ")[0] for problem in found] == [
        "11: pools.to_b.backends[0]: 127.0.0.1:2",
        "13: pools.to_c.backends[0]: 127.0.0.1:3",
        "15: pools.last.backends[1]: 127.0.0.1:1",
    ]
    assert all("leads through others to this pool again" in problem for problem in found)


def test_what_leads_into_a_circle_is_not_on_it(tmp_path: Path) -> None:
    found = problems(tmp_path, CHAIN.format(last='"127.0.0.1:3"'))
    assert [problem.split(" is where ")[0] for problem in found] == [
        "15: pools.last.backends[1]: 127.0.0.1:3"
    ]


def test_routes_by_server_name_are_ways_too(tmp_path: Path) -> None:
    text = """\
[frontends.tls]
listen = "0.0.0.0:443"
sni_routes = [{ names = ["a.example"], pool = "a" }]
[pools.a]
backends = ["127.0.0.1:443"]
"""
    (problem,) = problems(tmp_path, text)
    assert problem.startswith("5: pools.a.backends[0]: 127.0.0.1:443 is where frontends.tls listens")


def test_a_pool_that_nobody_leads_to_has_no_circle(tmp_path: Path) -> None:
    load_text(
        tmp_path,
        direct("127.0.0.1:80", "10.0.0.1:80") + '[pools.spare]\nbackends = ["127.0.0.1:80"]\n',
    )


def config(listen: str, *backends: str) -> Config:
    return Config(
        frontends={"web": FrontendConfig(listen=(Address.parse(listen),), pool="web")},
        pools={
            "web": PoolConfig(
                backends=tuple(BackendConfig(address=Address.parse(backend)) for backend in backends)
            )
        },
    )


def test_models_made_by_hand_are_refused() -> None:
    with pytest.raises(BrokenRules, match="connections would loop"):
        config("0.0.0.0:80", "127.0.0.1:80")


NAMES = {"web.internal": ["10.0.0.1", "fe80::1%eth0"], "other.internal": ["10.0.0.2"]}


@pytest.mark.parametrize(
    ("listen", "backend", "circles"),
    [
        ("0.0.0.0:80", "10.0.0.1:80", True),
        ("0.0.0.0:80", "10.0.0.2:80", False),
        ("0.0.0.0:80", "web.internal:80", True),
        ("0.0.0.0:80", "other.internal:80", False),
        ("[::]:80", "web.internal:80", True),
        ("[::]:80", "10.0.0.1:80", False),
        ("10.0.0.1:80", "web.internal:80", True),
        ("web.internal:80", "10.0.0.1:80", True),
        ("0.0.0.0:80", "unknown.internal:80", False),
        ("unix:/run/web.sock", "unix:/var/run/web.sock", True),
    ],
)
def test_what_the_machine_shows(listen: str, backend: str, circles: bool) -> None:
    def look_up(name: str) -> Collection[str]:
        return NAMES.get(name, ())

    machine = Machine(
        {"10.0.0.1", "fe80::1"}.__contains__, look_up, lambda path: path.replace("/var/run/", "/run/")
    )
    made = config(listen, backend)
    assert not list(loops(*ways(made)))
    found = list(loops(*ways(made), machine, Severity.ERROR))
    assert [(mistake.path, mistake.severity) for mistake in found] == (
        [(("pools", "web", "backends", 0), Severity.ERROR)] if circles else []
    )


def test_only_names_with_the_port_of_a_listener_are_looked_up() -> None:
    asked: list[str] = []

    def look_up(name: str) -> Collection[str]:
        asked.append(name)
        return ()

    made = config("0.0.0.0:80", "a.internal:80", "b.internal:81", "10.0.0.1:80")
    assert not list(loops(*ways(made), Machine(look_up=look_up)))
    assert set(asked) == {"a.internal"}


def test_own_addresses() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("192.0.2.1")
    assert not is_own("2001:db8::1")
    assert not is_own("no address")


def test_parts_are_refused_likewise() -> None:
    """Pools may have one name."""
    web, other = (Pool("web", [Backend(place)]) for place in ("127.0.0.1:81", "127.0.0.1:80"))
    first, second = Frontend("a", "0.0.0.0:80", web), Frontend("b", "127.0.0.1:81", other)
    with pytest.raises(SettingError) as caught:
        Balancer(MemoryReactorClock(), [first, second])
    assert str(caught.value) == (
        "pool web: backend 127.0.0.1:81: 127.0.0.1:81 is where frontends.b listens, which leads through "
        "others to this pool again: connections would loop, name a server behind the balancer"
    )


def test_parts_before_parts_are_allowed() -> None:
    web, other = (Pool("web", [Backend(place)]) for place in ("127.0.0.1:81", "10.0.0.1:80"))
    Balancer(MemoryReactorClock(), [Frontend("a", "0.0.0.0:80", web), Frontend("b", "127.0.0.1:81", other)])


@pytest.mark.parametrize(
    ("backend", "count"), [("10.0.0.1:80", 1), ("10.0.0.1:81", 0), ("unix:/run/web.sock", 0)]
)
def test_only_backends_with_the_port_of_a_listener_are_looked_at(backend: str, count: int) -> None:
    assert len(ways(config("192.0.2.1:80", backend))[1]) == count
