"""Chromium at a site behind ``mode = "http"``, in the clear and over TLS."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from playwright.sync_api import Browser, expect

from support.asgi_site import RESOURCES
from support.browser import Tab, chromium
from support.certificates import Authority
from support.daemon import Daemon
from support.waiting import until
from support.web_servers import asgi_site

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.plain]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[frontends.secured]
mode = "http"
listen = "127.0.0.1:0"
pool = "web"

[frontends.secured.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.web]
backends = ["{backend}"]
"""

WITHIN = 20_000
"""Milliseconds that anything may take on a busy machine."""

UPLOAD = 100 * (1 << 20)

pytestmark = pytest.mark.requires("chromium")


@frozen
class Site:
    """A browser, and a site behind a frontend.

    :param url: of the site, without a slash at the end.
    """

    browser: Browser
    daemon: Daemon
    url: str

    def tab(self, path: str) -> Tab:
        """Open a page of the site."""
        return Tab(self.browser, f"{self.url}{path}", ignore_https_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        expect.set_options(timeout=WITHIN)
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("browser")
    Authority.root().issue(folder, "web", "localhost")
    with asgi_site() as backend, Daemon(CONFIG.format(backend=backend), folder) as running:
        yield running


@pytest.fixture(params=["plain", "secured"])
def site(request: pytest.FixtureRequest, browser: Browser, daemon: Daemon) -> Site:
    scheme = "https" if request.param == "secured" else "http"
    return Site(browser, daemon, f"{scheme}://localhost:{daemon.ports[request.param]}")


def requests(daemon: Daemon) -> list[dict[str, Any]]:
    """Give the records of requests: Chromium also opens connections for none."""
    return [it for it in daemon.access_records if "status" in it]


def test_a_page_with_50_resources(site: Site) -> None:
    before = len(requests(site.daemon))
    with site.tab("/page") as tab:
        tab.page.wait_for_load_state("networkidle")
        statuses = tab.page.evaluate(
            "performance.getEntriesByType('resource').map((it) => [it.responseStatus, it.nextHopProtocol])"
        )
        assert statuses.count([200, "http/1.1"]) == RESOURCES
        assert tab.page.evaluate("seen") == list(range(0, RESOURCES, 3))
        widths = tab.page.evaluate("[...document.images].map((it) => it.complete && it.naturalWidth)")
        assert widths == list(range(2, RESOURCES, 3))
    until(lambda: len(requests(site.daemon)) >= before + RESOURCES + 1, "the records")
    ends = {(it["reason"], it["status"]) for it in requests(site.daemon)[before:]}
    assert ends == {("answered", 200)}


def test_a_chat(site: Site) -> None:
    with site.tab("/") as one, site.tab("/") as other:
        for tab in (one, other):
            expect(tab.page.get_by_text("Connected")).to_be_visible()
        for tab, text in ((one, "Good morning"), (other, "Good evening \N{SNOWMAN}"), (one, "a" * 100_000)):
            tab.page.get_by_label("Message").fill(text)
            tab.page.get_by_role("button", name="Say").click()
            for each in (one, other):
                lines = each.page.get_by_role("list", name="Chat").get_by_role("listitem")
                expect(lines.filter(has_text=text)).to_have_count(1)
    until(lambda: sum(it["status"] == 101 for it in requests(site.daemon)) >= 2, "records of the connections")


@pytest.mark.timeout(120)
def test_an_upload_of_100_mib_shows_its_progress(site: Site, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * (UPLOAD >> 20)
    (tmp_path / "file").write_bytes(content)
    with site.tab("/") as tab:
        tab.page.get_by_label("File").set_input_files(tmp_path / "file")
        tab.page.get_by_role("button", name="Upload").click()
        output = tab.page.get_by_role("status")
        expect(output).not_to_be_empty(timeout=60_000)
        assert json.loads(output.inner_text()) == {
            "size": UPLOAD,
            "hash": hashlib.sha256(content).hexdigest(),
        }
        steps = tab.page.evaluate("steps")
    # What the browser has sent is not all taken at once: it goes on to the backend meanwhile.
    assert steps == sorted(steps)
    assert sum(UPLOAD * 0.1 < step < UPLOAD * 0.9 for step in steps) >= 3
