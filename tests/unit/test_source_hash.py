"""Source hash and its Maglev table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.pools import names, some_backends, some_tools
from tcpbalance.net.addresses import packed
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.maglev import SIZE, build
from tcpbalance.pool.policies.source_hash import SourceHash

CLIENTS = [bytes((10, 0, high, low)) for high in range(40) for low in range(250)]


@cache
def ten() -> tuple[list[Backend], SourceHash]:
    backends = some_backends(*[1] * 10)
    return backends, SourceHash(backends, some_tools())


def homes(policy: SourceHash, clients: Iterable[bytes] = CLIENTS) -> list[str]:
    return [next(policy.candidates(client)).name for client in clients]


def as_in_the_paper(backends: list[Backend]) -> list[int]:
    """The populate procedure of section 3.4, with whole permutations."""
    permutations = []
    for backend in backends:
        digest = blake2b(backend.name.encode(), digest_size=16, key=b"tcpbalance maglev").digest()
        offset, skip = int.from_bytes(digest[:8]) % SIZE, int.from_bytes(digest[8:]) % (SIZE - 1) + 1
        permutations.append(iter([(offset + step * skip) % SIZE for step in range(SIZE)]))
    table = [-1] * SIZE
    for turn in range(SIZE):
        index = turn % len(backends)
        table[next(entry for entry in permutations[index] if table[entry] < 0)] = index
    return table


def test_the_table_is_that_of_the_paper() -> None:
    backends = some_backends(1, 1, 1, 1)
    assert list(build(backends)) == as_in_the_paper(backends)


def test_each_backend_has_its_share_of_the_table() -> None:
    entries = Counter(build(some_backends(*[1] * 100)))
    assert sum(entries.values()) == SIZE
    assert max(entries.values()) - min(entries.values()) <= 1


def test_the_table_is_shared_by_weight() -> None:
    weights = (1, 2, 5, 256, 100)
    entries = Counter(build(some_backends(*weights)))
    for index, weight in enumerate(weights):
        assert entries[index] == pytest.approx(SIZE * weight / sum(weights), abs=2)


def test_each_has_an_entry_however_light() -> None:
    assert len(Counter(build(some_backends(*[256] * 400, 1)))) == 401


def test_the_share_of_clients_is_within_a_fifth_of_even() -> None:
    backends, policy = ten()
    counts = Counter(homes(policy))
    assert len(counts) == len(backends)
    for count in counts.values():
        assert count == pytest.approx(len(CLIENTS) / len(backends), rel=0.2)


def test_about_one_in_n_clients_moves_when_one_of_n_is_taken_out() -> None:
    backends, policy = ten()
    gone = backends[3]
    fewer = SourceHash([backend for backend in backends if backend is not gone], some_tools())
    before, after = homes(policy), homes(fewer)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    of_the_gone = before.count(gone.name)
    assert of_the_gone <= moved <= 1.3 * len(CLIENTS) / len(backends)


def test_when_one_is_down_only_its_clients_move_and_spread_over_all_others() -> None:
    backends, policy = ten()
    down = backends[3]
    stand_ins = Counter[str]()
    for client in CLIENTS:
        candidates = policy.candidates(client)
        home = next(candidates)
        if home is down:
            stand_ins[next(candidates).name] += 1
    assert len(stand_ins) == len(backends) - 1
    assert max(stand_ins.values()) < 3 * min(stand_ins.values())


@pytest.mark.parametrize(
    ("host", "home"),
    [
        ("192.0.2.1", "g"),
        ("198.51.100.7", "b"),
        ("203.0.113.200", "a"),
        ("2001:db8::1", "e"),
        ("10.1.2.3", "e"),
    ],
)
def test_a_client_keeps_its_backend_over_restarts_and_releases(host: str, home: str) -> None:
    client = packed(host)
    assert client is not None
    assert homes(ten()[1], [client]) == [home]


def test_the_written_order_does_not_matter() -> None:
    backends, policy = ten()
    shuffled = SourceHash(backends[5:] + backends[4::-1], some_tools())
    assert homes(shuffled) == homes(policy)


def test_an_ipv6_host_that_changes_its_address_within_its_network_stays() -> None:
    _, policy = ten()
    assert len(set(homes(policy, [bytes(7) + b"\7" + bytes(7) + bytes([host]) for host in range(200)]))) == 1
    assert len(set(homes(policy, [bytes(7) + bytes([network]) + bytes(8) for network in range(200)]))) == 10


def test_a_client_without_address_is_served_by_round_robin() -> None:
    policy = SourceHash(some_backends(1, 1, 1), some_tools())
    assert names([next(policy.candidates(None)) for _ in range(6)]) == "abcabc"


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 256), min_size=1, max_size=12),
    st.lists(st.binary(min_size=4, max_size=4), max_size=20),
)
def test_it_yields_each_backend_once_and_all_in_the_end(weights: list[int], clients: list[bytes]) -> None:
    backends = some_backends(*weights)
    policy = SourceHash(backends, some_tools())
    for client in [None, *clients]:
        assert Counter(policy.candidates(client)) == Counter(backends)
