"""What is written about HTTP becomes settings and routes; the files of answers are read, and read again."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock

from support.certificates import self_signed
from support.configs import load_text, pool, problems
from support.toml_writer import TomlWriter
from tcpbalance import Balancer, Config, Frontend, SettingError, read_config
from tcpbalance.admission.refusal import Refusal
from tcpbalance.build import Parts, build_frontend, build_pool
from tcpbalance.config.difference import difference
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.files import read_files, with_files
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http import ForwardedConfig, HttpConfig, PoolHttpConfig
from tcpbalance.config.http_values import PagePath
from tcpbalance.config.messages import value_text
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.plan import plan_document, plan_lines
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.config.routes import (
    AnswerConfig,
    HttpRouteConfig,
    RedirectConfig,
    RequestHeadersConfig,
    ResponseHeadersConfig,
    RouteAccessConfig,
)
from tcpbalance.config.shown import shown_config
from tcpbalance.control.in_pieces import at_once
from tcpbalance.http.pages import MAX_PAGE, MAX_PAGES, Page, PageError
from tcpbalance.http.routes import Routes
from tcpbalance.http.settings import HttpParts, HttpSettings
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.wire.http.diagnose import HeadLimits
from tcpbalance.wire.http.rewrite import FIXED_FIELDS
from tcpbalance.wire.server_names import NameMap

EVERYTHING = """\
[frontends.web]
listen = "0.0.0.0:8080"
mode = "http"
pool = "web"
error_pages = { 404 = "404.html", "502-504" = "errors/down.json" }

[frontends.web.http]
head_timeout = "5s"
body_timeout = "20s"
body_min_rate = "1KiB/s"
send_timeout = "40s"
send_min_rate = "2KiB/s"
keepalive_timeout = "90s"
keepalive_requests = 100
head_size = "16KiB"
head_lines = 50
body_size = "1GiB"
ambiguous_path = "keep"
server_header = "remove"

[frontends.web.forwarded]
trust = ["10.0.0.0/8"]
read = "forwarded"
send = ["x-forwarded", "x-request-id"]

[[frontends.web.routes]]
name = "api"
hosts = ["WWW.example.com.", "*.example.com", "b\u00fccher.example", "192.0.2.1", "[2001:DB8::1]"]
paths = ["/api/*", "/caf%c3%a9", "/%7Ea"]
methods = ["GET", "PURGE"]
headers = { X-Canary = "1", X-Key = "hunter2" }
access = { allow = ["10.0.0.0/8"], deny = ["10.9.9.9"] }
pool = "api"
request_headers = { set = { X-Env = "prod", Authorization = "hunter2" }, remove = ["X-Debug"] }
response_headers = { set = { Strict-Transport-Security = "max-age=1" }, remove = ["X-Powered-By"] }
response_timeout = "5m"
stall_timeout = "15m"
body_timeout = "2m"
body_min_rate = "1B/s"
body_size = "10GiB"
upgrade = ["WebSocket", "custom"]

[[frontends.web.routes]]
paths = ["/old/*"]
redirect = { to = "https://{host}/new{query}", status = 301 }

[[frontends.web.routes]]
paths = ["/gone"]
answer = { status = 410, file = "gone.txt" }

[[frontends.web.routes]]
paths = ["/v1/*", "/v1/x"]
strip_prefix = "/v1"

[pools.web]
backends = ["10.0.0.11:80"]

[pools.web.http]
host = "Web.internal:8080"
idle = "2s"
idle_connections = 8
response_timeout = "10s"
stall_timeout = "20s"
response_head_size = "32KiB"
retry_on = []

[pools.api]
backends = ["10.0.0.12:80"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "errors").mkdir()
    (tmp_path / "404.html").write_text("<p>not here")
    (tmp_path / "errors" / "down.json").write_text("{}")
    (tmp_path / "gone.txt").write_text("gone")
    return tmp_path


@pytest.fixture
def everything(folder: Path) -> Config:
    return load_text(folder, EVERYTHING)


def parts(config: FrontendConfig, **pools: Pool) -> HttpParts:
    return HttpParts.of(config, pools)


def site(**keys: Any) -> FrontendConfig:
    return FrontendConfig(listen="127.0.0.1:0", mode="http", **keys)


def a_pool(name: str = "web") -> Pool:
    return Pool(name, ["10.0.0.1:80"])


# What is read


def test_everything(everything: Config, folder: Path) -> None:
    assert everything == Config(
        frontends={
            "web": FrontendConfig(
                listen="0.0.0.0:8080",
                mode="http",
                pool="web",
                error_pages={"404": f"{folder}/404.html", "502-504": f"{folder}/errors/down.json"},
                http=HttpConfig(
                    head_timeout=5,
                    body_timeout=20,
                    body_min_rate=1024,
                    send_timeout=40,
                    send_min_rate=2048,
                    keepalive_timeout=90,
                    keepalive_requests=100,
                    head_size=16384,
                    head_lines=50,
                    body_size=1 << 30,
                    ambiguous_path="keep",
                    server_header="remove",
                ),
                forwarded=ForwardedConfig(
                    trust=["10.0.0.0/8"], read="forwarded", send=("x-forwarded", "x-request-id")
                ),
                routes=(
                    HttpRouteConfig(
                        name="api",
                        hosts=[
                            "www.example.com",
                            "*.example.com",
                            "xn--bcher-kva.example",
                            "192.0.2.1",
                            "[2001:db8::1]",
                        ],
                        paths=["/api/*", "/caf%C3%A9", "/~a"],
                        methods=["GET", "PURGE"],
                        headers={"X-Canary": "1", "X-Key": "hunter2"},
                        access=RouteAccessConfig(allow=["10.0.0.0/8"], deny=["10.9.9.9"]),
                        pool="api",
                        request_headers=RequestHeadersConfig(
                            set={"X-Env": "prod", "Authorization": "hunter2"}, remove=["X-Debug"]
                        ),
                        response_headers=ResponseHeadersConfig(
                            set={"Strict-Transport-Security": "max-age=1"}, remove=["X-Powered-By"]
                        ),
                        response_timeout=300,
                        stall_timeout=900,
                        body_timeout=120,
                        body_min_rate=1,
                        body_size=10 << 30,
                        upgrade=["websocket", "custom"],
                    ),
                    HttpRouteConfig(
                        paths=["/old/*"], redirect=RedirectConfig(to="https://{host}/new{query}", status=301)
                    ),
                    HttpRouteConfig(
                        paths=["/gone"], answer=AnswerConfig(status=410, file=f"{folder}/gone.txt")
                    ),
                    HttpRouteConfig(paths=["/v1/*", "/v1/x"], strip_prefix="/v1"),
                ),
            )
        },
        pools={
            "web": PoolConfig(
                backends=(BackendConfig(address="10.0.0.11:80"),),
                http=PoolHttpConfig(
                    host="web.internal:8080",
                    idle=2,
                    idle_connections=8,
                    response_timeout=10,
                    stall_timeout=20,
                    response_head_size=32768,
                    retry_on=(),
                ),
            ),
            "api": PoolConfig(backends=(BackendConfig(address="10.0.0.12:80"),)),
        },
    )


def test_defaults() -> None:
    assert site(pool="web").http is None
    settings = parts(site(pool="web"), web=a_pool()).settings
    assert (float(settings.head_timeout), float(settings.keepalive_timeout)) == (10.0, 60.0)
    assert settings.body_size is None
    assert settings.limits == HeadLimits(32768, 100)
    assert (settings.send, bytes([10, 0, 0, 1]) in settings.trust) == (("x-forwarded",), False)
    assert a_pool().http == PoolHttpConfig()
    assert (str(a_pool().http.host), float(a_pool().http.idle)) == ("client", 4.0)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("client", "client"),
        ("Web.Internal", "web.internal"),
        ("[::1]:80", "[::1]:80"),
        ("b\u00fccher.de", "xn--bcher-kva.de"),
    ],
)
def test_the_host_that_backends_get(written: str, sent: str) -> None:
    assert PoolHttpConfig(host=written).host == sent


def test_a_site_without_a_pool_may_send_all_elsewhere(tmp_path: Path) -> None:
    text = """\
[frontends.plain]
listen = "0.0.0.0:80"
mode = "http"
routes = [{ redirect = { to = "https://{host}{target}" } }]
"""
    config = load_text(tmp_path, text)
    frontend = build_frontend("plain", config.frontends["plain"], {})
    assert frontend.pools == ()
    assert frontend.routes is not None
    (route,) = frontend.routes.routes
    assert route.redirect is not None
    assert route.redirect.location("a.example", "/x?y") == "https://a.example/x?y"


def test_a_loop_through_a_route_is_a_mistake(tmp_path: Path) -> None:
    text = """\
[frontends.web]
listen = "127.0.0.1:8080"
mode = "http"
pool = "web"
routes = [{ paths = ["/a"], pool = "loop" }]
[pools.web]
backends = ["10.0.0.1:80"]
[pools.loop]
backends = ["127.0.0.1:8080"]
"""
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(
        "9: pools.loop.backends[0]: 127.0.0.1:8080 is where frontends.web listens, which leads to this pool"
    )


@pytest.mark.parametrize(
    "text",
    [
        pool("[pools.spare]\nbackends = ['a:1']\n[pools.spare.http]\nidle = 1"),
        EVERYTHING + "[frontends.tcp]\nlisten = '0.0.0.0:1'\npool = 'web'\n",
        EVERYTHING.replace('"/old/*"', '"/*"').replace("https://{host}/new", "/api/new"),
        EVERYTHING.replace("https://{host}/new", "/new"),
        EVERYTHING.replace(':8080"', ':80"').replace("https://{host}/new{query}", "http://{host}{target}:1"),
        EVERYTHING.replace(':8080"', ':80"').replace("https://{host}/new", "http://other.example{path}"),
        EVERYTHING.replace('["/old/*"]', '["/form"]\nmethods = ["POST"]').replace(
            "https://{host}/new", "/form"
        ),
    ],
    ids=[
        "a pool without a frontend",
        "a pool of both modes",
        "a redirect to another route",
        "a path",
        "another path",
        "another host",
        "another method",
    ],
)
def test_allowed(folder: Path, text: str) -> None:
    assert problems(folder, text) == []


def test_mistakes_in_one_route_hide_none_in_others(tmp_path: Path) -> None:
    text = """\
[frontends.web]
listen = "0.0.0.0:80"
mode = "http"
pool = "web"
error_pages = { "5xx" = "a.php", "404" = 1 }
[[frontends.web.routes]]
hosts = ["a b"]
pool = "x"
[[frontends.web.routes]]
paths = ["/a"]
headers = { "a b" = 1 }
[[frontends.web.routes]]
paths = ["/b"]
pool = "y"
[pools.web]
backends = ["10.0.0.1:80"]
"""
    found = problems(tmp_path, text)
    assert [line.partition(": must")[0].partition(": no pool")[0] for line in found] == [
        "5: frontends.web.error_pages.5xx",
        "5: frontends.web.error_pages.5xx",
        "5: frontends.web.error_pages.404",
        "7: frontends.web.routes[0].hosts[0]",
        "8: frontends.web.routes[0].pool",
        '11: frontends.web.routes[1].headers."a b"',
        '11: frontends.web.routes[1].headers."a b"',
        "14: frontends.web.routes[2].pool",
    ]


# What it becomes


def test_settings(everything: Config) -> None:
    web, api = a_pool(), a_pool("api")
    made = parts(everything.frontends["web"], web=web, api=api)
    settings = made.settings
    assert (float(settings.head_timeout), int(settings.body_min_rate)) == (5.0, 1024)
    assert settings.server_header == "remove"
    assert settings.limits == HeadLimits(16384, 50)
    assert bytes([10, 0, 0, 1]) in settings.trust
    assert (settings.read, settings.send) == ("forwarded", ("x-forwarded", "x-request-id"))
    assert settings.pages == {
        404: Page(b"<p>not here", "text/html; charset=utf-8"),
        **dict.fromkeys((502, 503, 504), Page(b"{}", "application/json")),
    }
    assert hash(settings) == hash(settings)
    assert made.routes.pools == (web, api)


def test_routes(everything: Config) -> None:
    web, api = a_pool(), a_pool("api")
    otherwise, first, redirected, answered, stripped = parts(
        everything.frontends["web"], web=web, api=api
    ).routes.routes
    assert (otherwise.name, otherwise.pool, otherwise.body_size) == (None, web, 1 << 30)
    assert (first.name, first.pool, first.body_size, first.response_timeout) == ("api", api, 10 << 30, 300)
    assert first.upgrade == {"websocket", "custom"}
    assert first.access is not None
    assert [
        first.access.refusal(client) for client in (bytes([10, 0, 0, 1]), bytes([10, 9, 9, 9]), None)
    ] == [
        None,
        Refusal.DENIED,
        Refusal.NOT_ALLOWED,
    ]
    assert first.headers == ((b"x-canary", b"1"), (b"x-key", b"hunter2"))
    assert first.request_headers.apply(b"\r\nx-env: a\r\nX-Debug: 1\r\nAccept: b\r\n") == (
        b"\r\nAccept: b\r\nX-Env: prod\r\nAuthorization: hunter2\r\n"
    )
    assert first.response_headers.apply(b"\r\nx-powered-by: a\r\n") == (
        b"\r\nStrict-Transport-Security: max-age=1\r\n"
    )
    assert (redirected.name, redirected.pool) == ("routes[1]", None)
    assert redirected.redirect is not None
    assert redirected.redirect.status == 301
    assert answered.answer is not None
    assert (answered.answer.status, answered.answer.page) == (410, Page(b"gone", "text/plain; charset=utf-8"))
    assert (stripped.strip_prefix, stripped.pool) == (b"/v1", web)
    assert stripped.upgrade == {"websocket"}


@pytest.mark.parametrize(
    ("paths", "written", "becomes"),
    [
        ((), None, "keep"),
        (("/*",), None, "keep"),
        (("/a/*",), None, "reject"),
        (("/a/*",), "keep", "keep"),
        ((), "reject", "reject"),
    ],
)
def test_ambiguous_paths_are_rejected_where_routes_look_at_paths(
    paths: tuple[str, ...], written: Any, becomes: str
) -> None:
    config = site(pool="web", http=HttpConfig(ambiguous_path=written), routes=(HttpRouteConfig(paths=paths),))
    assert parts(config, web=a_pool()).settings.ambiguous_path == becomes


def test_a_pool_takes_over_other_settings() -> None:
    config = PoolConfig(backends=(BackendConfig(address="10.0.0.1:80"),), http=PoolHttpConfig(idle=1))
    assert build_pool("web", config).http is config.http


def test_clients_of_tls_are_offered_what_is_spoken(tmp_path: Path) -> None:
    self_signed(tmp_path, "a.example")
    text = """\
[frontends.http]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"
tls.certificates = [{ cert = "cert.pem", key = "key.pem" }]
[frontends.tcp]
listen = "127.0.0.1:0"
pool = "web"
tls.certificates = [{ cert = "cert.pem", key = "key.pem" }]
[pools.web]
backends = ["10.0.0.1:80"]
"""
    cert, key = self_signed(tmp_path, "a.example")
    text = text.replace("cert.pem", cert.name).replace("key.pem", key.name)
    config = load_text(tmp_path, text)
    pools = {"web": a_pool()}
    offered = {}
    for name, table in config.frontends.items():
        preread = build_frontend(name, table, pools).preread
        assert preread is not None
        assert preread.tls is not None
        offered[name] = preread.tls._config.alpn
    assert offered == {"http": ("http/1.1",), "tcp": ()}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"http": HttpSettings()}, "must have routes with http"),
        ({"http": HttpSettings(), "routes": Routes()}, "must have routes with http"),
        ({"routes": Routes()}, "routes have no effect without http"),
        (
            {"http": HttpSettings(), "preread": PrereadSettings(routes=NameMap([], deep=True))},
            "preread with routes to pools has no effect with http, give routes with hosts",
        ),
    ],
)
def test_frontends_that_make_no_sense(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        Frontend("web", "127.0.0.1:0", a_pool(), **keys)
    assert str(caught.value) == f"frontend web: {message}"


# Files


def test_a_file_that_cannot_be_read_is_a_mistake_at_its_key(folder: Path) -> None:
    (folder / "tcpbalance.toml").write_text(EVERYTHING)
    (folder / "gone.txt").unlink()
    page = folder / "404.html"
    page.write_bytes(bytes(MAX_PAGE + 1))
    with pytest.raises(ConfigError) as caught:
        read_config(folder / "tcpbalance.toml")
    assert [str(problem).removeprefix(f"{folder}/tcpbalance.toml:") for problem in caught.value.problems] == [
        f"5: frontends.web.error_pages.404: {page} is larger than 1 MiB, leave large files to a backend",
        f"49: frontends.web.routes[2].answer.file: cannot read {folder}/gone.txt: no such file or directory",
    ]


def test_a_pipe_is_no_page(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(PageError) as caught:
        parts(site(pool="web", error_pages={"404": f"{tmp_path}/page.html"}), web=a_pool())
    assert str(caught.value) == f"{tmp_path}/page.html is no file with a content"


def test_files_of_one_frontend_are_bounded_together(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(MAX_PAGES // MAX_PAGE + 1)]
    for file in files:
        file.write_bytes(bytes(MAX_PAGE))
    routes = tuple(
        HttpRouteConfig(paths=[f"/{file.name}"], answer=AnswerConfig(status=200, file=str(file)))
        for file in files
    )
    assert len(parts(site(routes=routes[1:])).routes.pages) == MAX_PAGES // MAX_PAGE
    with pytest.raises(PageError) as caught:
        parts(site(routes=routes))
    assert str(caught.value) == "the files of answers are larger than 32 MiB together"


def test_the_others_are_served_while_thousands_of_routes_are_read(tmp_path: Path) -> None:
    routes = "".join(f'[[frontends.web.routes]]\npaths = ["/{number}"]\n' for number in range(500))
    file = tmp_path / "tcpbalance.toml"
    file.write_text(
        f'[frontends.web]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "web"\n{routes}'
        '[pools.web]\nbackends = ["10.0.0.1:80"]\n'
    )
    rests: list[None] = []
    read_config(file, rest=lambda: rests.append(None))
    assert len(rests) > 500


def test_a_file_is_read_once(folder: Path) -> None:
    page = str(folder / "404.html")
    made = parts(site(pool="web", error_pages={"404": page, "500-599": page}), web=a_pool())
    assert len(made.settings.pages) == 101
    assert len(set(map(id, made.settings.pages.values()))) == 1


def test_workers_get_the_files_with_their_types(everything: Config, folder: Path) -> None:
    frontend = everything.frontends["web"]
    names = sorted(read_files(frontend))
    assert names == sorted(f"{folder}/{name}" for name in ("404.html", "errors/down.json", "gone.txt"))
    handed: FrontendConfig = pickle.loads(pickle.dumps(frontend))
    moved = with_files(handed, lambda path: f"/proc/self/fd/{len(path)}")
    assert {path.media_type for path in moved.error_pages.values()} == {
        "text/html; charset=utf-8",
        "application/json",
    }
    answer = moved.routes[2].answer
    assert answer is not None
    assert isinstance(answer.file, PagePath)
    assert (answer.file[:14], answer.file.media_type) == ("/proc/self/fd/", "text/plain; charset=utf-8")


@pytest.fixture
def balancer(everything: Config) -> Iterator[Balancer]:
    reactor: Any = MemoryReactorClock()
    made = Balancer.from_config(reactor, everything, clock=reactor.seconds)
    made.startService()
    yield made
    made.stopService()


def prepared(balancer: Balancer, config: Config) -> Parts:
    return balancer.prepare_config(config, lambda: None).parts


def test_a_reload_reads_the_files_of_answers_again(
    balancer: Balancer, everything: Config, folder: Path
) -> None:
    present = prepared(balancer, everything).frontends["web"]
    assert prepared(balancer, everything).frontends["web"] is present
    (folder / "gone.txt").write_text("gone for good")
    after = prepared(balancer, everything).frontends["web"]
    assert after is not present
    assert after.routes is not None
    assert after.routes.pages[-1] == Page(b"gone for good", "text/plain; charset=utf-8")
    balancer.apply(everything)
    assert prepared(balancer, everything).frontends["web"] is not present
    (folder / "404.html").unlink()
    with pytest.raises(PageError, match=r"cannot read .*404\.html: no such file"):
        prepared(balancer, everything)


# What is shown of it


def test_a_change_of_a_route_is_one_line(everything: Config, folder: Path) -> None:
    text = EVERYTHING.replace('pool = "api"', 'pool = "web"').replace('"404.html"', '"gone.txt"')
    text = text.replace("status = 410", "status = 404").replace('paths = ["/old/*"]', 'paths = ["/older/*"]')
    text = text.replace('X-Env = "prod"', 'X-Env = "test"').replace("head_lines = 50", "head_lines = 60")
    found = difference(everything, load_text(folder, text))
    old, new = (value_text(f"{folder}/{name}") for name in ("404.html", "gone.txt"))
    assert list(plan_lines(found)) == [
        "~ frontends.web.http.head_lines: 50 -> 60 (for new requests)",
        '~ frontends.web.routes.api.pool: "api" -> "web" (for new requests)',
        f'~ frontends.web.routes.api.request_headers.set.X-Env: "{HIDDEN}" -> "{HIDDEN}" (for new requests)',
        '~ frontends.web.routes."/old/*": a table -> absent (for new requests)',
        '~ frontends.web.routes."/gone".answer.status: 410 -> 404 (for new requests)',
        '~ frontends.web.routes."/older/*": absent -> a table (for new requests)',
        f"~ frontends.web.error_pages.404: {old} -> {new} (for new requests)",
        "changes: 7 keys",
    ]
    assert "hunter2" not in json.dumps(plan_document(found))


def test_another_order_of_routes_is_one_change(everything: Config) -> None:
    frontend = everything.frontends["web"]
    turned = attrs.evolve(frontend, routes=tuple(reversed(frontend.routes)))
    found = difference(everything, attrs.evolve(everything, frontends={"web": turned}))
    assert next(plan_lines(found)) == (
        '~ frontends.web.routes: ["api", "/old/*", "/gone", "/v1/* /v1/x"] -> '
        '["/v1/* /v1/x", "/gone", "/old/*", "api"] (for new requests)'
    )
    assert len(found.changed) == 1


def test_what_may_be_secret_is_not_shown(everything: Config, folder: Path) -> None:
    shown: dict[str, Any] = at_once(shown_config(everything))
    assert "hunter2" not in json.dumps(shown)
    route = shown["frontends"]["web"]["routes"][0]
    assert route["headers"] == {"X-Canary": HIDDEN, "X-Key": HIDDEN}
    assert route["request_headers"]["set"] == {"X-Env": HIDDEN, "Authorization": HIDDEN}
    assert route["response_headers"]["set"] == {"Strict-Transport-Security": "max-age=1"}
    assert shown["frontends"]["web"]["routes"][1]["redirect"]["to"] == "https://{host}/new{query}"
    assert shown["frontends"]["web"]["error_pages"]["404"] == f"{folder}/404.html"
    assert json.loads(json.dumps(shown)) == shown


def test_what_is_shown_of_pages_can_be_loaded(everything: Config, folder: Path) -> None:
    shown: dict[str, Any] = at_once(shown_config(everything))
    table = {
        "frontends": {
            "web": {key: shown["frontends"]["web"][key] for key in ("listen", "mode", "pool", "error_pages")}
        }
    }
    writer = TomlWriter(random.Random(1))
    writer.document(table)
    loaded = load_text(folder, f"{writer.text}\n[pools.web]\nbackends = ['10.0.0.1:80']\n")
    assert loaded.frontends["web"].error_pages == everything.frontends["web"].error_pages


@pytest.mark.parametrize("name", sorted(FIXED_FIELDS))
@pytest.mark.parametrize("kind", [RequestHeadersConfig, ResponseHeadersConfig])
def test_what_is_written_from_facts_cannot_be_edited(kind: Any, name: bytes) -> None:
    for keys in ({"set": {name.decode(): "a"}}, {"remove": [name.decode().title()]}):
        with pytest.raises(SettingError, match="cannot have"):
            kind(**keys)


@given(st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True), st.text(max_size=20))
def test_all_rules_that_are_accepted_can_be_applied(name: str, value: str) -> None:
    for kind in (RequestHeadersConfig, ResponseHeadersConfig):
        with contextlib.suppress(SettingError):
            rules: Any = kind(set={name: value}, remove=["X-Other"])
            config = site(pool="web", routes=(HttpRouteConfig(**{_KEYS[kind]: rules}),))
            route = parts(config, web=a_pool()).routes.routes[1]
            edits = route.request_headers if kind is RequestHeadersConfig else route.response_headers
            line = f"{name}: {value}\r\n".encode()
            assert edits.apply(b"\r\nx-other: 1\r\n") == b"\r\n" + line


_KEYS = {RequestHeadersConfig: "request_headers", ResponseHeadersConfig: "response_headers"}
