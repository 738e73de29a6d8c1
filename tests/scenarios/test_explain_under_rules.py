"""What explain says under bans, limits, drains, ejections, dry runs and cookies is what becomes of the next
connection or request, also where two workers keep these together."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import connect
from support.http_echo import http_echoes
from support.peers import holds, peer
from support.ports import refusing
from support.waiting import until

CLIENTS = [f"127.0.0.{host}" for host in range(2, 14)]
"""Of both workers, where there are two."""

OTHER = "127.0.0.99"


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


def explained(admin: Admin, frontend: str, client: str, **more: str) -> Any:
    return admin.get("/api/v1/explain?" + urlencode({"frontend": frontend, "client": client, **more}))


def is_served_as(said: Any, client: socket.socket) -> None:
    """See that a connection goes where it was said."""
    assert said["outcome"] == "connects", said
    assert client.recv(1).decode() == said["pool"]["candidates"][0]["backend"], said


def is_refused(port: int, client: str) -> bool:
    try:
        with connect(port, client) as sock:
            return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_drains(stage: Stage) -> None:
    with stage.daemon() as daemon, ExitStack() as held:
        admin = Admin(daemon)
        for state, why in (("drain", ["draining"]), ("maintenance", ["maintenance"]), ("ready", [])):
            assert admin.ask("PATCH", BACKEND_A, {"state": state})[0] == 200
            for client in CLIENTS:
                until(
                    lambda: [it["why"] for it in explained(admin, "web", client)["pool"]["skipped"]] == why,  # noqa: B023
                    "the worker knows it",
                )
                said = explained(admin, "web", client)
                is_served_as(said, held.enter_context(connect(daemon.port, client)))


def test_bans_by_operators(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        network = "127.0.0.0/29"
        banned = [client for client in CLIENTS if int(client.rpartition(".")[2]) < 8]
        assert admin.ask("POST", "/api/v1/bans", {"client": network, "for": "1h"})[0] == 200
        for client in CLIENTS:
            said = explained(admin, "web", client)
            if client in banned:
                assert (said["outcome"], said["admission"]["refused"]) == ("refused", "banned")
                assert 3590 < said["admission"]["banned_for"] <= 3600
                assert is_refused(daemon.port, client)
            else:
                with connect(daemon.port, client) as sock:
                    is_served_as(said, sock)
        path = "/api/v1/bans/" + network.replace("/", "%2F")
        assert admin.ask("DELETE", path, {})[0] == 200
        said = explained(admin, "web", banned[0])
        with connect(daemon.port, banned[0]) as sock:
            is_served_as(said, sock)


DRY = """
[frontends.web.limits]
connections_per_client = 1
dry_run = true
"""


def test_a_dry_run_lets_them_pass_and_says_so(stage: Stage) -> None:
    with stage.daemon(more=DRY) as daemon, ExitStack() as held:
        admin = Admin(daemon)
        for client in CLIENTS[:4]:
            for would in (None, "too_many_connections"):
                said = explained(admin, "web", client)
                assert (said["admission"]["refused"], said["admission"]["would_refuse"]) == (None, would)
                is_served_as(said, held.enter_context(connect(daemon.port, client)))
        counters = admin.get("/api/v1/frontends/web")["counters"]
        assert counters["would_refuse.too_many_connections"] == 4


def test_limits_of_all_clients_together(stage: Stage) -> None:
    with stage.daemon(more="[frontends.web.limits]\nconnections = 4\n") as daemon, ExitStack() as held:
        admin = Admin(daemon)
        for number, client in enumerate(CLIENTS[:4]):
            said = explained(admin, "web", client)
            assert said["connections"] == {"open": number, "limit": 4}
            first = held.enter_context(connect(daemon.port, client))
            is_served_as(said, first)
        for client in CLIENTS[4:]:
            said = explained(admin, "web", client)
            assert (said["outcome"], said["waits_for"]) == ("waits", ["max_sessions"])
            assert said["connections"] == {"open": 4, "limit": 4}
        waiting = held.enter_context(connect(daemon.port, CLIENTS[5]))
        # It would be accepted, and have a session, by the time this is answered twice.
        for _ in range(2):
            assert len(admin.get("/api/v1/sessions")["sessions"]) == 4
        first.close()
        assert waiting.recv(1) in (b"a", b"b")


FULL = """
[frontends.few]
listen = "127.0.0.1:0"
pool = "few"
[pools.few]
backends = [
    {{ name = "a", address = "{a}", max_connections = 2 }},
    {{ name = "b", address = "{b}", max_connections = 2 }},
]
"""


def test_backends_that_are_full(stage: Stage) -> None:
    more = FULL.format(a=stage.a.address, b=stage.b.address)
    with stage.daemon(more=more) as daemon, ExitStack() as held:
        admin, port = Admin(daemon), daemon.ports["few"]
        for client in CLIENTS[:4]:
            said = explained(admin, "few", client)
            is_served_as(said, held.enter_context(connect(port, client)))
        for client in CLIENTS[4:]:
            said = explained(admin, "few", client)
            assert said["outcome"] == "no_backend"
            assert [it["why"] for it in said["pool"]["skipped"]] == ["full", "full"]
            assert is_refused(port, client)


OUTLIERS = """
[frontends.odd]
listen = "127.0.0.1:0"
pool = "odd"
[pools.odd]
backends = [{{ name = "dead", address = "{dead}" }}, {{ name = "b", address = "{b}" }}]
[pools.odd.outlier]
consecutive_failures = 1
eject_for = "10m"
"""


def test_backends_that_are_ejected(stage: Stage) -> None:
    with refusing() as dead:
        more = OUTLIERS.format(dead=dead, b=stage.b.address)
        with stage.daemon(more=more) as daemon, ExitStack() as held:
            admin, port = Admin(daemon), daemon.ports["odd"]

            def is_ejected() -> bool:
                for client in CLIENTS:
                    with connect(port, client) as sock:
                        sock.recv(1)
                pools = [explained(admin, "odd", client)["pool"] for client in CLIENTS]
                skipped = [[(it["backend"], it["why"]) for it in pool["skipped"]] for pool in pools]
                return all(its == [("dead", "ejected")] for its in skipped)

            until(is_ejected, "it is ejected in all workers")
            for client in CLIENTS:
                said = explained(admin, "odd", client)
                is_served_as(said, held.enter_context(connect(port, client)))


SITE = """
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
[[frontends.site.routes]]
name = "shop"
paths = ["/shop/*"]
pool = "site"
[[frontends.site.routes]]
name = "gone"
answer = {{ status = 410 }}
[pools.site]
backends = [{{ name = "a", address = "{a}" }}, {{ name = "b", address = "{b}" }}]
[pools.site.affinity]
by = "cookie"
"""


def visit(port: int, client: str, path: str, headers: dict[str, str]) -> tuple[int, Any, str | None]:
    """Send a request; give the status, what the backend got, and the cookie that was set."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20, source_address=(client, 0))) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        cookie = response.headers.get("Set-Cookie")
        got = json.loads(body) if response.status == 200 else None
        return response.status, got, None if cookie is None else cookie.partition(";")[0]


def test_requests_with_a_cookie_and_routes(stage: Stage) -> None:
    with http_echoes("a", "b") as (a, b), stage.daemon(more=SITE.format(a=a, b=b)) as daemon:
        admin, port = Admin(daemon), daemon.ports["site"]
        url = f"GET http://www.example.com:{port}"
        cookies: dict[str, str] = {}
        for client in CLIENTS:
            said = explained(admin, "site", client, request=f"{url}/shop/x")
            assert (said["outcome"], said["route"]) == ("connects", "shop")
            _, got, cookie = visit(port, client, "/shop/x", {})
            assert got["name"] == said["pool"]["candidates"][0]["backend"]
            assert cookie is not None
            cookies[got["name"]] = cookie
        assert cookies.keys() == {"a", "b"}
        for client in (*CLIENTS, OTHER):
            for name, cookie in cookies.items():
                said = explained(admin, "site", client, request=f"{url}/shop/x", headers=f"Cookie: {cookie}")
                first = said["pool"]["candidates"][0]
                assert (first["backend"], first["why"], said["pool"]["exact"]) == (name, "sticky", True)
                status, got, _ = visit(port, client, "/shop/x", {"Cookie": cookie})
                assert (status, got["name"]) == (200, name)
        said = explained(admin, "site", OTHER, request=f"{url}/other")
        assert (said["outcome"], said["route"], said["request"]["status"]) == ("answered_here", "gone", 410)
        assert visit(port, OTHER, "/other", {})[0] == 410
        # Its cookie leads elsewhere while its backend is drained.
        assert admin.ask("PATCH", "/api/v1/pools/site/backends/a", {"state": "maintenance"})[0] == 200
        headers = f"Cookie: {cookies['a']}"
        for client in CLIENTS:

            def skips() -> Any:
                said = explained(admin, "site", client, request=f"{url}/shop/x", headers=headers)  # noqa: B023
                return said if said["pool"]["skipped"] else None

            said = until(skips, "the worker knows it")
            assert said["pool"]["candidates"][0]["backend"] == "b"
            assert visit(port, client, "/shop/x", {"Cookie": cookies["a"]})[1]["name"] == "b"
