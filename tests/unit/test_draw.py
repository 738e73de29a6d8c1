"""Drawing by weight."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

import pytest

from support.pools import names, some_backends
from tcpbalance.pool.policies.draw import WeightedDraw, cheaper_of_two

DRAWS = 20000
WEIGHTS = (1, 2, 5)


def chance_of(*drawn: int) -> float:
    """How likely it is to draw these weights one after the other."""
    left, rng = sum(WEIGHTS), 1.0
    for weight in drawn:
        rng *= weight / left
        left -= weight
    return rng


def test_one_is_drawn_by_weight() -> None:
    draw = WeightedDraw(some_backends(*WEIGHTS), Random(1))
    drawn = Counter(draw.one().weight for _ in range(DRAWS))
    for weight in WEIGHTS:
        assert drawn[weight] / DRAWS == pytest.approx(chance_of(weight), abs=0.015)


def test_pairs_are_two_draws_without_putting_back() -> None:
    draw = WeightedDraw(some_backends(*WEIGHTS), Random(1))
    drawn = Counter(tuple(backend.weight for backend in draw.pair()) for _ in range(DRAWS))
    assert set(drawn) == set(permutations(WEIGHTS, 2))
    for pair, count in drawn.items():
        assert count / DRAWS == pytest.approx(chance_of(*pair), abs=0.015)


def test_the_rest_is_drawn_by_weight_too() -> None:
    draw = WeightedDraw(some_backends(*WEIGHTS), Random(1))
    drawn = Counter(tuple(backend.weight for backend in draw.others(())) for _ in range(DRAWS))
    for order, count in drawn.items():
        assert count / DRAWS == pytest.approx(chance_of(*order), abs=0.015)


def test_a_pair_of_one_is_one() -> None:
    backends = some_backends(3)
    assert WeightedDraw(backends, Random(1)).pair() == backends


def test_a_pair_is_two_however_heavy_one_is() -> None:
    draw = WeightedDraw(some_backends(256, 1), Random(1))
    assert all(len(set(draw.pair())) == 2 for _ in range(1000))


def test_the_cheaper_of_two_comes_first_then_the_other() -> None:
    backends = some_backends(1, 1)
    draw = WeightedDraw(backends, Random(1))
    assert {names(list(cheaper_of_two(draw, lambda backend: backend.active))) for _ in range(50)} == {
        "ab",
        "ba",
    }
    backends[0].active = 1
    assert {names(list(cheaper_of_two(draw, lambda backend: backend.active))) for _ in range(50)} == {"ba"}
