"""Looking at thousands of backends is cut into pieces, between which others are served."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance import Backend, Pool
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.control.exposition import expose
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.json_pieces import BYTES_A_PIECE, json_pieces
from tcpbalance.control.metrics import metrics_of
from tcpbalance.control.report import EVERYTHING, Entry, report_of, sum_of
from tcpbalance.control.view import View, shown_backend, shown_workers, view_of
from tcpbalance.workers.questions import write_answer

BACKENDS = 2000

CONFIG = Config(
    frontends={"front": FrontendConfig(listen="127.0.0.1:0", pool="web")},
    pools={"web": PoolConfig(backends=(BackendConfig(address="127.0.0.1:80"),))},
)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool("web", [Backend(f"10.0.{number // 250}.{number % 250}:80") for number in range(BACKENDS)])


@pytest.fixture(scope="module")
def entries(pool: Pool) -> list[Entry]:
    return at_once(report_of(EVERYTHING, {}, [pool], []))


@pytest.fixture(scope="module")
def view(pool: Pool, entries: list[Entry]) -> View:
    return at_once(view_of(CONFIG, [pool], dict(entries), EVERYTHING, shown, shown_workers(1)))


def shown(_: Pool, backend: Backend) -> dict[str, Any]:
    return shown_backend(backend, None, None)


def count(pieces: Generator[None, None, Any]) -> int:
    return sum(1 for _ in pieces)


def test_each_backend_is_a_piece_of_each_step(pool: Pool, entries: list[Entry]) -> None:
    assert count(report_of(EVERYTHING, {}, [pool], [])) >= BACKENDS
    assert count(sum_of([entries, entries])) >= 2 * BACKENDS
    assert count(view_of(CONFIG, [pool], dict(entries), EVERYTHING, shown, shown_workers(1))) >= BACKENDS
    assert count(write_answer(entries)) >= BACKENDS


def test_the_answer_goes_out_in_pieces(view: View) -> None:
    pieces = list(json_pieces({"pools": view["pools"]}))
    assert json.loads(b"".join(pieces)) == {"pools": view["pools"]}
    assert max(map(len, pieces)) < 2 * BYTES_A_PIECE
    assert len(pieces) > 20


def test_metrics_come_in_pieces(view: View) -> None:
    about = {"version": "1.2", "started": 1e9}
    assert len(list(expose(metrics_of(view, about), openmetrics=False))) > 100


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=60,
)


@given(VALUES)
def test_pieces_are_the_json_of_the_whole(value: object) -> None:
    assert b"".join(json_pieces(value)) == json.dumps(value, separators=(",", ":")).encode() + b"\n"
