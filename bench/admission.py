"""What it costs to let a connection in and to take note of its end: `python -m bench.admission`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from random import Random
from statistics import median

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.admission import LimitsConfig

NETWORKS = 10_000
"""That are listed in `deny`."""

CLIENTS = 100_000
"""That are known before; each connects once, and then as many again that are not known."""

LIMITS = LimitsConfig(
    connections_per_client=100,
    # So slow that whoever has come once is known to the end.
    connect_rate_per_client=0.001,
    burst_per_client=100,
    ban_after=20,
)

_BITS = 24
"""Of an IPv4 address that make a listed network, and tell clients apart."""


class Population:
    """Networks that are listed, and clients from others, all drawn from the whole of IPv4.

    :param networks: how many are listed.
    :param clients: how many are known.
    :ivar known: clients.
    :ivar new: as many again.
    """

    def __init__(self, networks: int, clients: int, random: Random) -> None:
        drawn = random.sample(range(1 << _BITS), networks + 2 * clients)
        self.listed = [IPv4Network((number << 32 - _BITS, _BITS)) for number in drawn[:networks]]
        hosts = [(number << 32 - _BITS | 1).to_bytes(4) for number in drawn[networks:]]
        self.known, self.new = hosts[:clients], hosts[clients:]

    def admission(self, seconds: Callable[[], float]) -> AdmissionControl:
        """Make a gate that has the lists, and knows whom it is to know."""
        access = Access(deny=NetworkSet(self.listed))
        admission = AdmissionControl(access, LIMITS, seconds, max_clients=len(self.known))
        for client in self.known:
            admission.admit(client)
            admission.release(client)
        return admission


def durations(admission: AdmissionControl, clients: Iterable[bytes]) -> list[int]:
    """Let each client in and out again; give what each took, in nanoseconds."""
    now = time.perf_counter_ns
    admit, release = admission.admit, admission.release
    took = []
    for client in clients:
        began = now()
        admit(client)
        release(client)
        took.append(now() - began)
    return took


def measure(networks: int = NETWORKS, clients: int = CLIENTS) -> tuple[float, float]:
    """Give the median over known clients, and over new ones, in microseconds."""
    random = Random(1)
    population = Population(networks, clients, random)
    admission = population.admission(time.monotonic)
    # In another order than that in which they became known, and lie in memory.
    random.shuffle(population.known)
    known, new = (median(durations(admission, of)) / 1e3 for of in (population.known, population.new))
    return known, new


if __name__ == "__main__":
    print(*measure())
