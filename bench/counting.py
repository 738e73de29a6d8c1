"""What the counters cost a connection: `python -m bench.counting`.

The statements that count a connection, from its acceptance to its end, stand here once more, and are timed in
a loop against the same loop without them. A test holds them against a connection that is played: they have to
count the same. They run with warm caches, and one after the other, which they do not in a session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import BackendStats, FrontendStats, PoolStats

CONNECTIONS = 20_000
"""In each loop."""

ROUNDS = 25
"""Whose median is taken."""

_SECONDS = 0.003
"""Of the durations that are counted."""

Count = Callable[[FrontendStats, PoolStats, BackendStats, EndReason, int, float], None]


def count_connection(
    stats: FrontendStats,
    pool: PoolStats,
    upstream: BackendStats,
    reason: EndReason,
    size: int,
    seconds: float,
) -> None:
    """Count one connection of a client that affinity knows, as the native data path does.

    :param size: bytes each way.
    :param seconds: what connecting took, and the session.
    """
    stats.connections_total += 1  # SessionRegistry.add
    upstream.connect_attempts += 1  # BareSession
    upstream.connections_total += 1  # Slot.connected
    upstream.connect_time.note(seconds)
    pool.affinity_hits += 1  # Affinity.opened
    stats.ended[reason] += 1  # SessionRegistry.remove
    stats.bytes_in += size
    stats.bytes_out += size
    stats.session_time.note(seconds)
    upstream.ended[reason] += 1
    upstream.bytes_in += size
    upstream.bytes_out += size


def count_nothing(
    stats: FrontendStats,
    pool: PoolStats,
    upstream: BackendStats,
    reason: EndReason,
    size: int,
    seconds: float,
) -> None:
    """Do what the other one does besides."""


def duration(count: Count, connections: int) -> float:
    """Give the nanoseconds of processor time that a loop takes for each connection."""
    stats, pool, upstream = FrontendStats(), PoolStats(), BackendStats()
    reason = EndReason.BACKEND_CLOSED
    now = time.thread_time_ns
    began = now()
    for size in range(connections):
        count(stats, pool, upstream, reason, size, _SECONDS)
    return (now() - began) / connections


def measure(connections: int = CONNECTIONS, rounds: int = ROUNDS) -> float:
    """Give what the counters cost a connection, in microseconds."""
    return (
        median(
            duration(count_connection, connections) - duration(count_nothing, connections)
            for _ in range(rounds)
        )
        / 1e3
    )


if __name__ == "__main__":
    print(measure())
