"""What explain says of a connection is what becomes of it, with real clients, one process and several."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlencode

import pytest

from support.admin import BACKEND_A, Admin, Stage
from support.clients import ask, connect, read_all
from support.command import command
from support.daemon import Daemon
from support.hellos import real_hello
from support.http_backend import http_backend
from support.waiting import until

CLIENTS = [f"127.0.0.{host}" for host in range(2, 12)]
DENIED = "127.0.0.99"

TABLES = f"""
[frontends.strict]
listen = "127.0.0.1:0"
pool = "web"
access = {{ deny = ["{DENIED}"] }}
limits = {{ connections_per_client = 1, ban_after = 2, ban_window = "1m", ban_for = "1h" }}
[frontends.named]
listen = "127.0.0.1:0"
sni_routes = [{{ names = ["*.example.com"], pool = "web" }}]
[frontends.behind]
listen = "127.0.0.1:0"
pool = "web"
accept_proxy_protocol = ["127.0.0.1"]
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
routes = [{{ answer = {{ status = 204 }} }}]
"""


def explained(admin: Admin, frontend: str, client: str, **more: str) -> Any:
    return admin.get("/api/v1/explain?" + urlencode({"frontend": frontend, "client": client, **more}))


def is_served_as(daemon: Daemon, said: Any, records: int) -> None:
    """See that the last of so many connections was served as it was said."""
    record = daemon.wait_for_records(records)[-1]
    candidates = said["pool"]["candidates"]
    assert (said["outcome"], record["backend"]) == ("connects", candidates[0]["backend"]), (said, record)
    assert record.get("worker", 0) == said["worker"], (said, record)


def test_the_next_connection_is_served_as_it_says(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        for number, client in enumerate(CLIENTS * 2, start=1):
            said = explained(admin, "web", client)
            assert explained(admin, "web", client) == said
            ask(daemon.port, source=client)
            is_served_as(daemon, said, number)


def test_a_backend_that_serves_no_clients_is_skipped(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.ask("PATCH", BACKEND_A, {"state": "maintenance"})[0] == 200

        def is_skipped() -> bool:
            pools = [explained(admin, "web", client)["pool"] for client in CLIENTS]
            return all([it["why"] for it in pool["skipped"]] == ["maintenance"] for pool in pools)

        until(is_skipped, "all workers know it")
        said = explained(admin, "web", CLIENTS[0])
        ask(daemon.port, source=CLIENTS[0])
        is_served_as(daemon, said, 1)


def test_who_is_refused_and_why(stage: Stage) -> None:
    with stage.daemon(more=TABLES) as daemon:
        admin, port, client = Admin(daemon), daemon.ports["strict"], CLIENTS[0]
        said = explained(admin, "strict", DENIED)
        assert (said["outcome"], said["admission"]["list"]) == ("refused", "deny")
        assert is_refused(port, DENIED)
        assert explained(admin, "strict", client)["admission"]["connections"]["left"] == 1
        with connect(port, client) as sock:
            assert sock.recv(1) in (b"a", b"b")
            for left in (2, 1):
                said = explained(admin, "strict", client)
                assert said["admission"]["refused"] == "too_many_connections"
                assert said["admission"]["refusals"]["left"] == left
                assert is_refused(port, client)
            said = explained(admin, "strict", client)
            assert said["admission"]["refused"] == "banned"
            assert 3590 < said["admission"]["banned_for"] <= 3600
            assert is_refused(port, client)


def is_refused(port: int, client: str) -> bool:
    try:
        return ask(port, source=client) == b""
    except ConnectionResetError:
        return True


def test_where_requests_are_read_each_of_them_decides(stage: Stage) -> None:
    with stage.daemon(more=TABLES) as daemon:
        said = explained(Admin(daemon), "site", CLIENTS[0])
        assert (said["outcome"], said["route"], said["pool"]) == ("requests", None, None)


def test_routes_by_name(stage: Stage) -> None:
    with stage.daemon(more=TABLES) as daemon:
        admin, port = Admin(daemon), daemon.ports["named"]
        said = explained(admin, "named", CLIENTS[0], server_name="www.example.com")
        assert (said["route"], said["pool"]["name"]) == ("*.example.com", "web")
        with connect(port, CLIENTS[0]) as sock:
            sock.sendall(real_hello("www.example.com"))
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
        is_served_as(daemon, said, 1)
        said = explained(admin, "named", CLIENTS[0], server_name="example.org")
        assert (said["outcome"], said["route"], said["pool"]) == ("no_route", None, None)
        with connect(port, CLIENTS[0]) as sock:
            sock.sendall(real_hello("example.org"))
            read_all(sock)
        assert daemon.wait_for_records(2)[-1]["reason"] == "no_route"


def test_clients_that_a_proxy_names(stage: Stage, workers: int) -> None:
    with stage.daemon(more=TABLES) as daemon:
        admin, port = Admin(daemon), daemon.ports["behind"]
        for number in range(1, 7):
            client = f"203.0.113.{number}"
            said = explained(admin, "behind", client)
            assert (said["proxy_header"], said["any_worker_accepts"]) == (False, workers > 1)
            with connect(port) as sock:
                sock.sendall(f"PROXY TCP4 {client} 192.0.2.1 1000 80\r\n".encode())
                sock.shutdown(socket.SHUT_WR)
                read_all(sock)
            is_served_as(daemon, said, number)
        assert explained(admin, "behind", "127.0.0.1")["proxy_header"]


SITE = """
[frontends.shop]
listen = "127.0.0.1:0"
mode = "http"
limits = { max_requests = 5, requests_per_client = "1/h", request_burst_per_client = 2 }
[[frontends.shop.routes]]
name = "api"
hosts = ["shop.example.com"]
paths = ["/api/*"]
strip_prefix = "/api"
pool = "named"
request_headers = { set = { X-Token = "swordfish" } }
[[frontends.shop.routes]]
name = "old"
paths = ["/old"]
redirect = { to = "https://{host}/new" }
[pools.named]
backends = ["ADDRESS"]
"""


def answer_of(port: int, source: str, path: str) -> bytes:
    with connect(port, source) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n".encode())
        return read_all(sock)


def test_requests(stage: Stage) -> None:
    with http_backend() as backend, stage.daemon(more=SITE.replace("ADDRESS", backend.address)) as daemon:
        admin, port, client = Admin(daemon), daemon.ports["shop"], CLIENTS[0]
        where = f"http://shop.example.com:{port}"
        said = admin.get("/api/v1/explain?" + urlencode({"request": f"{where}/api/users?x=1"}))
        assert (said["frontend"], said["client"], said["outcome"]) == ("shop", "127.0.0.1", "connects")
        said = explained(admin, "shop", client, request=f"GET {where}/old")
        assert (said["outcome"], said["route"], said["pool"]) == ("answered_here", "old", None)
        location = said["request"]["location"]
        assert f"\r\nLocation: {location}\r\n".encode() in answer_of(port, client, "/old")
        said = explained(admin, "shop", client, request=f"GET {where}/api/users?x=1")
        assert said["request"]["limits"]["rate"] == {"used": 1, "limit": 2, "left": 1}
        sent = said["request"]["sent"]
        assert sent[0] == "GET /users?x=1 HTTP/1.1"
        assert {"X-Token: (hidden)", f"X-Forwarded-For: {client}", f"X-Forwarded-Port: {port}"} <= set(sent)
        got = json.loads(answer_of(port, client, "/api/users?x=1").partition(b"\r\n\r\n")[2])
        assert (got["path"], got["X-Token"]) == ("/users?x=1", "swordfish")
        assert (got["X-Forwarded-For"], got["X-Forwarded-Port"]) == (client, str(port))
        said = explained(admin, "shop", client, request=f"GET {where}/api")
        assert (said["outcome"], said["request"]["status"]) == ("rate_limited", 429)
        assert answer_of(port, client, "/api").startswith(b"HTTP/1.1 429 ")
        said = explained(admin, "shop", CLIENTS[1], request="GET /api", headers="X-A: 1")
        assert (said["outcome"], said["request"]["cause"]) == ("bad_request", "bad_target")
        is_served_as_requested(daemon, ["answered_here 308", "answered 200", "rate_limited 429"])
        where = f"--admin=http://127.0.0.1:{admin.port}"
        done = command("explain", where, "--request", "http://shop.example.com/api", "--header", "X-A: 1")
        assert (done.returncode, done.stderr) == (0, "")
        assert "the request of 127.0.0.1 at frontend shop goes to a backend\n" in done.stdout
        assert "\n  X-A: 1\n" in done.stdout


def is_served_as_requested(daemon: Daemon, ends: list[str]) -> None:
    records = daemon.wait_for_records(len(ends))
    assert [f"{record['reason']} {record['status']}" for record in records] == ends


MISTAKES = [
    ("frontend=wep&client=192.0.2.1", 404, 'did you mean "web"?'),
    ("frontend=web", 400, "give client"),
    ("client=192.0.2.1", 400, "give frontend"),
    ("frontend=web&client=192.0.2.0/24", 400, "client must be an IP address"),
    ("frontend=web&client=lb.example.com", 400, "client must be an IP address"),
    ("frontend=web&client=fe80::1%25lo", 400, "client must be an IP address"),
    ("frontend=web&client=192.0.2.1&server_name=a..b", 400, "server_name must be"),
    ("frontend=web&client=192.0.2.1&server_name=*.example.com", 400, "server_name must be one host name"),
    ("frontend=web&client=192.0.2.1&sni=a", 400, "sni"),
    ("frontend=web&client=192.0.2.1&headers=A:b", 400, "headers have no effect without request"),
    ("request=GET", 400, 'no frontend has mode = "http"'),
    ("frontend=web&request=/", 400, 'frontend web has mode = "tcp", which reads no requests'),
    ("frontend=web&request=GET+a+b", 400, "request must be a method and a URL"),
    ("frontend=web&request=/&headers=none", 400, "headers must be lines"),
]


def test_questions_that_make_no_sense(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        for query, status, message in MISTAKES:
            found, answer = admin.ask("GET", f"/api/v1/explain?{query}")
            assert (found, message in answer["error"]["message"]) == (status, True), answer
        assert explained(admin, "web", "2001:db8::7")["outcome"] == "connects"


@pytest.mark.parametrize("workers", [2], indirect=True)
def test_the_command(stage: Stage) -> None:
    with stage.daemon(more=TABLES) as daemon:
        where = f"--admin=http://127.0.0.1:{Admin(daemon).port}"
        done = command("explain", where, "strict", DENIED)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{DENIED} at frontend strict is refused" in done.stdout
        done = command("explain", where, "strict", CLIENTS[0])
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{CLIENTS[0]} at frontend strict is served" in done.stdout
        done = command("explain", where, "--json", "named", "192.0.2.1", "--server-name", "a.b")
        assert json.loads(done.stdout)["outcome"] == "no_route"
        done = command("explain", where, "web", "nonsense")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


def test_a_client_at_a_unix_socket(stage: Stage, workers: int) -> None:
    path = stage.folder / "local.sock"
    with stage.daemon(more=f'[frontends.local]\nlisten = "unix:{path}"\npool = "web"\n') as daemon:
        admin = Admin(daemon)
        said = explained(admin, "local", "unix")
        is_known = workers == 1
        assert (said["outcome"], said["worker"]) == ("connects", 0 if is_known else None)
        assert said["pool"]["exact"] is is_known
        assert said["connections"]["open"] == (0 if is_known else None)
        status, refused = admin.ask("GET", "/api/v1/explain?frontend=local&client=192.0.2.1")
        assert (status, refused["error"]["code"]) == (400, "no_such_listener")
        status, refused = admin.ask("GET", "/api/v1/explain?frontend=web&client=unix")
        assert (status, refused["error"]["code"]) == (400, "no_such_listener")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert sock.recv(1) in (b"a", b"b")
