"""What affinity in a file costs is measured with what is really done."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from twisted.internet.task import Clock

from bench import affinity
from bench.affinity import measure
from support.pools import some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.recorded_affinity import RecordedAffinity


def test_each_figure_is_measured() -> None:
    costs = measure(2000, 1)
    assert min(costs.plain, costs.writing, costs.compacting, costs.reading) > 0


def test_what_is_written_is_what_is_read() -> None:
    backends = some_backends(*[1] * affinity.BACKENDS)
    written, read = (RecordedAffinity(AffinityConfig(), Clock().seconds, "") for _ in range(2))
    clients = [number.to_bytes(4) for number in range(2000)]
    affinity._visit(written, clients, backends)
    affinity._read(affinity._file(written, clients, backends), read, backends)
    assert [read.lookup(client) for client in clients] == [written.lookup(client) for client in clients]
