"""Requests of HTTP in an application of one's own: what stands in tables elsewhere is given as objects."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from tcpbalance import (
    AnswerConfig,
    Backend,
    ConnectConfig,
    ForwardedConfig,
    Frontend,
    HttpConfig,
    HttpParts,
    HttpRouteConfig,
    Pool,
    RedirectConfig,
    SettingError,
)


def pool(name: str) -> Pool:
    return Pool(name, [Backend("127.0.0.1:8000")])


class NoFields:
    def values(self, name: bytes, /) -> list[bytes]:
        return []


def test_what_is_given_is_what_requests_meet(tmp_path: Path) -> None:
    (tmp_path / "busy.html").write_text("busy")
    web, api = pool("web"), pool("api")
    made = HttpParts.make(
        web,
        api,
        routes=[HttpRouteConfig(paths=["/api/*"], pool="api"), HttpRouteConfig(paths=["/x"], answer=GONE)],
        http=HttpConfig(head_timeout="3s"),
        forwarded=ForwardedConfig(trust=["10.0.0.0/8"]),
        error_pages={"503": f"{tmp_path}/busy.html"},
    )
    settings = made.settings
    assert (settings.head_timeout, settings.pages[503].body) == (3.0, b"busy")
    assert ip_address("10.1.2.3").packed in settings.trust
    assert (settings.ambiguous_path, settings.connect) == ("reject", None)
    route = made.routes.match(b"", b"/api/a", b"GET", NoFields())
    assert route is not None
    assert route.pool is api
    frontend = Frontend("site", "127.0.0.1:0", web, http=settings, routes=made.routes)
    assert set(frontend.pools) == {web, api}


GONE = AnswerConfig(status=410)
TO_API = HttpRouteConfig(paths=["/a"], pool="api")


def test_a_frontend_may_have_tunnels_alone() -> None:
    made = HttpParts.make(None, connect=ConnectConfig(allow=["*.example.com:443"]))
    assert made.settings.connect is not None
    assert made.routes.pools == ()


@pytest.mark.parametrize(
    ("others", "routes", "said"),
    [
        ([], [TO_API], "no pool with the name api is given"),
        (["api", "api"], [TO_API], "pools of one frontend must have names of their own"),
        (
            ["api"],
            [TO_API, HttpRouteConfig(paths=["/a"])],
            "routes[1]: takes the same requests as frontends.NAME.routes[0]",
        ),
        ([], [HttpRouteConfig(paths=["/a"], redirect=RedirectConfig(to="/a"))], "routes[0].redirect.to: "),
    ],
)
def test_mistakes(others: Sequence[str], routes: Sequence[HttpRouteConfig], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        HttpParts.make(pool("web"), *map(pool, others), routes=routes)
    assert str(caught.value).startswith(said)


def test_nothing_is_served_without_a_pool_and_routes() -> None:
    with pytest.raises(SettingError, match="is required"):
        HttpParts.make(None)
