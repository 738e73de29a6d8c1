"""Routes with `access` that a client comes past by another host, method or header are warned of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcpbalance import read_config
from tcpbalance.config.errors import Problem

ACCESS = 'access = { allow = ["10.0.0.0/8"] }'
ADMIN = f'{{ paths = ["/admin/*"], {ACCESS} }}'
BY_POOL = (
    "frontends.web.routes[0].access: does not protect /admin/*: the same backends are reached without access "
    "by the pool of frontends.web, which takes all that no route takes; leave out hosts, methods and headers "
    "here, or leave out the pool of the frontend"
)


def by_route(number: int, host: str, path: str = "/admin/*", guarded: int = 0) -> str:
    """Give the warning about a way past by another route."""
    return (
        f"frontends.web.routes[{guarded}].access: does not protect {path}: the same backends are reached "
        f"without access by frontends.web.routes[{number}], which takes {path} of {host}; add access there, "
        "or a route with access for this host and path"
    )


def warnings(folder: Path, *routes: str, pool: str = 'pool = "web"') -> list[str]:
    """Read a configuration, and give what is reported without its place in the file."""
    file = folder / "tcpbalance.toml"
    tables = ",\n  ".join(routes)
    file.write_text(
        f'[frontends.web]\nlisten = "127.0.0.1:8080"\nmode = "http"\n{pool}\nroutes = [\n  {tables}\n]\n'
        '[pools.web]\nbackends = ["127.0.0.1:8001"]\n[pools.api]\nbackends = ["127.0.0.1:8002"]\n'
    )
    found: list[Problem] = []
    read_config(file, report=found.append)
    return [str(problem).partition(": warning: ")[2] for problem in found]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((ADMIN,), []),
        ((ADMIN, '{ hosts = ["a.example"] }'), [by_route(1, "a.example")]),
        ((ADMIN, '{ hosts = ["*.example"], paths = ["/admin/*"] }'), [by_route(1, "*.example")]),
        # Other backends, or none
        ((ADMIN, '{ hosts = ["a.example"], pool = "api" }'), []),
        ((ADMIN, '{ hosts = ["a.example"], pools = { api = 1, web = 1 } }'), [by_route(1, "a.example")]),
        ((ADMIN, '{ hosts = ["a.example"], answer = { status = 404 } }'), []),
        # An exception, and other paths
        ((ADMIN, '{ hosts = ["a.example"], paths = ["/admin/login"] }'), []),
        ((ADMIN, '{ paths = ["/admin/public/*"] }', '{ paths = ["/x/*"], hosts = ["a.example"] }'), []),
        # The other route has access as well, or one before it has
        ((ADMIN, f'{{ hosts = ["a.example"], {ACCESS} }}'), []),
        (
            (
                ADMIN,
                '{ hosts = ["a.example"] }',
                f'{{ hosts = ["a.example"], paths = ["/admin/*"], {ACCESS} }}',
            ),
            [],
        ),
        # A host of its own: other hosts lead to the pool of the frontend
        ((f'{{ hosts = ["a.example"], paths = ["/admin/*"], {ACCESS} }}',), [BY_POOL]),
        ((f'{{ hosts = ["a.example"], paths = ["/admin/*"], {ACCESS} }}', ADMIN), []),
        # Without paths, it is a site that is protected
        ((f'{{ hosts = ["a.example"], {ACCESS} }}',), []),
        # Methods and headers
        ((f'{{ paths = ["/admin/*"], methods = ["GET"], {ACCESS} }}',), [BY_POOL]),
        ((ADMIN, '{ paths = ["/admin/*"], headers = { X-A = "1" } }'), [by_route(1, "any host")]),
        # One path alone
        (
            (f'{{ paths = ["/status"], {ACCESS} }}', '{ hosts = ["a.example"], paths = ["/status/*"] }'),
            [by_route(1, "a.example", "/status")],
        ),
        # The longer path of the same host takes all
        ((ADMIN, '{ paths = ["/*"] }'), []),
    ],
)
def test_a_way_past_is_reported(tmp_path: Path, routes: tuple[str, ...], expected: list[str]) -> None:
    assert warnings(tmp_path, *routes) == expected


def test_without_a_pool_of_the_frontend_other_hosts_lead_nowhere(tmp_path: Path) -> None:
    route = f'{{ hosts = ["a.example"], paths = ["/admin/*"], pool = "web", {ACCESS} }}'
    assert warnings(tmp_path, route, pool="") == []


def test_no_more_are_reported_than_can_be_read(tmp_path: Path) -> None:
    routes = [f'{{ paths = ["/{number}/*"], {ACCESS} }}' for number in range(30)]
    assert len(warnings(tmp_path, *routes, '{ hosts = ["a.example"] }')) == 20
