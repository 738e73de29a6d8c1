"""Which route a request takes: as a slow search through all routes says, and quickly whatever there is."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http_rules import broken_for_http
from tcpbalance.config.route_values import RedirectTarget
from tcpbalance.config.routes import ANY_VALUE, HttpRouteConfig, RedirectConfig
from tcpbalance.http.routes import Redirect, Route, Routes
from tcpbalance.http.settings import HttpParts

HOSTS = ("a.example", "b.example", "*.example", "*.a.example", "127.0.0.1", "[::1]")
PATHS = ("/", "/*", "/api", "/api/", "/api/*", "/api/v1", "/api/v1/*", "/api/v1/users", "/apis/*")
METHODS = ("GET", "HEAD", "POST")
VALUES = ("1", "2", ANY_VALUE)

ASKED_HOSTS = (
    "a.example",
    "b.example",
    "c.example",
    "x.a.example",
    "y.x.a.example",
    "example",
    "127.0.0.1",
    "[::1]",
    "",
)
ASKED_PATHS = (
    "/",
    "*",
    "/api",
    "/api/",
    "/api/v1",
    "/api/v1/",
    "/api/v1/users",
    "/api/v1/users/5",
    "/apis/x",
    "/ap",
    "/api/v2/v1",
)

NOWHERE = RedirectConfig(to="https://elsewhere.example/")

Asked = tuple[str, str, str, dict[str, str]]


def random_route(rng: Random) -> HttpRouteConfig:
    return HttpRouteConfig(
        hosts=rng.sample(HOSTS, rng.choice((0, 0, 1, 2))),
        paths=rng.sample(PATHS, rng.choice((0, 1, 1, 3))),
        methods=rng.sample(METHODS, rng.choice((0, 0, 1, 2))),
        headers={name: rng.choice(VALUES) for name in rng.sample(("X-A", "x-b"), rng.choice((0, 0, 1, 2)))},
        redirect=NOWHERE,
    )


def random_request(rng: Random) -> Asked:
    fields = {name: rng.choice("123") for name in rng.sample(("x-a", "x-b"), rng.randint(0, 2))}
    return rng.choice(ASKED_HOSTS), rng.choice(ASKED_PATHS), rng.choice(METHODS), fields


def site(*routes: HttpRouteConfig) -> FrontendConfig:
    return FrontendConfig(listen="127.0.0.1:0", mode="http", routes=routes)


def compiled(*routes: HttpRouteConfig) -> Routes:
    return HttpParts.of(site(*routes), {}).routes


def ties(*routes: HttpRouteConfig) -> list[str]:
    found = [mistake for rule in broken_for_http({"web": site(*routes)}, {}) for mistake in rule]
    return [str(mistake.path[-1]) for mistake in found if "takes the same requests" in mistake.message]


def fits_host(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) and host != pattern[1:] if pattern.startswith("*") else host == pattern


def fits_path(pattern: str, path: str) -> bool:
    base = pattern.removesuffix("/*")
    return path == base or path.startswith(f"{base}/") or not base if pattern != base else path == pattern


def fits(route: HttpRouteConfig, method: str, fields: dict[str, str]) -> bool:
    return (not route.methods or method in route.methods) and all(
        name.lower() in fields and value in (ANY_VALUE, fields[name.lower()])
        for name, value in route.headers.items()
    )


def best(routes: list[HttpRouteConfig], asked: Asked) -> set[int]:
    """Give the routes that fit a request best, by their numbers; more than one where they are tied."""
    host, path, method, fields = asked
    found: dict[tuple[object, ...], set[int]] = {}
    for number, route in enumerate(routes):
        if not fits(route, method, fields):
            continue
        for name in route.hosts or ("*",):
            for pattern in route.paths or ("/*",):
                if (name == "*" or fits_host(name, host)) and fits_path(pattern, path):
                    exact = not name.startswith("*")
                    by_path = len(pattern.removesuffix("/*")), not pattern.endswith("/*")
                    found.setdefault((exact, len(name), by_path, route.rank), set()).add(number)
    return found[max(found)] if found else set()


class HeadOf:
    """The head of a request with these fields, each on as many lines as its value has commas."""

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def values(self, name: bytes, /) -> list[bytes]:
        """Give the values of a field by its name in lower case."""
        value = self._fields.get(name.decode())
        return [] if value is None else value.encode().split(b", ")


def taken(routes: Routes, asked: Asked) -> str | None:
    host, path, method, fields = asked
    route = routes.match(host.encode(), path.encode(), method.encode(), HeadOf(fields))
    return None if route is None else route.name


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_request_takes_the_route_that_a_slow_search_finds(seed: int, count: int) -> None:
    rng = Random(seed)
    chosen: list[HttpRouteConfig] = []
    for _ in range(count):
        route = random_route(rng)
        if not ties(*chosen, route):
            chosen.append(route)
    routes = compiled(*chosen)
    shuffled = compiled(*reversed(chosen))
    for _ in range(40):
        asked = random_request(rng)
        found = best(chosen, asked)
        expected = f"routes[{found.pop()}]" if found else None
        assert (taken(routes, asked), found) == (expected, set()), (asked, chosen)
        assert (taken(shuffled, asked) is None) is (expected is None)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_routes_of_which_a_request_could_take_either_are_a_mistake(seed: int) -> None:
    rng = Random(seed)
    routes = [random_route(rng) for _ in range(3)]
    if ties(*routes):
        return
    for _ in range(200):
        asked = random_request(rng)
        assert len(best(routes, asked)) < 2, asked


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_routes_that_are_refused_as_tied_take_the_same_request(seed: int) -> None:
    rng = Random(seed)
    one, other = random_route(rng), random_route(rng)
    if not ties(one, other):
        return
    # A request made of what both ask for.
    hosts = [host for host in (one.hosts or other.hosts) if not other.hosts or host in other.hosts]
    paths = [path for path in (one.paths or ("/*",)) if path in (other.paths or ("/*",))]
    methods = set(one.methods or METHODS) & set(other.methods or METHODS)
    assert paths
    assert methods
    assert bool(hosts) is bool(one.hosts)
    fields: dict[str, str] = {}
    for route in (one, other):
        for name, value in route.headers.items():
            if value != ANY_VALUE or name.lower() not in fields:
                fields[name.lower()] = "1" if value == ANY_VALUE else value
    host = hosts[0].replace("*", "deep.er") if hosts else "none.of.them"
    path = paths[0].replace("*", "deep/er")
    asked = (host, path, methods.pop(), fields)
    assert fits(one, asked[2], fields)
    assert fits(other, asked[2], fields)


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("www.example.com", "/", "site"),
        ("www.example.com", "/apis", "site"),
        ("www.example.com", "/api", "api"),
        ("www.example.com", "/api/", "api"),
        ("www.example.com", "/api/v1/users", "api"),
        ("www.example.com", "/api/health", "health"),
        ("www.example.com", "/api/health/", "api"),
        ("www.example.com", "*", "site"),
        ("img.example.com", "/api/health", "wild"),
        ("a.img.example.com", "/", "deep"),
        ("example.com", "/", "rest"),
        (".example.com", "/", "rest"),
        ("", "/", "rest"),
        ("127.0.0.1", "/x", "rest"),
    ],
)
def test_the_route_that_fits_best_is_taken(host: str, path: str, name: str) -> None:
    routes = compiled(
        HttpRouteConfig(name="rest", redirect=NOWHERE),
        HttpRouteConfig(name="deep", hosts=["*.img.example.com"], redirect=NOWHERE),
        HttpRouteConfig(name="wild", hosts=["*.example.com"], redirect=NOWHERE),
        HttpRouteConfig(name="health", hosts=["www.example.com"], paths=["/api/health"], redirect=NOWHERE),
        HttpRouteConfig(name="api", hosts=["WWW.example.com."], paths=["/api/*"], redirect=NOWHERE),
        HttpRouteConfig(name="site", hosts=["www.example.com"], redirect=NOWHERE),
    )
    assert taken(routes, (host, path, "GET", {})) == name


def test_what_does_not_fit_by_method_is_left_to_the_next_best() -> None:
    routes = compiled(
        HttpRouteConfig(name="read", hosts=["a.example"], paths=["/x"], methods=["GET"], redirect=NOWHERE),
        HttpRouteConfig(name="any", redirect=NOWHERE),
    )
    assert taken(routes, ("a.example", "/x", "GET", {})) == "read"
    assert taken(routes, ("a.example", "/x", "POST", {})) == "any"


def test_of_several_lines_of_a_header_all_count_together() -> None:
    routes = compiled(HttpRouteConfig(headers={"X-A": "1"}, redirect=NOWHERE))
    assert taken(routes, ("", "/", "GET", {"x-a": "1"})) == "routes[0]"
    assert taken(routes, ("", "/", "GET", {"x-a": "1, 2"})) is None


def test_paths_are_not_looked_at_where_they_decide_nothing() -> None:
    assert not compiled(HttpRouteConfig(redirect=NOWHERE)).looks_at_paths
    assert not compiled(HttpRouteConfig(paths=["/*"], redirect=NOWHERE)).looks_at_paths
    assert compiled(HttpRouteConfig(paths=["/a/*"], redirect=NOWHERE)).looks_at_paths


class CountedPath(bytes):
    """A path that counts the pieces that are made of it."""

    pieces = 0

    def split(self, *args: Any) -> list[bytes]:
        found = bytes(self).split(*args)
        type(self).pieces = len(found)
        return found


def test_ten_thousand_routes_cost_a_request_what_ten_do() -> None:
    routes = compiled(
        *(
            HttpRouteConfig(
                name=f"{number}", hosts=[f"h{number}.example"], paths=[f"/a/b{number}/*"], redirect=NOWHERE
            )
            for number in range(10_000)
        )
    )
    path = CountedPath(b"/a/b7" + b"/x" * 8000)
    route = routes.match(b"h7.example", path, b"GET", HeadOf({}))
    assert route is not None
    assert (route.name, CountedPath.pieces) == ("7", 4)
    assert routes.match(b".".join([b"x"] * 120), path, b"GET", HeadOf({})) is None


def test_too_many_routes_for_one_host_and_path_are_a_mistake() -> None:
    many = [HttpRouteConfig(headers={"X-A": f"{number}"}, redirect=NOWHERE) for number in range(65)]
    found = [mistake for rule in broken_for_http({"web": site(*many)}, {}) for mistake in rule]
    assert [(mistake.path, mistake.message) for mistake in found] == [
        (
            ("frontends", "web", "routes", 64),
            "is one of 65 routes for any host and /*, at most 64 may have the same host and path",
        )
    ]
    assert not [mistake for rule in broken_for_http({"web": site(*many[:64])}, {}) for mistake in rule]


def test_too_many_pairs_of_hosts_and_paths_are_a_mistake() -> None:
    hosts, paths = [f"h{n}.example" for n in range(400)], [f"/{n}" for n in range(400)]
    (found,) = (
        mistake
        for rule in broken_for_http(
            {"web": site(HttpRouteConfig(hosts=hosts, paths=paths, redirect=NOWHERE))}, {}
        )
        for mistake in rule
    )
    assert (
        found.message == "must have at most 100000 pairs of hosts and paths, got 160000, use wildcards and /*"
    )


@pytest.mark.parametrize(
    ("to", "target", "location"),
    [
        ("https://{host}{target}", "/a?b=c", "https://www.example.com/a?b=c"),
        ("https://{host}{target}", "//evil.example", "https://www.example.com//evil.example"),
        ("https://{host}{target}", "*", "https://www.example.com"),
        ("https://other.example{path}", "/a?b=c", "https://other.example/a"),
        ("https://other.example/x{query}", "/a?b=c?d", "https://other.example/x?b=c?d"),
        ("https://other.example/x{query}", "/a", "https://other.example/x"),
        ("/new{query}#top", "/a?", "/new?#top"),
        ("/new{path}", "//evil.example", "/new//evil.example"),
        (
            "https://{host}{target}",
            '/a|b"c<d>\\e^`{f}',
            "https://www.example.com/a%7Cb%22c%3Cd%3E%5Ce%5E%60%7Bf%7D",
        ),
        ("/x?to={path}", "/{host}", "/x?to=/%7Bhost%7D"),
    ],
)
def test_locations(to: str, target: str, location: str) -> None:
    redirect = Redirect(308, RedirectTarget.parse(to))
    assert redirect.location("www.example.com", target) == location


def test_a_request_without_a_host_is_sent_nowhere_that_needs_one() -> None:
    assert Redirect(308, RedirectTarget.parse("https://{host}{target}")).location(None, "/") is None
    assert Redirect(308, RedirectTarget.parse("/x{query}")).location(None, "/?a") == "/x?a"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=30))
def test_no_target_leaves_the_host_of_a_redirect(target: str) -> None:
    for to in ("https://{host}{target}", "https://a.example{path}", "/new{target}", "/new{query}"):
        location = Redirect(308, RedirectTarget.parse(to)).location("a.example", f"/{target}")
        assert location is not None
        begins = "https://a.example/" if to.startswith("https") else "/new"
        assert location.startswith(begins)
        assert location.isascii()
        assert location.isprintable()
        assert not set(location) & set(' "<>\\^`{|}')


def test_a_default_takes_what_no_route_takes() -> None:
    default = Route(body_size=7)
    routes = Routes([(config := HttpRouteConfig(paths=["/a"], redirect=NOWHERE), Route(name="a"))], default)
    assert config.label == "/a"
    assert routes.match(b"", b"/b", b"GET", HeadOf({})) is default
    assert routes.routes[0] is default
