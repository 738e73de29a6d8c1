"""What another configuration needs is made beforehand, in another thread, and once."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from attrs import evolve
from twisted.internet.testing import MemoryReactorClock

from support.pools import some_backends
from tcpbalance import Balancer, Config, Frontend, ListenError, Pool, SettingError, TcpbalanceError, build
from tcpbalance.admission import lists
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.net import binding
from tcpbalance.net.tls import client
from tcpbalance.pool.policies import maglev

T = TypeVar("T")


def config(
    *weights: int, balance: str = "source_hash", access: AccessConfig | None = None, **keys: Any
) -> Config:
    backends = tuple(
        BackendConfig(address=f"127.0.0.1:{80 + number}", name=f"b{number}", weight=weight)
        for number, weight in enumerate(weights)
    )
    return Config(
        frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="web", access=access)},
        pools={"web": PoolConfig(backends=backends, balance=balance, **keys)},
    )


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    reactor: Any = MemoryReactorClock()
    made = Balancer.from_config(reactor, config(1, 2), clock=reactor.seconds)
    made.startService()
    yield made
    made.stopService()
    assert reactor.getDelayedCalls() == []


def in_another_thread(call: Callable[[], T]) -> T:
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What takes long and is made, each with the thread that makes it."""
    made: list[str] = []

    def record(where: Any, name: str) -> None:
        call = getattr(where, name)

        def recorded(*args: Any, **more: Any) -> Any:
            is_main = threading.current_thread() is threading.main_thread()
            made.append(f"{name} in {'the main' if is_main else 'another'} thread")
            return call(*args, **more)

        monkeypatch.setattr(where, name, recorded)

    record(maglev, "build")
    record(lists, "read_deny_file")
    record(client, "_read")
    record(build, "addresses_of")
    record(binding, "addresses_of")
    return made


def weights(balancer: Balancer) -> list[int]:
    return [backend.weight for backend in pool_of(balancer).backends]


def pool_of(balancer: Balancer) -> Pool:
    pool = balancer.factories["web"].context.pool
    assert pool is not None
    return pool


def test_preparing_changes_nothing(balancer: Balancer) -> None:
    before = balancer.config
    prepared = balancer.prepare_config(config(1, 3))
    assert balancer.config is before
    assert weights(balancer) == [1, 2]
    assert prepared.difference.changed[0].new == 3
    assert balancer.apply(prepared) is prepared.difference
    assert weights(balancer) == [1, 3]


@pytest.mark.parametrize(
    ("other", "made"),
    [
        (config(1, 30), ["build"]),
        (config(1, 2, balance="round_robin"), []),
        (config(1, 2, connect_timeout="1s"), []),
        (config(1, 2, panic_threshold=0.5), []),
        (config(1, 2, tls=PoolTlsConfig(verify=False)), ["_read"]),
    ],
    ids=["weight", "policy", "timeout", "threshold", "TLS"],
)
def test_what_takes_long_is_made_once_and_in_the_thread_that_prepares(
    balancer: Balancer, threads: list[str], other: Config, made: list[str]
) -> None:
    prepared = in_another_thread(lambda: balancer.prepare_config(other))
    assert threads == [f"{name} in another thread" for name in made]
    balancer.apply(prepared)
    assert balancer.config == other
    assert threads == [f"{name} in another thread" for name in made]


def test_the_lists_of_a_frontend_are_read_in_the_thread_that_prepares(
    balancer: Balancer, threads: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "deny"
    file.write_text("192.0.2.0/24\n")
    for frontends in ({"web"}, {"web", "new"}):
        one = config(1, 2, access=AccessConfig(deny_file=str(file), dry_run="new" in frontends))
        other = evolve(one, frontends=dict.fromkeys(frontends, one.frontends["web"]))
        prepared = in_another_thread(partial(balancer.prepare_config, other))
        balancer.apply(prepared)
    assert threads == ["read_deny_file in another thread"] * 3
    for name in ("web", "new"):
        admission = balancer.factories[name].context.admission
        assert admission is not None
        assert admission.control.access.refusal(b"\xc0\0\2\1") is not None


@pytest.mark.parametrize("name", ["web", "new"])
def test_names_to_listen_on_are_looked_up_once_in_the_thread_that_prepares(
    balancer: Balancer, threads: list[str], name: str
) -> None:
    one = config(1, 2)
    frontend = evolve(one.frontends["web"], listen=("localhost:0", "127.0.0.1:0"))
    other = evolve(one, frontends={**one.frontends, name: frontend})
    balancer.apply(in_another_thread(partial(balancer.prepare_config, other)))
    assert threads == ["addresses_of in another thread"]
    assert len(balancer.listens_on(name)) >= 2
    balancer.apply(evolve(other, shutdown_grace=7.0))
    assert threads == ["addresses_of in another thread"]


def test_a_name_to_listen_on_that_cannot_be_looked_up_changes_nothing(balancer: Balancer) -> None:
    one = config(1, 3)
    frontend = evolve(one.frontends["web"], listen=("nowhere.invalid:80",))
    with pytest.raises(ListenError, match=r"^frontend web: cannot listen on nowhere.invalid:80: the name"):
        balancer.prepare_config(evolve(one, frontends={"web": frontend}))
    assert weights(balancer) == [1, 2]


def test_a_new_pool_is_made_in_the_thread_that_prepares(balancer: Balancer, threads: list[str]) -> None:
    other = config(5, 6)
    other = evolve(
        other,
        pools={"new": other.pools["web"]},
        frontends={"web": evolve(other.frontends["web"], pool="new")},
    )
    prepared = in_another_thread(lambda: balancer.prepare_config(other))
    assert threads == ["build in another thread"]
    balancer.apply(prepared)
    assert threads == ["build in another thread"]
    assert weights(balancer) == [5, 6]


def test_one_that_was_prepared_before_another_was_applied_is_prepared_anew(balancer: Balancer) -> None:
    prepared = balancer.prepare_config(config(1, 3))
    balancer.apply(config(4, 2))
    found = balancer.apply(prepared)
    assert [change.path[-2:] for change in found.changed] == [("b0", "weight"), ("b1", "weight")]
    assert weights(balancer) == [1, 3]
    assert balancer.apply(config(1, 3)).changed == ()


def test_a_backend_that_is_replaced_meanwhile_stays_the_object_that_it_is_by_then(balancer: Balancer) -> None:
    prepared = balancer.prepare_config(config(1, 3))
    pool = pool_of(balancer)
    before = pool.backends
    pool.replace([])
    pool.replace(["127.0.0.1:80"])
    balancer.apply(prepared)
    assert weights(balancer) == [1, 3]
    assert all(backend not in before for backend in pool.backends)
    assert next(pool.selection.choices(b"\1\1\1\1")) in pool.backends


def test_tables_are_kept_for_as_long_as_a_policy_uses_them() -> None:
    pool = Pool("web", some_backends(7, 8, 9), balance="source_hash")
    shares = (("a", 7), ("b", 8), ("c", 9))
    assert shares in maglev._known
    del pool
    gc.collect()
    assert shares not in maglev._known


def test_a_balancer_that_does_not_run_or_is_made_of_frontends_prepares_as_it_applies() -> None:
    reactor: Any = MemoryReactorClock()
    stopped = Balancer.from_config(reactor, config(1))
    prepared = stopped.prepare_config(config(2))
    with pytest.raises(TcpbalanceError, match="does not run"):
        stopped.apply(prepared)
    of_frontends = Balancer(reactor, [Frontend("web", "127.0.0.1:0", Pool("web", ["127.0.0.1:80"]))])
    with pytest.raises(SettingError, match="is made of frontends"):
        of_frontends.prepare_config(config(1))
