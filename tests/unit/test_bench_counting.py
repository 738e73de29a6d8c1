"""What the counters cost is measured on statements that count what a connection does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.counting import count_connection, count_nothing, measure
from bench.measures import MEASURES
from bench.reach import OURS
from support.byte_codes import ANSWER, REQUEST, Stage
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.slot import Slot
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.stats import BackendStats, FrontendStats, PoolStats

Snapshots = list[dict[str, int]]


def of_connections(queue: int = 0) -> tuple[Snapshots, Snapshots]:
    """Give the counters of frontend, pool and backend after two connections of one client: as the statements
    of the measure have them, and as they are where the connections were played."""
    stage = Stage(queue=queue)
    stats, pool, upstream = FrontendStats(), PoolStats(), BackendStats()
    for _ in range(2):
        stage.connection()
        count_connection(stats, pool, upstream, EndReason.BACKEND_CLOSED, len(REQUEST), 0.0)
        # The answer is longer than the request.
        stats.bytes_out += len(ANSWER) - len(REQUEST)
        upstream.bytes_out += len(ANSWER) - len(REQUEST)
    pool.affinity_hits -= 1  # The first one was of a client that was not known.
    played = (stage.stats, stage.pool.stats, stage.backend.stats)
    return [it.snapshot() for it in (stats, pool, upstream)], [it.snapshot() for it in played]


@pytest.mark.parametrize("queue", [0, 10])
def test_they_count_what_a_connection_does(queue: int) -> None:
    counted, played = of_connections(queue)
    assert counted == played


def _in_frontend(registry: SessionRegistry) -> None:
    registry.stats.setup_failures += 1


def _in_pool(affinity: Affinity) -> None:
    affinity._stats.queue_timeouts += 1


def _in_backend(slot: Slot) -> None:
    slot.backend.stats.local_failures += 1


@pytest.mark.parametrize(
    ("place", "name", "count"),
    [
        (SessionRegistry, "add", _in_frontend),
        (Affinity, "opened", _in_pool),
        (Slot, "connected", _in_backend),
    ],
)
def test_a_counter_more_on_the_way_of_a_connection_is_noticed(
    monkeypatch: pytest.MonkeyPatch, place: type[Any], name: str, count: Callable[[Any], None]
) -> None:
    real = getattr(place, name)

    def count_more(self: Any, *given: Any) -> Any:
        count(self)
        return real(self, *given)

    monkeypatch.setattr(place, name, count_more)
    counted, played = of_connections()
    different = [one != other for one, other in zip(counted, played, strict=True)]
    assert different == [it is count for it in (_in_frontend, _in_pool, _in_backend)]


def test_the_loop_that_is_taken_off_counts_nothing() -> None:
    kinds = (FrontendStats, PoolStats, BackendStats)
    stats, pool, upstream = FrontendStats(), PoolStats(), BackendStats()
    count_nothing(stats, pool, upstream, EndReason.BACKEND_CLOSED, 1, 0.0)
    assert [it.snapshot() for it in (stats, pool, upstream)] == [kind().snapshot() for kind in kinds]


def test_the_figure_is_in_microseconds() -> None:
    assert 0.01 < measure(500, 5) < 100


def test_nobody_else_is_measured() -> None:
    assert MEASURES["counting"].contestants == (OURS,)
