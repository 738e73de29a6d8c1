"""Clients that are known again by a cookie: at which backend, and at which pool of a route."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.http_scene import GET, HELLO, ONE, TWO, HttpScene, only_for
from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.cookies import AffinityCookieConfig, CookieConfig
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.http.routes import PoolsCookie, Route
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.weighted_pools import WeightedPools
from tcpbalance.wire.http.cookie import CookieReader
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.head_reader import RequestReader

MakeScene = Callable[..., HttpScene]

BY_COOKIE = AffinityConfig(by="cookie", cookie=AffinityCookieConfig(name="backend"))


def get(*cookies: str, **fields: str) -> bytes:
    """Give a request with these lines of cookies."""
    lines = [f"Cookie: {cookie}" for cookie in cookies]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(["GET / HTTP/1.1", "Host: www.example.com", *lines, "", ""]).encode("latin-1")


def set_by(received: bytes) -> dict[str, str]:
    """Give the cookies that the last response sets, each with its attributes behind its value."""
    head = received.rpartition(b"HTTP/1.1 ")[2].decode()
    return dict(re.findall(r"Set-Cookie: ([^=]+)=([^\r]*)\r\n", head))


def answer(scene: HttpScene, address: str, response: bytes = HELLO) -> None:
    """Have the backend answer that was asked last."""
    scene.send(scene.backends[address].connections[-1], response)


def ask(scene: HttpScene, request: bytes) -> tuple[str, dict[str, str]]:
    """Send a request on a connection of its own, and have it answered.

    :returns: the backend that has got it, and the cookies that the response sets.
    """
    before = {connection: len(connection.received) for connection in scene.connections}
    client = scene.connect(request)
    asked = [it for it in scene.connections if len(it.received) > before.get(it, 0)]
    scene.send(asked[0], HELLO)
    assert (len(asked), client.received[-5:]) == (1, b"hello")
    (address,) = [name for name, backend in scene.backends.items() if asked[0] in backend.connections]
    return address, set_by(client.received)


def test_a_client_comes_back_to_the_backend_that_its_cookie_names(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=BY_COOKIE)
    first, cookies = ask(scene, GET)
    value = cookies["backend"].partition(";")[0]
    assert re.fullmatch(r"[0-9a-f]{16}; Path=/; HttpOnly; SameSite=Lax", cookies["backend"])
    assert [ask(scene, get(f"backend={value}")) for _ in range(4)] == [(first, {})] * 4
    assert {ask(scene, GET)[0] for _ in range(2)} == {ONE, TWO}


def test_with_a_cookie_of_ours_no_cache_keeps_the_response_for_others(make_scene: MakeScene) -> None:
    scene = make_scene(affinity=BY_COOKIE)
    client = scene.connect(GET)
    answer(scene, ONE, HELLO.replace(b"\r\n\r\n", b"\r\nCache-Control: max-age=60\r\n\r\n"))
    assert client.received.count(b"\r\nCache-Control: ") == 2
    assert b"\r\nCache-Control: private\r\n" in client.received
    value = set_by(client.received)["backend"].partition(";")[0]
    scene.send(client, get(f"backend={value}"))
    answer(scene, ONE)
    assert client.received.count(b"Cache-Control: private") == 1


@pytest.mark.parametrize("value", ["0123456789abcdef", "", "x" * 300, "a.b", '"', "%00", "\xe9"])
def test_a_forged_cookie_counts_like_none(make_scene: MakeScene, value: str) -> None:
    scene = make_scene((ONE, TWO), affinity=BY_COOKIE)
    found = [ask(scene, get(f"backend={value}")) for _ in range(2)]
    assert {address for address, _ in found} == {ONE, TWO}
    assert all(cookies["backend"] for _, cookies in found)


def test_a_cookie_of_an_earlier_start_counts_like_none(make_scene: MakeScene) -> None:
    old = AffinityConfig(by="cookie", cookie=AffinityCookieConfig(name="backend", secret="a" * 16))
    _, cookies = ask(make_scene((ONE, TWO), affinity=old), GET)
    value = cookies["backend"].partition(";")[0]
    scene = make_scene((ONE, TWO), affinity=BY_COOKIE)
    assert ask(scene, get(f"backend={value}"))[1]["backend"]


def test_backends_get_the_cookies_of_their_clients_byte_by_byte(make_scene: MakeScene) -> None:
    scene = make_scene(affinity=BY_COOKIE)
    _, cookies = ask(scene, GET)
    value = cookies["backend"].partition(";")[0]
    lines = [f'a="1 2" ;b ;backend={value};;c=\xe9', "d=4;backend=5; e="]
    ask(scene, get(*lines))
    received = scene.connections[-1].received
    assert all(f"\r\nCookie: {line}\r\n".encode("latin-1") in received for line in lines)


def test_a_client_of_a_backend_that_is_away_has_another_and_goes_back(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=BY_COOKIE, health="external")
    for backend in scene.pool.backends:
        scene.pool.mark_up(backend)
    home, cookies = ask(scene, GET)
    (backend,) = [backend for backend in scene.pool.backends if backend.name == home]
    value = cookies["backend"].partition(";")[0]
    scene.pool.mark_down(backend, "refused")
    other, cookies = ask(scene, get(f"backend={value}"))
    both = cookies["backend"].partition(";")[0]
    assert (other != home, both.startswith(f"{value}.")) == (True, True)
    assert ask(scene, get(f"backend={both}")) == (other, {})
    scene.pool.mark_up(backend)
    scene.pool.set_admin_state(backend, AdminState.DRAIN)
    assert [ask(scene, get(f"backend={both}")) for _ in range(2)] == [(home, {})] * 2
    assert [ask(scene, GET)[0] for _ in range(2)] == [other] * 2


def test_the_backend_that_has_answered_in_the_end_is_the_one_that_is_named(make_scene: MakeScene) -> None:
    scene = make_scene({ONE: "refuses", TWO: "accepts"}, affinity=BY_COOKIE)
    address, cookies = ask(scene, GET)
    assert address == TWO
    assert ask(scene, get(f"backend={cookies['backend'].partition(';')[0]}")) == (TWO, {})


PROXIES = NetworkSet([ip_network("198.51.100.0/24")])


@pytest.mark.parametrize(
    ("keys", "scheme", "attributes"),
    [
        ({}, "http", "Path=/; HttpOnly; SameSite=Lax"),
        ({}, "https", "Path=/; Secure; HttpOnly; SameSite=Lax"),
        ({"secure": False}, "https", "Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": True, "same_site": "none"}, "http", "Path=/; Secure; HttpOnly; SameSite=None"),
        ({"ttl": "1h", "same_site": "strict"}, "http", "Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"),
    ],
)
def test_what_browsers_are_told_of_the_cookie(
    make_scene: MakeScene, keys: dict[str, Any], scheme: str, attributes: str
) -> None:
    cookie = AffinityCookieConfig(name="backend", **keys)
    scene = make_scene(affinity=AffinityConfig(by="cookie", cookie=cookie), http={"trust": PROXIES})
    _, cookies = ask(scene, get(X_Forwarded_For="192.0.2.1", X_Forwarded_Proto=scheme))
    assert cookies["backend"].partition("; ")[2] == attributes


def value_in(cookies: dict[str, str], name: str = "backend") -> str:
    """Give what a client sends of the cookies that it was given."""
    return f"{name}={cookies[name].partition(';')[0]}"


HOUR = AffinityConfig(by="cookie", cookie=AffinityCookieConfig(name="backend", ttl="1h"))


def test_a_cookie_that_is_kept_for_a_time_is_set_anew_after_half_of_it(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR)
    home, first = ask(scene, GET)
    scene.advance(1790.0)
    assert ask(scene, get(value_in(first))) == (home, {})
    scene.advance(20.0)
    address, second = ask(scene, get(value_in(first)))
    assert (address, value_in(second) == value_in(first)) == (home, False)
    assert second["backend"].partition("; ")[2] == "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
    scene.advance(1700.0)
    assert ask(scene, get(value_in(second))) == (home, {})


def test_a_client_that_comes_each_half_hour_stays_for_days(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR)
    home, cookies = ask(scene, GET)
    for _ in range(100):
        scene.advance(1801.0)
        assert ask(scene, GET)[0] in (ONE, TWO)
        address, cookies = ask(scene, get(value_in(cookies)))
        assert address == home


def test_one_without_its_time_is_known_and_set_anew(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR)
    home, cookies = ask(scene, GET)
    bare = value_in(cookies).partition("-")[0]
    for sent in (bare, f"{bare}-ffffffffff"):
        address, renewed = ask(scene, get(sent))
        assert (address, value_in(renewed)) == (home, value_in(cookies))


def test_one_that_names_a_fallback_is_renewed_as_it_is(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR, health="external")
    for backend in scene.pool.backends:
        scene.pool.mark_up(backend)
    home, cookies = ask(scene, GET)
    (backend,) = [backend for backend in scene.pool.backends if backend.name == home]
    scene.pool.mark_down(backend, "refused")
    other, both = ask(scene, get(value_in(cookies)))
    scene.advance(1801.0)
    address, renewed = ask(scene, get(value_in(both)))
    assert (address, value_in(renewed).partition("-")[0]) == (other, value_in(both).partition("-")[0])
    scene.pool.mark_up(backend)
    assert ask(scene, get(value_in(renewed))) == (home, {})


@pytest.mark.parametrize("value", ["-", "-1", "0123456789abcdef-", "a-b-c", "-ffffffffffffffffff", "\xe9-1"])
def test_a_forged_time_does_no_harm(make_scene: MakeScene, value: str) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR)
    found = [ask(scene, get(f"backend={value}")) for _ in range(2)]
    assert {address for address, _ in found} == {ONE, TWO}
    assert all(cookies["backend"] for _, cookies in found)


def test_the_half_of_a_value_that_is_not_known_is_not_sent_back(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), affinity=HOUR)
    home, cookies = ask(scene, GET)
    known = value_in(cookies).partition("-")[0]
    address, renewed = ask(scene, get(f"{known}.{'x' * 16}-0", a="b"))
    assert address == home
    scene.advance(3000.0)
    assert value_in(ask(scene, get(f"{known}.{'x' * 16}-0"))[1]).partition("-")[0] == known
    assert renewed == {}


def test_the_switch_to_another_protocol_sets_it_as_well(make_scene: MakeScene) -> None:
    scene = make_scene(affinity=BY_COOKIE)
    client = scene.connect(get(Connection="Upgrade", Upgrade="websocket"))
    answer(
        scene, ONE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    )
    assert set_by(client.received)["backend"]


def test_an_interim_response_and_an_answer_of_ours_set_none(make_scene: MakeScene) -> None:
    scene = make_scene(affinity=BY_COOKIE)
    client = scene.connect(GET)
    answer(scene, ONE, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert b"Set-Cookie" not in client.received
    scene.connection.reset()
    scene.run()
    assert b"HTTP/1.1 502 " in client.received
    assert b"Set-Cookie" not in client.received


# Several pools


def shared(
    cookie: CookieConfig | None, affinity: AffinityConfig | None = None, **weights: int
) -> Callable[[Pool], Sequence[tuple[HttpRouteConfig, Route]]]:
    """Give the routes of a scene: one to two pools of one backend each, by cookie."""

    def routes(pool: Pool) -> Sequence[tuple[HttpRouteConfig, Route]]:
        pools = {
            Pool(name, [Backend(address)], clock=pool.clock, affinity=affinity): weights[name]
            for name, address in (("stable", ONE), ("canary", TWO))
        }
        known = None if cookie is None else PoolsCookie(cookie)
        return [(only_for(), Route(name="site", pools=WeightedPools(pools), pools_cookie=known))]

    return routes


def test_a_client_stays_with_the_pool_that_its_cookie_leads_to(make_scene: MakeScene) -> None:
    scene = make_scene((ONE, TWO), routes=shared(CookieConfig(), stable=50, canary=50), has_default=False)
    found = [ask(scene, GET) for _ in range(12)]
    assert {address for address, _ in found} == {ONE, TWO}
    for address, cookies in found:
        value = cookies["tcpbalance_pools"].partition(";")[0]
        assert re.fullmatch("[0-9a-f]{6}", value)
        assert ask(scene, get(f"tcpbalance_pools={value}")) == (address, {})


def test_the_cookie_of_a_pool_is_renewed_while_its_client_comes(make_scene: MakeScene) -> None:
    routes = shared(CookieConfig(ttl="1h"), stable=50, canary=50)
    scene = make_scene((ONE, TWO), routes=routes, has_default=False)
    home, cookies = ask(scene, GET)
    name = "tcpbalance_pools"
    assert ask(scene, get(value_in(cookies, name))) == (home, {})
    for _ in range(10):
        scene.advance(1801.0)
        address, renewed = ask(scene, get(value_in(cookies, name)))
        assert (address, renewed[name].partition("-")[0]) == (home, cookies[name].partition("-")[0])
        cookies = renewed


def test_another_weight_moves_no_more_cookies_than_it_has_to(make_scene: MakeScene) -> None:
    before = make_scene((ONE, TWO), routes=shared(CookieConfig(), stable=90, canary=10), has_default=False)
    after = make_scene((ONE, TWO), routes=shared(CookieConfig(), stable=50, canary=50), has_default=False)
    moved = set()
    for number in range(0, 0xFFFFFF, 0xFFFFFF // 40):
        request = get(f"tcpbalance_pools={number:06x}")
        moved.add((ask(before, request)[0], ask(after, request)[0]))
    assert moved == {(ONE, ONE), (ONE, TWO), (TWO, TWO)}


@pytest.mark.parametrize("value", ["", "12345", "1234567", "12345G", "12 456", "-12345"])
def test_what_was_never_drawn_is_drawn_anew(make_scene: MakeScene, value: str) -> None:
    scene = make_scene((ONE, TWO), routes=shared(CookieConfig(), stable=50, canary=50), has_default=False)
    assert ask(scene, get(f"tcpbalance_pools={value}"))[1]["tcpbalance_pools"]


def test_a_client_may_have_a_cookie_for_its_pool_and_one_for_its_backend(make_scene: MakeScene) -> None:
    routes = shared(CookieConfig(name="version"), BY_COOKIE, stable=0, canary=1)
    scene = make_scene((ONE, TWO), routes=routes, has_default=False)
    client = scene.connect(GET)
    answer(scene, TWO)
    cookies = {name: value.partition(";")[0] for name, value in set_by(client.received).items()}
    assert cookies.keys() == {"version", "backend"}
    assert client.received.count(b"Cache-Control: private") == 1
    both = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert ask(scene, get(both)) == (TWO, {})


def test_a_pool_by_address_and_a_backend_by_cookie(make_scene: MakeScene) -> None:
    routes = shared(None, BY_COOKIE, stable=1, canary=0)
    scene = make_scene((ONE, TWO), routes=routes, has_default=False)
    assert ask(scene, GET)[1].keys() == {"backend"}


@given(st.lists(st.text("ab=;, \t\"'", max_size=20), max_size=4), st.sampled_from(["a", "b", "ab"]))
def test_the_value_that_is_found_is_the_one_behind_the_name(lines: list[str], name: str) -> None:
    head = RequestReader(HeadLimits(32 * 1024, 100)).read(get(*lines))
    assert head is not None
    found = CookieReader(name.encode()).read(head)
    pairs = [pair.strip(" \t").partition("=") for line in lines for pair in line.strip(" \t").split(";")]
    values = [value.strip(" \t") for its, equals, value in pairs if equals and its.rstrip(" \t") == name]
    expected = values[0].removeprefix('"').removesuffix('"').encode() if values else None
    assert found == expected
