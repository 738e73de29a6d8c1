"""The configurations of the pages about `mode = "http"` do what the pages say."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from support.clients import TIMEOUT, connect, read
from support.daemon import Daemon
from support.documented import TREE, blocks, write_files
from support.http_echo import http_echoes
from support.waiting import until

PAGES = ("http-routes", "http-canary", "http-answers", "http-behind-proxies", "http-websocket")
LOG = '[access_log]\npath = "access.log"\nformat = "json"\n'
BACKENDS = ("10.0.0.11:8000", "10.0.0.12:8000", "10.0.0.21:8000", "10.0.0.22:8000", "127.0.0.1:8402")


def documented(backends: dict[str, str]) -> str:
    """Give the configurations of all pages as one, with names such as `http-routes-0-web`."""
    text = ""
    for page in PAGES:
        for number, block in enumerate(
            blocks(TREE / "docs" / "how-to" / f"{page}.md", "toml", "[frontends.")
        ):
            own = re.sub(r"\b(frontends|pools)\.(\w+)", rf"\1.{page}-{number}-\2", block)
            own = re.sub(r'\b(pool|mirror) = "(\w+)"', rf'\1 = "{page}-{number}-\2"', own)
            own = re.sub(r"\b(stable|canary) = (?=[0-9])", rf"{page}-{number}-\1 = ", own)
            text += re.sub(r"^listen = .*$", 'listen = "127.0.0.1:0"', own, flags=re.MULTILINE)
    for shown, here in backends.items():
        text = text.replace(f'"{shown}"', f'"{here}"')
    return text.replace('"app-1.internal:8000", "app-2.internal:8000"', f'"{backends[BACKENDS[0]]}"')


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("documented")
    with http_echoes("web-1", "web-2", "api-1", "api-2", "acme") as addresses:
        text = documented(dict(zip(BACKENDS, addresses, strict=True)))
        # Clients of the tests are the proxies in front.
        text = text.replace('"10.0.0.0/8"', '"127.0.0.0/8"')
        write_files(text, folder)
        with Daemon(LOG + text, folder) as running:
            yield running


class Site:
    """One frontend of a page."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> HTTPResponse:
        """Send a request, on the same connection as the last if that is open."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self._connection.request(method, path, body, headers)
        return self._connection.getresponse()

    def facts(self, path: str, **how: Any) -> Any:
        """Give what a backend got."""
        return json.loads(self.ask(path, **how).read())

    def answer(self, path: str, **how: Any) -> tuple[int, str]:
        """Give status and body of an answer."""
        response = self.ask(path, **how)
        return response.status, response.read().decode()

    def redirect(self, path: str, **how: Any) -> tuple[int, str | None]:
        """Give status and Location of an answer."""
        response = self.ask(path, **how)
        response.read()
        return response.status, response.getheader("Location")

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()


@pytest.fixture
def site(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[Site]:
    opened = Site(daemon.ports[request.param])
    yield opened
    opened.close()


def of(name: str) -> pytest.MarkDecorator:
    """Have the test ask a frontend."""
    return pytest.mark.parametrize("site", [name], indirect=True, ids=[""])


@of("http-routes-0-web")
def test_requests_of_one_connection_go_to_several_backends(site: Site, daemon: Daemon) -> None:
    assert {site.facts("/")["name"] for _ in range(4)} == {"web-1", "web-2"}
    assert site.facts("/", Host="API.example.com:80")["name"] in {"api-1", "api-2"}
    records = [record for record in daemon.access_records if record["frontend"] == "http-routes-0-web"]
    assert [record["route"] for record in records if record["route"]] in ([], ["routes[0]"])


@of("http-routes-0-web")
def test_a_prefix_is_stripped_and_headers_are_set_and_removed(site: Site) -> None:
    response = site.ask("/api/users?a=/api", Host="www.example.com", X_Debug="1", x_env="mine")
    facts = json.loads(response.read())
    assert (facts["name"][:3], facts["target"]) == ("api", "/users?a=/api")
    assert facts["headers"]["x-env"] == "prod"
    assert "x-debug" not in facts["headers"]
    assert (response.getheader("X-Powered-By"), response.getheader("Cache-Control")) == (None, "no-store")
    assert site.facts("/api", Host="example.com")["target"] == "/"
    assert site.facts("/apis", Host="example.com")["name"][:3] == "web"


@of("http-routes-0-web")
def test_a_body_that_is_too_large_is_refused_but_for_one_route(site: Site) -> None:
    size = str(21 << 20)
    body = bytes(21 << 20)
    site._connection.putrequest("POST", "/elsewhere")
    site._connection.putheader("Content-Length", size)
    site._connection.endheaders()
    response = site._connection.getresponse()
    response.read()
    assert response.status == 413
    site.close()
    assert site.facts("/upload", method="POST", body=body)["body"] == len(body)


@of("http-routes-0-web")
def test_paths_that_servers_understand_differently_are_refused(site: Site) -> None:
    for path in ("/a/../api", "/api%2Fx", "/a//b"):
        assert site.answer(path)[0] == 400
        site.close()


@of("http-routes-1-web")
def test_an_admin_page_is_for_clients_of_the_list(site: Site) -> None:
    assert site.ask("/admin/users").status == 200
    site.close()
    assert site.ask("/").status == 200


@of("http-routes-2-web")
def test_slow_requests_have_time(site: Site) -> None:
    assert site.ask("/poll/news").status == 200


@of("http-routes-3-web")
def test_backends_get_their_own_name(site: Site, daemon: Daemon) -> None:
    host = site.facts("/", Host="www.example.com")["headers"]["host"]
    assert host.startswith("127.0.0.1:")


@of("http-canary-0-web")
def test_a_client_stays_with_its_version(site: Site, daemon: Daemon) -> None:
    (name,) = {site.facts("/")["name"][:3] for _ in range(6)}
    site.close()
    assert site.facts("/")["name"][:3] == name
    records = [record for record in daemon.access_records if record["frontend"] == "http-canary-0-web"]
    pools = {(record["route"], record["pool"].removeprefix("http-canary-0-")) for record in records}
    assert pools in (set(), {("site", {"web": "stable", "api": "canary"}[name])})


@of("http-canary-1-web")
def test_a_cookie_keeps_the_version(site: Site) -> None:
    response = site.ask("/")
    name = json.loads(response.read())["name"][:3]
    cookie, _, attributes = str(response.getheader("Set-Cookie")).partition(";")
    assert (response.getheader("Cache-Control"), "Max-Age=2592000" in attributes) == ("private", True)
    for _ in range(4):
        site.close()
        response = site.ask("/", Cookie=cookie)
        assert json.loads(response.read())["name"][:3] == name
        assert response.getheader("Set-Cookie") is None


@of("http-canary-2-web")
def test_a_new_version_gets_copies_and_clients_its_responses_never(site: Site, daemon: Daemon) -> None:
    assert {site.facts("/a")["name"][:3] for _ in range(4)} == {"web"}
    assert site.facts("/a", method="POST", body=b"b")["name"][:3] == "web"


@of("http-canary-3-web")
def test_testers_choose_the_new_version(site: Site) -> None:
    assert site.facts("/", X_Version="canary")["name"] == "api-1"
    assert site.facts("/")["name"][:3] == "web"


@of("http-answers-0-plain")
def test_http_leads_to_https(site: Site) -> None:
    assert site.redirect("/a?b=c", Host="www.example.com:8080") == (308, "https://www.example.com/a?b=c")


@of("http-answers-1-plain")
def test_one_path_does_not(site: Site) -> None:
    assert site.redirect("/", Host="www.example.com") == (308, "https://www.example.com/")
    assert site.facts("/.well-known/acme-challenge/x", Host="www.example.com")["name"] == "acme"


@of("http-answers-2-web")
def test_other_redirects(site: Site) -> None:
    assert site.redirect("/a", Host="example.com") == (301, "https://www.example.com/a")
    assert site.redirect("/old/page?a=1") == (308, "/new/page?a=1")


@of("http-answers-3-web")
def test_fixed_answers(site: Site) -> None:
    assert site.answer("/robots.txt") == (200, "a page")
    assert site.answer("/beta/x") == (410, "410 Gone\n")
    assert site.answer("/.git/config") == (404, "404 Not Found\n")
    assert site.facts("/")["name"] == "web-1"


@of("http-answers-4-web")
def test_error_pages_are_for_answers_of_our_own(site: Site) -> None:
    assert site.facts("/", X_Status="404")["target"] == "/"


@of("http-answers-5-web")
def test_maintenance(site: Site) -> None:
    response = site.ask("/")
    assert (response.status, response.read().decode()) == (503, "a page")
    assert response.getheader("Retry-After") == "3600"
    assert site.facts("/", X_Preview="let me see")["name"] == "web-1"


@of("http-behind-proxies-0-web")
def test_the_client_is_the_first_that_is_not_trusted(site: Site) -> None:
    headers = site.facts("/", X_Forwarded_For="6.6.6.6, 192.0.2.7", X_Forwarded_Proto="https")["headers"]
    assert headers["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-request-id"]


@of("http-routes-0-web")
def test_headers_of_clients_are_replaced(site: Site) -> None:
    headers = site.facts("/", X_Forwarded_For="6.6.6.6", X_Real_IP="6.6.6.6", Forwarded="for=6.6.6.6")[
        "headers"
    ]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert not {"x-real-ip", "forwarded"} & headers.keys()


@of("http-behind-proxies-1-web")
def test_a_redirect_behind_a_cdn_that_ends_tls(site: Site) -> None:
    assert site.redirect("/", Host="a.example", X_Forwarded_Proto="http") == (308, "https://a.example/")
    assert site.facts("/", Host="a.example", X_Forwarded_Proto="https")["name"] == "web-1"


UPGRADE = b"GET %b HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst"


def test_a_websocket_gets_bytes_sent_with_the_request_and_lives_through_a_reload(daemon: Daemon) -> None:
    with connect(daemon.ports["http-websocket-0-web"]) as sock:
        sock.sendall(UPGRADE % b"/chat/1")
        head = read(sock, 12)
        assert head == b"HTTP/1.1 101"
        rest = b""
        while not rest.endswith(b"\r\n\r\nfirst"):
            rest += sock.recv(1000)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r"reloaded .*no change")
        sock.sendall(b"second")
        assert read(sock, 6) == b"second"
    until(lambda: any(it["status"] == 101 for it in daemon.access_records), "a record of the WebSocket")


def test_a_route_may_refuse_upgrades(daemon: Daemon) -> None:
    with connect(daemon.ports["http-websocket-0-web"]) as sock:
        sock.sendall(UPGRADE.removesuffix(b"first") % b"/api/1")
        assert read(sock, 12) == b"HTTP/1.1 200"


def test_all_examples_are_run(daemon: Daemon) -> None:
    assert len(daemon.ports) == 19
