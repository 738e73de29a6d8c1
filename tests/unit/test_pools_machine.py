"""Whatever happens in any order, in the end backends have one status in all workers and in the supervisor."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.fleet import Fleet, ScriptedProbe
from tcpbalance import Config
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.pool.backend import AdminState
from tcpbalance.pool.backend_status import BackendStatus


class Story:
    """Random steps, from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.probe = ScriptedProbe()
        self.fleet = Fleet(self.config())

    def config(self) -> Config:
        rng = self.rng
        names = rng.sample("abcd", rng.randint(1, 4))
        backends = tuple(
            BackendConfig(
                address=f"127.0.0.1:{7000 + ord(name)}", name=name, state=rng.choice(("ready", "drain"))
            )
            for name in names
        )
        health = HealthConfig(
            check="scripted",
            probe=self.probe,
            interval=10.0,
            rise=1,
            fall=1,
            initial=rng.choice(("checked", "up", "down")),
        )
        pool = PoolConfig(
            backends=backends,
            health=rng.choice((None, health)),
            outlier=rng.choice((None, OutlierConfig(consecutive_failures=2, max_ejected=1.0))),
            panic_threshold=rng.choice((0, 0.5)),
        )
        return Config(
            frontends={"web": FrontendConfig(listen="127.0.0.1:0", pool="web")}, pools={"web": pool}
        )

    def step(self) -> None:
        self.rng.choice(
            (
                self.flip,
                self.wait,
                self.order,
                self.connect,
                self.connect,
                self.kill,
                self.reload,
                self.pass_on,
            )
        )()

    def flip(self) -> None:
        self.probe.down = set(self.rng.sample("abcd", self.rng.randint(0, 4)))

    def wait(self) -> None:
        self.fleet.run(self.rng.choice((1.0, 10.0, 40.0)))

    def order(self) -> None:
        state = self.rng.choice(tuple(AdminState))
        self.fleet.pools.set_admin_state("web", self.rng.choice("abcd"), state)

    def connect(self) -> None:
        pool = self.rng.choice(self.fleet.workers).pool()
        backend = next(pool.selection.choices(None), None)
        if backend is None:
            return
        slot = pool.take(backend, None)
        if self.rng.random() < 0.7:
            slot.failed(0.1, "refused")
        else:
            slot.connected(0.1)
            slot.answered()
        slot.release()

    def kill(self) -> None:
        self.fleet.kill(self.rng.randrange(len(self.fleet.workers)))

    def reload(self) -> None:
        self.fleet.apply(self.config())

    def pass_on(self) -> None:
        """Some messages come, and others do not yet."""
        for _ in range(self.rng.randint(1, 5)):
            self.fleet.reactor.advance(0)
            worker = self.rng.choice(self.fleet.workers)
            self.rng.choice((self.fleet.deliver_to, self.fleet.deliver_from))(worker)

    def check(self) -> None:
        self.fleet.run(1.0)
        (supervisor,) = self.fleet.pools.pools
        wanted = {backend.name: status_of(backend) for backend in supervisor.backends}
        for worker in self.fleet.workers:
            assert worker.accepts
            pool = worker.pool()
            assert {backend.name: status_of(backend) for backend in pool.backends} == wanted
            assert [b.available for b in pool.backends] == [b.available for b in supervisor.backends]


def status_of(backend: Any) -> BackendStatus:
    """The status of a backend; causes come with the next flip."""
    found = BackendStatus.of(backend)
    return BackendStatus(found.up, found.awaits_check, found.ejected, found.admin_state)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_all_come_to_agree(seed: int, steps: int) -> None:
    story = Story(seed)
    for _ in range(steps):
        story.step()
    story.check()
    assert story.fleet.stop()
