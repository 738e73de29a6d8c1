"""What is done to the balancer and to its backends while streams run, by lot."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from bench.soak.balancer import POLICIES, WORKER_TIMEOUT, Balancer, signal_one
from bench.soak.peers import Backend
from bench.soak.verdict import Account, Fault

DOWN_FOR = (0.2, 2.0)
"""Seconds for which a backend accepts no connections: at least, at most."""

STOPPED_FOR = (0.1, 0.6 * WORKER_TIMEOUT)
"""Seconds for which a worker is stopped that is to go on."""


class Faults:
    """Makes faults, one after the other.

    :param balancer: that they are made at.
    :param backends: of it.
    :param account: of the sessions that they may end.
    :param rng: chooses.
    :ivar made: how many of each kind.
    """

    def __init__(
        self, balancer: Balancer, backends: Sequence[Backend], account: Account, rng: Random
    ) -> None:
        self._balancer = balancer
        self._backends = backends
        self._account = account
        self._rng = rng
        self.made: Counter[str] = Counter()
        # One that is to be ended for not answering must not be continued by another fault.
        self._doomed: set[int] = set()
        self._kinds: dict[Callable[[], Awaitable[None]], int] = {
            self._kill_worker: 4,
            self._stop_worker_for_less: 3,
            self._stop_worker_for_good: 1,
            self._end_worker: 1,
            self._kill_nursery: 1,
            self._reload: 3,
            self._restart: 3,
            self._flap: 4,
        }

    async def run(self, over: asyncio.Event) -> None:
        """Make faults until it is over."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        under_way: set[asyncio.Future[None]] = set()
        while not over.is_set():
            (kind,) = self._rng.choices(kinds, weights)
            # Some take a while, in which others are made.
            one = asyncio.ensure_future(kind())
            under_way.add(one)
            await asyncio.sleep(self._rng.uniform(0.2, 2.0))
            for done in [it for it in under_way if it.done()]:
                under_way.remove(done)
                done.result()
        await asyncio.gather(*under_way)

    def _worker(self) -> int | None:
        workers = [pid for pid in self._balancer.workers() if pid not in self._doomed]
        return self._rng.choice(workers) if workers else None

    async def _kill_worker(self) -> None:
        worker = self._worker()
        if worker is not None:
            await self._kill(worker, "a worker that was killed", signal.SIGKILL)

    async def _stop_worker_for_good(self) -> None:
        worker = self._worker()
        if worker is not None:
            await self._kill(worker, "a worker that was stopped", signal.SIGSTOP)

    async def _kill(self, worker: int, what: str, number: signal.Signals) -> None:
        began = time.monotonic()
        if signal_one(self._balancer.workers, worker, number):
            self._doomed.add(worker)
            place = await self._balancer.death_of(worker)
            self._doomed.remove(worker)
            self._account.faults.append(Fault(what, began, time.monotonic(), place=place))
            self.made[what] += 1

    async def _stop_worker_for_less(self) -> None:
        worker = self._worker()
        if worker is None or not signal_one(self._balancer.workers, worker, signal.SIGSTOP):
            return
        await asyncio.sleep(self._rng.uniform(*STOPPED_FOR))
        if worker not in self._doomed:
            signal_one(self._balancer.workers, worker, signal.SIGCONT)
            self.made["a worker that was stopped for a moment"] += 1

    async def _end_worker(self) -> None:
        worker = self._worker()
        if worker is not None and signal_one(self._balancer.workers, worker, signal.SIGTERM):
            self.made["a worker that got SIGTERM"] += 1

    async def _kill_nursery(self) -> None:
        nurseries = self._balancer.nurseries()
        if nurseries and signal_one(self._balancer.nurseries, self._rng.choice(nurseries), signal.SIGKILL):
            self.made["a nursery that was killed"] += 1

    async def _reload(self) -> None:
        ports = [backend.port for backend in self._backends]
        served = self._rng.sample(ports, self._rng.randrange(2, len(ports) + 1))
        self._balancer.configure(served, self._rng.choice(POLICIES), self._rng.randrange(1000, 4000))
        self._balancer.send(signal.SIGHUP)
        self.made["a reload"] += 1

    async def _restart(self) -> None:
        self._balancer.send(signal.SIGUSR2)
        self.made["a rolling restart"] += 1

    async def _flap(self) -> None:
        up = [backend for backend in self._backends if backend.is_up]
        if len(up) == len(self._backends):
            backend = self._rng.choice(up)
            await backend.stop()
            await asyncio.sleep(self._rng.uniform(*DOWN_FOR))
            await backend.start()
            self.made["a backend that ended"] += 1
