"""A balancer in your own program, with its own policy: servers of the same zone are preferred.

python own_zone_first.py 127.0.0.1:8080 east east-1=10.0.0.61:80 west-1=10.0.1.61:80 east-2=10.0.0.62:80
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tcpbalance import Backend, Balancer, Frontend, PolicyTools, Pool


class OwnZoneFirst:
    """Backends whose name begins with the zone come first; within a zone, the order is random."""

    def __init__(self, zone: str, backends: Sequence[Backend], tools: PolicyTools) -> None:
        self._near = [backend for backend in backends if backend.name.startswith(f"{zone}-")]
        self._far = [backend for backend in backends if backend not in self._near]
        self._random = tools.rng

    def candidates(self, client: bytes | None) -> Iterator[Backend]:
        """Yield the near ones, then the others; the pool skips those that are down or full."""
        for group in (self._near, self._far):
            yield from self._random.sample(group, len(group))


async def main(reactor: Any, listen: str, zone: str, *servers: str) -> None:
    """Serve until interrupted."""
    backends = [Backend(address, name) for name, address in (server.split("=") for server in servers)]
    policy = partial(OwnZoneFirst, zone)
    pool = Pool("web", backends, balance=policy)
    balancer = Balancer(reactor, [Frontend("web", listen, pool)], shutdown_grace=5.0)
    balancer.startService()
    reactor.addSystemEventTrigger("before", "shutdown", balancer.stopService)
    await balancer.when_listening()
    for address in balancer.listens_on("web"):
        print("listening on", address, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *words: Deferred.fromCoroutine(main(reactor, *words)), sys.argv[1:])
