"""Affinity by cookie: the rules of the table of clients, and nothing to be learnt from a value."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.config.cookies import AffinityCookieConfig, CookieConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.errors import SettingError
from tcpbalance.pool.affinity import Affinity
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.cookie_affinity import CookieAffinity, StickyClient
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool

CLIENT = bytes((192, 0, 2, 1))
SECRET = "0123456789abcdef"
BACKENDS = [
    *(Backend(f"10.0.0.{number}:80") for number in (1, 2, 3)),
    Backend("10.0.0.4:80", backup=True),
]


def affinity(pool: str = "web", backends: list[Backend] = BACKENDS, **keys: Any) -> CookieAffinity:
    made = CookieAffinity(pool, AffinityCookieConfig(**{"secret": SECRET, **keys}))
    made.adopt(backends)
    return made


def value_of(cookies: CookieAffinity, backend: Backend) -> bytes:
    value = cookies.value_after(StickyClient.of(CLIENT, ()), backend)
    assert value is not None
    return value


def pool_of(*backends: Backend, **keys: Any) -> Pool:
    config = AffinityConfig(by="cookie", cookie=AffinityCookieConfig(secret=SECRET))
    return Pool("web", backends, balance=RoundRobin, affinity=config, **keys)


def client_of(pool: Pool, backend: Backend) -> bytes:
    assert pool.cookie_affinity is not None
    return pool.cookie_affinity.client(CLIENT, value_of(pool.cookie_affinity, backend))


@given(st.lists(st.sampled_from(BACKENDS)))
def test_a_cookie_says_what_the_table_of_clients_would(served_by: list[Backend]) -> None:
    cookies, table, value = affinity(), Affinity(AffinityConfig(), Clock().seconds), None
    for backend in served_by:
        client = cookies.client(CLIENT, value)
        value = cookies.value_after(client, backend) or value
        table.closed(table.opened(CLIENT, backend))
        assert list(cookies.lookup(cookies.client(CLIENT, value))) == list(table.lookup(CLIENT))


def test_a_client_that_comes_back_to_its_backend_has_its_cookie_already() -> None:
    cookies = affinity()
    client = cookies.client(CLIENT, value_of(cookies, BACKENDS[0]))
    assert cookies.value_after(client, BACKENDS[0]) is None
    assert cookies.value_after(client, BACKENDS[1]) is not None


@given(
    st.none()
    | st.binary(max_size=40)
    | st.text("0123456789abcdef.", max_size=40).map(str.encode)
    | st.text("0123456789abcdef", min_size=16, max_size=16).map(str.encode)
)
def test_what_is_not_known_counts_like_none(value: bytes | None) -> None:
    cookies = affinity()
    client = cookies.client(CLIENT, value)
    assert (client, cookies.lookup(client)) == (CLIENT, ())


def test_no_backend_is_named_twice() -> None:
    cookies = affinity()
    value = value_of(cookies, BACKENDS[0])
    assert cookies.client(CLIENT, b"%b.%b" % (value, value)).sticky == (BACKENDS[0],)


def test_a_backend_that_is_gone_counts_like_none_and_the_other_stays() -> None:
    cookies = affinity()
    value = cookies.value_after(cookies.client(CLIENT, value_of(cookies, BACKENDS[0])), BACKENDS[1])
    cookies.adopt(BACKENDS[1:])
    assert cookies.client(CLIENT, value).sticky == (BACKENDS[1],)
    cookies.adopt(BACKENDS[2:])
    assert cookies.client(CLIENT, value).sticky == ()


def test_values_depend_on_pool_name_and_secret_and_on_nothing_else() -> None:
    value = value_of(affinity(), BACKENDS[0])
    assert re.fullmatch(rb"[0-9a-f]{16}", value)
    assert value == value_of(affinity(backends=[BACKENDS[0]], name="other", ttl="1h"), BACKENDS[0])
    assert value != value_of(affinity("api"), BACKENDS[0])
    assert value != value_of(affinity(secret=SECRET[::-1]), BACKENDS[0])
    assert value != value_of(affinity(), BACKENDS[1])


def test_without_a_secret_there_is_one_of_the_process() -> None:
    one, other = affinity(secret=None), affinity(secret=None)
    assert value_of(one, BACKENDS[0]) == value_of(other, BACKENDS[0])
    assert value_of(one, BACKENDS[0]) != value_of(affinity(), BACKENDS[0])


def test_each_pool_has_its_cookie() -> None:
    names = {affinity(pool).name for pool in ("web", "api", "a b")}
    assert len(names) == 3
    assert all(re.fullmatch("tcpbalance_[0-9a-f]{8}", name) for name in names)
    assert affinity(name="backend").name == "backend"


def test_a_client_without_an_address_has_a_cookie_all_the_same() -> None:
    cookies = affinity()
    client = cookies.client(None, value_of(cookies, BACKENDS[0]))
    assert (client, client.sticky) == (b"", (BACKENDS[0],))


# In a pool


def test_a_known_client_goes_to_its_backend_and_another_where_the_policy_says() -> None:
    pool = pool_of("10.0.0.1:80", "10.0.0.2:80")  # type: ignore[arg-type]
    first, second = pool.backends
    for _ in range(3):
        assert pool.selection.choose(client_of(pool, second))[0] is second
    assert [pool.selection.choose(CLIENT)[0] for _ in range(2)] == [first, second]


def test_a_backend_that_is_drained_still_gets_its_clients_and_one_that_is_down_not() -> None:
    pool = pool_of("10.0.0.1:80", "10.0.0.2:80", health="external")  # type: ignore[arg-type]
    first, second = pool.backends
    pool.mark_up(first)
    pool.mark_up(second)
    client = client_of(pool, second)
    pool.set_admin_state(second, AdminState.DRAIN)
    assert pool.selection.choose(client)[0] is second
    assert pool.selection.choose(CLIENT)[0] is first
    pool.mark_down(second, "refused")
    assert pool.selection.choose(client)[0] is first


def test_the_backends_of_a_pool_are_known_however_it_changes() -> None:
    pool = pool_of("10.0.0.1:80", "10.0.0.2:80")  # type: ignore[arg-type]
    first, second = pool.backends
    client = client_of(pool, second)
    pool.replace(["10.0.0.3:80", second])
    assert pool.selection.choose(client)[0] is second
    assert pool.cookie_affinity is not None
    assert pool.cookie_affinity.client(CLIENT, value_of(pool.cookie_affinity, first)).sticky == ()


def test_no_table_of_clients_is_kept() -> None:
    pool = pool_of("10.0.0.1:80")  # type: ignore[arg-type]
    slot = pool.take(pool.backends[0], client_of(pool, pool.backends[0]))
    slot.connected(0.0)
    slot.release()
    assert pool.affinity is None


# Configuration


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"same_site": "none"}, "must be true with same_site"),
        ({"name": "__Host-a"}, "must be true with the name __Host-a"),
        ({"name": "a=b"}, 'must be the name of a cookie such as "backend"'),
        ({"name": ""}, 'must be the name of a cookie such as "backend"'),
        ({"ttl": "0s"}, "must be at least 1s"),
        ({"ttl": "forever"}, 'must be "session" or a duration'),
        ({"same_site": "no"}, 'must be one of "lax", "strict" or "none"'),
    ],
)
def test_cookies_that_make_no_sense(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        CookieConfig(**keys)


def test_how_long_browsers_keep_it() -> None:
    assert [CookieConfig(ttl=ttl).ttl.max_age for ttl in ("session", "1500ms", 3600)] == [None, 2, 3600]
    assert str(CookieConfig().ttl) == "session"


def test_a_secret_has_to_be_long() -> None:
    with pytest.raises(SettingError, match="must have at least 16 characters"):
        AffinityCookieConfig(secret="0123456789abcde")
