"""A connection costs no more than it did: byte codes and calls of functions, counted on sockets in memory.

``make cost`` prints what they are now. Where a change saves some, lower the figures here.
"""

from __future__ import annotations

import pytest

from support.byte_codes import HAS_BYTE_CODES, Cost, Stage, cost, costs

FIGURES = {
    "native connection": Cost(2333, 65),
    "native connection, a queue": Cost(2391, 69),
    "native connection with a PROXY header": Cost(7312, 274),
    "native, ten further requests": Cost(4540, 120),
    "native connection over TLS": Cost(4373, 144),
    "native, ten further requests over TLS": Cost(5810, 140),
    "portable connection": Cost(4136, 185),
    "portable, ten further requests": Cost(1810, 100),
    "HTTP request": Cost(2678, 63),
    "HTTP request of a browser": Cost(2720, 64),
    "HTTP request with a body": Cost(3723, 113),
    "refusal": Cost(337, 13),
    "text line of the access log": Cost(179, 3),
    "text line of the access log, TLS": Cost(187, 3),
    "JSON line of the access log": Cost(184, 3),
    "text line of a request": Cost(324, 7),
    "JSON line of a request": Cost(322, 6),
    "combined line of a request": Cost(130, 3),
}

SLACK = 1.02
"""So much more than its figure may be executed, for a small fix."""


@pytest.fixture(scope="module")
def counted() -> dict[str, Cost]:
    return costs()


@pytest.mark.parametrize("name", FIGURES)
def test_as_many_functions_are_called_as_before(counted: dict[str, Cost], name: str) -> None:
    assert counted[name].calls <= FIGURES[name].calls * SLACK


@pytest.mark.skipif(not HAS_BYTE_CODES, reason="the byte codes of CPython 3.11 alone can be counted")
@pytest.mark.parametrize("name", FIGURES)
def test_as_many_byte_codes_are_executed_as_before(counted: dict[str, Cost], name: str) -> None:
    assert counted[name].byte_codes <= FIGURES[name].byte_codes * SLACK


def test_there_is_a_figure_for_all_that_is_counted(counted: dict[str, Cost]) -> None:
    assert counted.keys() == FIGURES.keys()


def test_every_run_gives_the_same_figures(counted: dict[str, Cost]) -> None:
    assert costs() == counted


def test_only_the_package_counts() -> None:
    assert cost(lambda: sorted(range(100), key=lambda number: -number)) == (0, 0)


def test_each_connection_counts() -> None:
    stage = Stage()

    def twice() -> None:
        stage.connection()
        stage.connection()

    twice()
    assert cost(twice) == tuple(2 * figure for figure in cost(stage.connection))
