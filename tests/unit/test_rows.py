"""What is counted has a row of its own, the same for as long as it is counted, and none is used for two."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.config import rules
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.counted import Key, counted
from tcpbalance.config.errors import BrokenRules
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.workers.rows import NoRowsError, Rows

LIMITED = BackendConfig(address="10.0.0.1:80", name="a", max_connections=3)
UNLIMITED = BackendConfig(address="10.0.0.2:80", name="b")


def a_config(frontend: dict[str, Any] | None = None, **pool: Any) -> Config:
    return Config(
        frontends={"web": FrontendConfig(**{"listen": "127.0.0.1:80", "pool": "web", **(frontend or {})})},
        pools={"web": PoolConfig(**{"backends": (LIMITED, UNLIMITED), **pool})},
    )


def counted_by(config: Config) -> dict[Key, int | None]:
    return counted(config.frontends, config.pools)


A, B = ("backend", "web", "a", "10.0.0.1:80"), ("backend", "web", "b", "10.0.0.2:80")


def test_a_backend_with_a_limit_is_counted() -> None:
    assert counted_by(a_config()) == {A: 3}


def test_the_others_where_the_policy_reads_their_load() -> None:
    both = {A: 3, B: None}
    assert counted_by(a_config(balance="least_connections")) == both
    assert counted_by(a_config(balance="source_hash", bounded_load=1.5)) == both
    assert counted_by(a_config(rebalance=RebalanceConfig(rate="10/s"))) == both
    assert counted_by(a_config(balance="random")) == {A: 3}


def test_a_queue_where_something_may_be_waited_for() -> None:
    assert counted_by(a_config(queue=5)) == {A: 3, ("queue", "web"): None, ("able", "web"): None}
    assert counted_by(a_config(backends=(UNLIMITED,))) == {}


def test_a_frontend_with_a_limit_which_a_dry_run_does_not_keep() -> None:
    limits = LimitsConfig(connections=7)
    web, paused = ("frontend", "web"), ("paused", "web")
    expected: dict[Key, int | None] = {A: 3, web: 7, paused: None}
    assert counted_by(a_config({"limits": limits})) == expected
    limits = LimitsConfig(connections=7, dry_run=True)
    assert counted_by(a_config({"limits": limits})) == {**expected, web: None}


def test_more_than_can_be_counted_are_refused_by_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_COUNTED", 3)
    enough = a_config(queue=5)
    message = (
        "workers: must be 1 where more than 3 backends, queues and frontends have a limit or a load that all "
        "workers count together, got 2 with 4 of them"
    )
    assert attrs.evolve(enough, workers=2).workers == 2
    with pytest.raises(BrokenRules, match=f"^{message}$"):
        attrs.evolve(a_config(queue=5, balance="least_connections"), workers=2)


def test_too_many_are_refused_and_nothing_has_changed() -> None:
    rows = Rows(2, lambda row: True)
    rows.add([("a",)])
    with pytest.raises(NoRowsError, match="3 backends, queues and frontends have a limit or a load"):
        rows.add([("a",), ("b",), ("c",)])
    assert list(rows.known) == [("a",)]
    rows.add([("b",)])


def test_rows_that_are_free_again_are_given_before_others() -> None:
    rows = Rows(100, lambda row: True)
    for number in range(20):
        rows.add([("a", str(number)), ("b", str(number))])
        rows.keep([("a", str(number)), ("b", str(number))])
    assert rows.end == 5


def test_what_comes_back_while_some_are_left_has_the_row_that_it_had() -> None:
    rows = Rows(3, lambda row: False)
    first = rows.add([("a",)])
    rows.keep([])
    rows.add([("b",)])
    assert rows.add([("a",)]) == first


NAMES = st.sets(st.sampled_from("abcdef"))


@given(st.lists(st.tuples(NAMES, NAMES), max_size=20))
def test_no_row_is_given_twice(changes: list[tuple[set[str], set[str]]]) -> None:
    in_use: set[int] = set()
    rows = Rows(6, lambda row: row not in in_use)
    before: dict[Any, int] = {}
    for names, used in changes:
        try:
            rows.add([(name,) for name in names])
        except NoRowsError:
            assert len(in_use | set(before.values())) + len(names) > 6
            continue
        assert before.items() <= rows.known.items()
        assert len(set(rows.known.values())) == len(rows.known)
        added = {row for key, row in rows.known.items() if key not in before}
        was_left = {row for key, row in rows.known.items() if key not in before and row in in_use}
        assert was_left <= added
        gone = rows.keep([(name,) for name in names])
        assert rows.known.keys() == {(name,) for name in names}
        in_use = {row for key, row in gone.items() if key[0] in used} | (in_use - set(rows.known.values()))
        before = dict(rows.known)
