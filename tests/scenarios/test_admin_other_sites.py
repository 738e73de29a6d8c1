"""A page of another site in the browser of an operator tries to steer the balancer: nothing is changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from support.admin import BACKEND_A, Admin, Stage
from support.browser import chromium
from support.clients import ask

pytestmark = [pytest.mark.requires("chromium"), pytest.mark.parametrize("workers", [1], indirect=True)]

EVIL = "evil.example"
"""A name that means this machine, for the browser."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as running:
        yield running


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title><p>welcome")

    def log_message(self, *_: object) -> None:
        """Leave the log out."""


@contextmanager
def site() -> Iterator[int]:
    """Run a site that has nothing to do with the balancer; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


FETCH = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        return `${response.type} ${response.status} ${await response.text()}`;
    } catch (error) {
        return error.name;
    }
}"""

FORM = """([url, type, name, value]) => {
    const form = document.body.appendChild(document.createElement("form"));
    Object.assign(form, {action: url, method: "POST", enctype: type});
    Object.assign(form.appendChild(document.createElement("input")), {name, value});
    form.submit();
}"""

BEACON = "([url, text, type]) => navigator.sendBeacon(url, new Blob([text], {type}))"

BAN = '{"client": "127.0.0.1", "for": "1h"}'
AS_JSON, AS_TEXT = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}

CHANGES: list[tuple[str, str, str]] = [
    ("PATCH", BACKEND_A, '{"state": "maintenance"}'),
    ("POST", "/api/v1/bans", BAN),
    ("POST", "/api/v1/reload", "{}"),
    ("DELETE", f"{BACKEND_A}", "{}"),
    ("PUT", "/api/v1/debug_clients", '{"debug_clients": ["127.0.0.1"]}'),
]


def try_to_steer(page: Page, where: str) -> list[str]:
    """Try all that a page can; gives what it was told."""
    told = []
    for method, path, body in CHANGES:
        for headers in (AS_JSON, AS_TEXT, {}):
            for mode in ("cors", "no-cors"):
                options = {"method": method, "headers": headers, "mode": mode, "body": body}
                told.append(page.evaluate(FETCH, [where + path, {**options, "credentials": "include"}]))
        if method == "POST":
            here = page.url
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                # A form of text/plain is sent as NAME=VALUE: so it can be JSON.
                with page.expect_navigation() as navigation:
                    page.evaluate(FORM, [where + path, kind, body[:-1] + ', "x": "', '"}'])
                assert navigation.value.status in (403, 421)
                page.goto(here)
            for kind in ("text/plain", "application/json"):
                page.evaluate(BEACON, [where + path, body, kind])
    return told


def state(admin: Admin) -> Any:
    """Give all that the page tries to change."""
    backends = admin.get("/api/v1/pools/web?counters=false")["backends"]
    return (
        [(it["name"], it["state"]) for it in backends],
        admin.get("/api/v1/bans"),
        admin.get("/api/v1/debug_clients"),
        admin.get("/api/v1/status")["config"]["revision"],
        admin.get("/api/v1/status")["config"]["loaded"],
        admin.get("/api/v1/events")["newest"],
    )


def test_what_is_tried_would_change_something_where_it_is_allowed(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, browser.new_context() as context:
        admin = Admin(daemon)
        before = state(admin)
        page = context.new_page()
        where = f"http://127.0.0.1:{admin.port}"
        page.goto(f"{where}/")
        method, path, body = CHANGES[0]
        told = page.evaluate(FETCH, [where + path, {"method": method, "headers": AS_JSON, "body": body}])
        assert told.startswith("basic 200 ")
        assert state(admin)[0] != before[0]


def test_a_page_of_another_site_changes_and_reads_nothing(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, site() as port, browser.new_context() as context:
        admin = Admin(daemon)
        before = state(admin)
        page = context.new_page()
        # The other port of the same machine is another site, too.
        for name, host in ((EVIL, "127.0.0.1"), ("127.0.0.1", "localhost")):
            page.goto(f"http://{name}:{port}/")
            where = f"http://{host}:{admin.port}"
            assert set(try_to_steer(page, where)) <= {"TypeError", "opaque 0 "}
            for mode in ("cors", "no-cors"):
                looked = page.evaluate(FETCH, [f"{where}/api/v1/status", {"mode": mode}])
                assert looked in ("TypeError", "opaque 0 ")
        assert state(admin) == before
        assert ask(daemon.port) in (b"a", b"b")


def test_a_name_that_comes_to_mean_the_balancer_changes_and_reads_nothing(
    stage: Stage, browser: Browser
) -> None:
    # A page that was loaded while the name was that of another machine has what policy it likes.
    with stage.daemon() as daemon, browser.new_context(bypass_csp=True) as context:
        admin = Admin(daemon)
        before = state(admin)
        page = context.new_page()
        where = f"http://{EVIL}:{admin.port}"
        page.goto(f"{where}/")
        told = try_to_steer(page, where)
        told.append(page.evaluate(FETCH, [f"{where}/api/v1/status", {}]))
        told.append(page.evaluate(FETCH, [f"{where}/metrics", {}]))
        # The browser itself refuses the other methods in the mode "no-cors".
        answered = [it for it in told if it != "TypeError"]
        assert len(answered) >= len(CHANGES) * 3 + 2
        assert all(it.startswith("basic 421 ") and "asked for host" in it for it in answered), answered
        assert state(admin) == before


def test_the_dashboard_is_not_shown_in_a_page_of_another_site(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, site() as port, browser.new_context() as context:
        admin = Admin(daemon)
        page = context.new_page()
        page.goto(f"http://{EVIL}:{port}/")
        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.evaluate(
                "url => { document.body.appendChild(document.createElement('iframe')).src = url; }",
                f"http://127.0.0.1:{admin.port}/",
            )
