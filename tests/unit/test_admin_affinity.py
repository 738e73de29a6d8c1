"""What is remembered of clients, as an operator sees it and has it forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.config.pools import AffinityConfig
from tcpbalance.control.affinity import (
    forget_affinity,
    list_affinity,
    read_affinity_query,
    read_what_to_forget,
)
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.finding import check_names
from tcpbalance.control.in_pieces import at_once
from tcpbalance.pool.affinity import FORGOTTEN_AT_ONCE
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool

TTL = 60.0
ANNE, BOB, CARL = bytes((203, 0, 113, 7)), bytes((203, 0, 113, 8)), b"\x20\x01\x0d\xb8" + bytes(12)


class Stage:
    """Two pools with affinity, at a clock that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.pools = [self._pool(name, settings) for name in ("web", "api")]
        self.pools.append(Pool("plain", [Backend("127.0.0.1:90", "x")]))

    def _pool(self, name: str, settings: dict[str, Any]) -> Pool:
        backends = [Backend(f"127.0.0.1:{80 + number}", its) for number, its in enumerate("ab")]
        config = AffinityConfig(ttl=TTL, **settings)
        return Pool(name, backends, affinity=config, clock=self.clock.seconds)

    def visit(self, pool: int, client: bytes, backend: int, *, stays: bool = False) -> None:
        affinity = self.pools[pool].affinity
        assert affinity is not None
        entry = affinity.opened(client, self.pools[pool].backends[backend])
        if not stays:
            affinity.closed(entry)

    def page(self, **query: str) -> Any:
        return at_once(list_affinity(self.pools, read_affinity_query(query)))

    def clients(self, **query: str) -> list[tuple[str, str]]:
        return [(entry["pool"], entry["client"]) for entry in self.page(**query)["affinity"]]

    def forget(self, **query: str) -> int:
        return at_once(forget_affinity(self.pools, read_what_to_forget(query)))


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.visit(0, ANNE, 0)
    made.visit(0, BOB, 1, stays=True)
    made.visit(1, ANNE, 1)
    made.visit(1, CARL, 1)
    return made


def test_each_client_is_shown_with_its_backend_and_the_time_that_is_left(stage: Stage) -> None:
    stage.clock.advance(20.0)
    assert stage.page(pool="web") == {
        "affinity": [
            {
                "pool": "web",
                "client": "203.0.113.7",
                "backend": "a",
                "connected": False,
                "seconds": 40.0,
                "fallback": None,
            },
            {
                "pool": "web",
                "client": "203.0.113.8",
                "backend": "b",
                "connected": True,
                "seconds": None,
                "fallback": None,
            },
        ],
        "next": None,
    }


def test_a_fallback_is_shown(stage: Stage) -> None:
    stage.visit(0, ANNE, 1)
    (entry,) = stage.page(pool="web", client="203.0.113.7")["affinity"]
    assert (entry["backend"], entry["fallback"]["backend"]) == ("a", "b")
    assert stage.clients(pool="web", backend="b") == [("web", "203.0.113.7"), ("web", "203.0.113.8")]


def test_what_has_expired_is_not_shown(stage: Stage) -> None:
    stage.clock.advance(TTL)
    assert stage.clients() == [("web", "203.0.113.8")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (
            {},
            [
                ("api", "203.0.113.7"),
                ("api", "2001:db8::/64"),
                ("web", "203.0.113.7"),
                ("web", "203.0.113.8"),
            ],
        ),
        ({"pool": "plain"}, []),
        ({"client": "203.0.113.7"}, [("api", "203.0.113.7"), ("web", "203.0.113.7")]),
        ({"client": "2001:db8::17"}, [("api", "2001:db8::/64")]),
        ({"client": "2001:db8::/32"}, [("api", "2001:db8::/64")]),
        ({"client": "203.0.113.8/31", "pool": "web"}, [("web", "203.0.113.8")]),
        ({"backend": "a"}, [("web", "203.0.113.7")]),
    ],
)
def test_what_is_given_selects(stage: Stage, query: dict[str, str], found: list[tuple[str, str]]) -> None:
    assert sorted(stage.clients(**query)) == sorted(found)


def test_where_clients_are_networks_an_address_finds_its_own() -> None:
    stage = Stage(ipv4_prefix=24)
    stage.visit(0, ANNE, 0)
    assert stage.clients(client="203.0.113.99") == [("web", "203.0.113.0/24")]
    assert stage.clients(client="203.0.114.99") == []


@given(st.sets(st.integers(0, 40), max_size=20), st.sets(st.integers(0, 40), max_size=20), st.integers(1, 7))
def test_the_pages_together_have_each_client_once(web: set[int], api: set[int], limit: int) -> None:
    stage = Stage()
    for pool, hosts in enumerate((web, api)):
        for host in hosts:
            stage.visit(pool, bytes((10, 0, 0, host)), 0)
    found: list[tuple[str, str]] = []
    query = {"limit": str(limit)}
    while True:
        page = stage.page(**query)
        found += [(entry["pool"], entry["client"]) for entry in page["affinity"]]
        if page["next"] is None:
            break
        assert len(page["affinity"]) == limit
        query["after"] = page["next"]
    expected = [("api", f"10.0.0.{host}") for host in sorted(api)]
    assert found == expected + [("web", f"10.0.0.{host}") for host in sorted(web)]


def test_a_client_is_forgotten_in_all_pools_or_in_one(stage: Stage) -> None:
    assert stage.forget(client="203.0.113.7", pool="web") == 1
    assert stage.clients(client="203.0.113.7") == [("api", "203.0.113.7")]
    stage.visit(0, ANNE, 0)
    assert stage.forget(client="203.0.113.0/24") == 3
    assert stage.clients() == [("api", "2001:db8::/64")]


def test_the_clients_of_a_backend_are_forgotten(stage: Stage) -> None:
    assert stage.forget(backend="b", pool="api") == 2
    assert sorted(stage.clients()) == [("web", "203.0.113.7"), ("web", "203.0.113.8")]


def test_many_are_forgotten_in_pieces() -> None:
    stage = Stage(max_entries=3 * FORGOTTEN_AT_ONCE)
    for number in range(2 * FORGOTTEN_AT_ONCE):
        stage.visit(0, number.to_bytes(4), 0)
    pieces = forget_affinity(stage.pools, read_what_to_forget({"pool": "web"}))
    next(pieces)
    assert len(stage.pools[0].affinity or ()) == FORGOTTEN_AT_ONCE
    assert at_once(pieces) == 2 * FORGOTTEN_AT_ONCE
    assert len(stage.pools[0].affinity or ()) == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"client": "a client"}, "client must be a network"),
        ({"limit": "many"}, "limit must be a whole number"),
        ({"after": "17"}, 'after must be what "next" of the page before says, got "17"'),
        ({"after": "zz:web"}, "after must be what"),
        ({"pools": "web"}, 'did you mean "pool"?'),
    ],
)
def test_what_makes_no_sense_is_refused(query: dict[str, str], message: str) -> None:
    with pytest.raises(ApiError) as error:
        read_affinity_query(query)
    assert (error.value.status, message in str(error.value)) == (400, True)


def test_all_is_not_forgotten_by_mistake() -> None:
    with pytest.raises(ApiError, match="give pool, client or backend"):
        read_what_to_forget({})


def test_names_that_there_are_not(stage: Stage) -> None:
    check_names(stage.pools, None, None)
    check_names(stage.pools, "web", "a")
    check_names(stage.pools, None, "x")
    with pytest.raises(ApiError, match="no pool is named"):
        check_names(stage.pools, "wep", None)
    with pytest.raises(ApiError, match="no backend is named"):
        check_names(stage.pools, "web", "x")
    with pytest.raises(ApiError, match="no backend is named"):
        check_names(stage.pools, None, "c")
