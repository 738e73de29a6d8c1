"""What it costs to keep affinity in a file, and how long reading it takes: `python -m bench.affinity`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median

from attrs import frozen

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.journal.frames import (
    FRAME_CLIENTS,
    JOURNAL_HEADER,
    Latest,
    compacted,
    decode,
    encode,
    newest_first,
)
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.recorded_affinity import RecordedAffinity

CLIENTS = 100_000
"""As many as are remembered by default."""

GROWTH = 3
"""How many times the size of the table is appended before the file is compacted; see `JournalFile`."""

BACKENDS = 20


@frozen
class Costs:
    """What was measured.

    :ivar plain: microseconds of a connection, its begin and its end together, in affinity without a file.
    :ivar recording: microseconds that a connection takes longer where its client is noted as changed.
    :ivar writing: microseconds of making the bytes of one client.
    :ivar compacting: microseconds of compacting, shared among the clients that were written before.
    :ivar reading: milliseconds of reading the largest file that a table of this size comes to.
    """

    plain: float
    recording: float
    writing: float
    compacting: float
    reading: float


def measure(count: int = CLIENTS, turns: int = 5) -> Costs:
    """Measure with so many clients, each of which connects in turn; give the medians of some turns."""
    random = Random(1)
    clients = [(10 << 24 | number).to_bytes(4) for number in random.sample(range(1 << 24), count)]
    backends = [Backend(f"10.0.0.{number}:80") for number in range(1, BACKENDS + 1)]
    config = AffinityConfig(max_entries=count)
    plain, recorded = Affinity(config, time.monotonic), RecordedAffinity(config, time.monotonic, "")
    for affinity in (plain, recorded):
        _visit(affinity, clients, backends)
    own, more = [], []
    for _ in range(turns):
        own.append(_seconds(lambda: _visit(plain, clients, backends)))
        more.append(_seconds(lambda: _visit(recorded, clients, backends)) - own[-1])
    writing = _median(turns, lambda: _written(recorded, clients, backends))
    data = _file(recorded, clients, backends)
    data += _written(recorded, clients, backends) * GROWTH
    compacting = _median(turns, lambda: [*compacted(decode(data).frames, count, lambda: None)])
    reading = _median(turns, lambda: _read(data, RecordedAffinity(config, time.monotonic, ""), backends))
    each = 1e6 / count
    return Costs(
        median(own) * each, median(more) * each, writing * each, compacting * each / GROWTH, reading * 1e3
    )


def _visit(affinity: Affinity, clients: Sequence[bytes], backends: Sequence[Backend]) -> None:
    opened, closed = affinity.opened, affinity.closed
    for number, client in enumerate(clients):
        closed(opened(client, backends[number % BACKENDS]))


def _file(affinity: RecordedAffinity, clients: Sequence[bytes], backends: Sequence[Backend]) -> bytes:
    table = encode(0.0, (), [(backend.name, str(backend.address)) for backend in backends])
    return JOURNAL_HEADER + table + _written(affinity, clients, backends)


def _written(affinity: RecordedAffinity, clients: Sequence[bytes], backends: Sequence[Backend]) -> bytes:
    numbers = {backend: number for number, backend in enumerate(backends)}
    slices = [clients[start : start + FRAME_CLIENTS] for start in range(0, len(clients), FRAME_CLIENTS)]
    return b"".join([encode(0.0, affinity.rows_of(each, numbers)) for each in slices])


def _read(data: bytes, affinity: RecordedAffinity, backends: Sequence[Backend]) -> None:
    latest = Latest()
    for piece in newest_first(decode(data).frames):
        for frame in piece:
            rows = latest.of(frame)
            affinity.restore([(client, backends[number], expires) for client, number, expires in rows])


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _median(turns: int, call: Callable[[], object]) -> float:
    return median(_seconds(call) for _ in range(turns))


if __name__ == "__main__":
    costs = measure()
    print(f"a connection, without a file   {costs.plain:6.2f} us")
    print(f"noted as changed               {costs.recording:6.2f} us")
    print(f"written                        {costs.writing:6.2f} us")
    print(f"its share of compacting        {costs.compacting:6.2f} us")
    print(f"reading {CLIENTS} clients         {costs.reading:6.0f} ms")
