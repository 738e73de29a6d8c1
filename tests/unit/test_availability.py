"""Three facts of a backend, and what they come to."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from support.pools import a_pool, choices, some_backends
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.members import Members

ANNE = b"\xc0\0\2\1"


def stands(
    backend: Backend, *, up: bool = True, ejected: bool = False, admin_state: AdminState = AdminState.READY
) -> None:
    backend.up, backend.ejected, backend.admin_state = up, ejected, admin_state


@pytest.mark.parametrize(
    ("up", "ejected", "admin_state", "word"),
    [
        (True, False, AdminState.READY, "up"),
        (True, True, AdminState.READY, "ejected"),
        (False, False, AdminState.READY, "down"),
        (False, True, AdminState.READY, "down"),
        (True, False, AdminState.DRAIN, "draining"),
        (False, True, AdminState.DRAIN, "draining"),
        (True, False, AdminState.MAINTENANCE, "maintenance"),
        (False, True, AdminState.MAINTENANCE, "maintenance"),
    ],
)
def test_one_word_sums_them_up(up: bool, ejected: bool, admin_state: AdminState, word: str) -> None:
    first, second = some_backends(1, 1)
    stands(first, up=up, ejected=ejected, admin_state=admin_state)
    Availability("web", Members((first, second)))
    assert (first.state, first.available) == (word, word == "up")


def test_ejection_is_ignored_where_nobody_else_is_left() -> None:
    first, second = some_backends(1, 1)
    stands(first, ejected=True)
    stands(second, up=False)
    Availability("web", Members((first, second)))
    assert (first.available, second.available) == (True, False)


def test_in_a_panic_health_and_ejection_are_ignored_and_orders_are_not() -> None:
    backends = some_backends(1, 1, 1, 1)
    stands(backends[0], ejected=True)
    stands(backends[1], up=False)
    stands(backends[2], admin_state=AdminState.MAINTENANCE)
    Availability("web", Members(tuple(backends), panic_below=2.0))
    assert [backend.available for backend in backends] == [True, True, False, True]


def test_what_is_drained_takes_only_clients_of_its_own() -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, affinity=AffinityConfig(ttl=60.0, max_entries=100))
    home = pool.backends[1]
    pool.take(home, ANNE).connected(0.001)
    pool.set_admin_state(home, AdminState.DRAIN)
    assert (choices(pool, ANNE), choices(pool)) == ("ba", "a")
    pool.set_admin_state(home, AdminState.MAINTENANCE)
    assert choices(pool, ANNE) == "a"
    pool.set_admin_state(home, AdminState.READY)
    assert choices(pool, ANNE) == "ba"


def test_what_is_drained_and_down_takes_nobody() -> None:
    clock = Clock()
    pool = a_pool(some_backends(1, 1), clock, affinity=AffinityConfig(ttl=60.0, max_entries=100))
    home = pool.backends[1]
    pool.take(home, ANNE).connected(0.001)
    pool.set_admin_state(home, AdminState.DRAIN)
    pool.mark_down(home, "refused")
    assert choices(pool, ANNE) == "a"
