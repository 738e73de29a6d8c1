"""The owner of a client: one of the workers, as evenly as their addresses allow, and the same for a /64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.workers.owner import owner, owners

WORKERS = st.integers(1, 65535)
IPV4, IPV6 = st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)


@given(IPV4 | IPV6, WORKERS)
def test_it_is_one_of_the_workers(client: bytes, workers: int) -> None:
    assert 0 <= owner(client, workers) < workers


@given(st.lists(IPV4) | st.lists(IPV4 | IPV6), WORKERS)
def test_that_of_many_is_that_of_each(clients: list[bytes], workers: int) -> None:
    assert owners(clients, workers) == [owner(client, workers) for client in clients]


@given(IPV6, st.binary(min_size=8, max_size=8), WORKERS)
def test_all_of_one_64_have_the_same(client: bytes, interface: bytes, workers: int) -> None:
    assert owner(client, workers) == owner(client[:8] + interface, workers)


def one_after_the_other() -> Iterator[bytes]:
    for number in range(10_000):
        yield (0x0A000000 + number).to_bytes(4)


def the_first_of_each_24() -> Iterator[bytes]:
    for number in range(10_000):
        yield (0x0A000001 + (number << 8)).to_bytes(4)


def every_fourth() -> Iterator[bytes]:
    for number in range(10_000):
        yield (0xC0A80000 + 4 * number).to_bytes(4)


def networks_of_one_provider() -> Iterator[bytes]:
    for number in range(10_000):
        yield bytes.fromhex("20010db8") + number.to_bytes(4) + bytes(7) + b"\1"


@pytest.mark.parametrize(
    "clients", [one_after_the_other, the_first_of_each_24, every_fourth, networks_of_one_provider]
)
@pytest.mark.parametrize("workers", [2, 3, 4, 16])
def test_ten_thousand_are_spread_within_a_tenth(clients: object, workers: int) -> None:
    assert callable(clients)
    shares = Counter(owner(client, workers) for client in clients())
    even = 10_000 / workers
    assert len(shares) == workers
    assert max(shares.values()) < even * 1.1
    assert min(shares.values()) > even * 0.9
