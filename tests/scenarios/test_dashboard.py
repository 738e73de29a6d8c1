"""The dashboard of a balancer that runs, looked at and used in a browser."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.browser import Dashboard, chromium
from support.clients import ask, connect
from support.daemon import Daemon
from support.peers import holds, peer
from support.ports import free_port
from support.waiting import until
from tcpbalance.workers.shared_counts import can_count

pytestmark = [pytest.mark.requires("chromium")]

TOKEN, READ_ONLY = "0123456789abcdef-full", "0123456789abcdef-read"

CHECKED = """
[pools.web.health]
interval = "100ms"
timeout = "1s"
fall = 1
rise = 1
"""

WITH_LIMITS = """
[frontends.web.limits]
connections_per_client = 1000
ban_after = 1000
"""

NARROW = (360, 740)

ONE_PROCESS = pytest.mark.parametrize("workers", [1], indirect=True)

SECONDS = 20_000
"""Milliseconds that anything may take on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        expect.set_options(timeout=SECONDS)
        yield running


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Backends that say their names and stay."""
    with peer(holds(b"a")) as a, peer(holds(b"b")) as b:
        yield Stage(tmp_path, workers, a, b)


def is_up(admin: Admin, path: str = BACKEND_A) -> bool:
    return bool(admin.get(path)["state"] == "up")


def test_a_backend_that_goes_down_is_shown_within_two_seconds(stage: Stage, browser: Browser) -> None:
    with stage.daemon(more=CHECKED) as daemon:
        admin = Admin(daemon)
        until(lambda: is_up(admin), "backend a is up")
        with Dashboard(browser, admin.port) as shown:
            expect(shown.backend("a")).to_contain_text("up")
            expect(shown.page.get_by_text("Live", exact=True)).to_be_visible()
            stage.a.end()
            expect(shown.backend("a")).to_contain_text("down", timeout=2_000)
            expect(shown.backend("a")).to_contain_text("refused")
            expect(shown.backend("b")).to_contain_text("up")
            expect(shown.page.get_by_role("listitem").filter(has_text="backend down")).to_contain_text(
                "web/a"
            )


def test_a_backend_is_drained_by_a_click_and_undone(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)
        shown.button("Drain: a of pool web").click()
        expect(shown.question).to_contain_text("a of pool web gets no new clients")
        assert admin.get(BACKEND_A)["admin_state"] == "ready"
        shown.confirm("Drain")
        expect(shown.question).to_be_hidden()
        expect(shown.backend("a")).to_contain_text("draining")
        assert admin.get(BACKEND_A)["state"] == "draining"
        until(lambda: {first_byte(daemon) for _ in range(4)} == {b"b"}, "all clients at b")

        expect(shown.page.get_by_role("status").filter(has_text="a of pool web drains.")).to_have_count(1)
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("Undone: a of pool web is ready again.")
        expect(shown.backend("a")).to_contain_text("up")
        assert admin.get(BACKEND_A)["admin_state"] == "ready"


@ONE_PROCESS
def test_the_undo_of_a_change_restores_a_drain_with_what_is_left_of_its_deadline(
    stage: Stage, browser: Browser
) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)

        def state() -> tuple[str, float | None]:
            its = admin.get(BACKEND_A)
            left = its["drain_deadline"]
            return its["admin_state"], left and round(left, -2)

        admin.ask("PATCH", BACKEND_A, {"state": "drain", "deadline": "1h"})
        expect(shown.backend("a")).to_contain_text("sessions are ended in 59 min")
        for name in ("Ready", "Maintenance"):
            shown.button(f"{name}: a of pool web").click()
            shown.confirm(name)
            shown.button("Undo").click()
            expect(shown.results).to_contain_text(
                "a of pool web drains again; its sessions are ended in 59 min"
            )
            assert state() == ("drain", 3600)
            shown.button("Dismiss").click()

        # A deadline that another operator has set since stays.
        shown.button("Maintenance: a of pool web").click()
        shown.confirm("Maintenance")
        expect(shown.button("Undo")).to_be_visible()
        admin.ask("PATCH", BACKEND_A, {"state": "maintenance", "deadline": "2h"})
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("has been changed since, with another deadline")
        assert state() == ("maintenance", 7200)


@ONE_PROCESS
def test_the_undo_of_a_deadline_takes_it_away(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)
        shown.button("Drain: a of pool web").click()
        # Meanwhile, another operator drains it.
        admin.ask("PATCH", BACKEND_A, {"state": "drain"})
        shown.question.get_by_label("End the sessions that are open after (optional)").fill("1h")
        shown.confirm("Drain")
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("Undone: a of pool web drains again.")
        its = admin.get(BACKEND_A)
        assert (its["admin_state"], its["drain_deadline"]) == ("drain", None)


def first_byte(daemon: Daemon) -> bytes:
    with connect(daemon.port) as client:
        return client.recv(1)


@ONE_PROCESS
def test_a_backend_is_drained_by_keyboard_alone(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin, press = Admin(daemon), shown.page.keyboard.press
        drain = shown.button("Drain: a of pool web")
        expect(drain).to_be_visible()
        go_to(shown.page, drain.get_attribute("aria-label"))
        assert has_ring(shown.page)
        press("Enter")
        expect(shown.question).to_be_visible()
        press("Escape")
        expect(shown.question).to_be_hidden()
        expect(drain).to_be_focused()

        press("Enter")
        expect(shown.question.get_by_label("End the sessions that are open after (optional)")).to_be_focused()
        shown.page.keyboard.type("1h")
        go_to(shown.page, "Drain")
        press("Enter")
        expect(shown.results).to_contain_text("a of pool web drains.")
        assert admin.get(BACKEND_A)["admin_state"] == "drain"
        expect(shown.button("Ready: a of pool web")).to_be_focused()
        go_to(shown.page, "Undo", "Shift+Tab")
        press("Enter")
        expect(shown.button("Dismiss")).to_be_focused()
        assert admin.get(BACKEND_A)["admin_state"] == "ready"
        press("Escape")
        expect(shown.results.get_by_role("button")).to_have_count(0)
        expect(drain).to_be_focused()


def go_to(page: Page, name: str | None, key: str = "Tab") -> None:
    """Press a key until an element of this name has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent") == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} is not reached by keyboard")


def has_ring(page: Page) -> bool:
    """Whether the element that has the focus shows it."""
    return bool(page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid")


@ONE_PROCESS
def test_what_cannot_be_done_is_said_where_it_was_asked(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        with Dashboard(browser, admin.port, may_fail=True) as shown:
            shown.button("Drain: a of pool web").click()
            shown.question.get_by_label("End the sessions that are open after (optional)").fill("soon")
            shown.confirm("Drain")
            expect(shown.question.get_by_role("alert")).to_contain_text("deadline must be a duration")
            shown.confirm("Cancel")
            expect(shown.question).to_be_hidden()
            assert admin.get(BACKEND_A)["admin_state"] == "ready"


@ONE_PROCESS
def test_a_backend_is_put_in_maintenance_and_what_has_changed_since_is_not_undone(
    stage: Stage, browser: Browser
) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)
        admin.ask("PATCH", "/api/v1/pools/web/backends/b", {"state": "drain"})
        expect(shown.backend("b")).to_contain_text("draining")
        shown.button("Maintenance: a of pool web").click()
        expect(shown.question).to_contain_text("No other backend of this pool is up")
        shown.confirm("Maintenance")
        expect(shown.backend("a")).to_contain_text("maintenance")
        admin.ask("PATCH", BACKEND_A, {"state": "drain"})
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("a of pool web has been changed since, to drain")
        assert admin.get(BACKEND_A)["admin_state"] == "drain"


@ONE_PROCESS
def test_the_weight_is_changed_and_undone(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)
        shown.button("Weight: a of pool web").click()
        weight = shown.question.get_by_label("Weight")
        expect(weight).to_have_value("1")
        weight.fill("7")
        shown.confirm("Change weight")
        expect(shown.results).to_contain_text("The weight of a of pool web is 7 instead of 1.")
        assert admin.get(BACKEND_A)["weight"] == 7
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("is 1 again")
        assert admin.get(BACKEND_A)["weight"] == 1


def test_a_session_is_ended(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown, ExitStack() as held:
        clients = [held.enter_context(connect(daemon.port)) for _ in range(2)]
        names = [client.recv(1).decode() for client in clients]
        assert sorted(names) == ["a", "b"]
        of_a = clients[names.index("a")]
        # Those of one backend, by its number of sessions.
        shown.page.get_by_role("link", name="1 sessions of a").click()
        table = shown.page.get_by_role("table", name="Sessions")
        expect(table.get_by_role("row")).to_have_count(2)
        client = f"127.0.0.1:{of_a.getsockname()[1]}"
        expect(table.get_by_role("row").nth(1)).to_contain_text(client)
        shown.button(f"End: session of {client}").click()
        expect(shown.question).to_contain_text("This cannot be undone.")
        expect(shown.question.get_by_role("button", name="Cancel")).to_be_focused()
        shown.confirm("End session")
        with pytest.raises(ConnectionResetError):
            of_a.recv(1)
        expect(shown.results).to_contain_text(f"The session of {client} has ended.")
        expect(shown.button("Undo")).to_have_count(0)
        expect(table.get_by_role("row")).to_have_count(1)
        shown.page.get_by_label("Backend", exact=True).fill("b")
        expect(table.get_by_role("row")).to_have_count(2)


def test_a_client_is_banned_and_the_ban_is_lifted(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)

        def banned() -> list[Any]:
            return [ban["client"] for ban in admin.get("/api/v1/bans")["bans"]]

        def row_of(client: str) -> Locator:
            table = shown.page.get_by_role("table", name="Bans")
            return table.get_by_role("row").filter(has_text=client)

        shown.page.get_by_role("heading", name="Bans").click()
        shown.button("Ban a client…").click()
        shown.question.get_by_label("Client").fill("192.0.2.7")
        shown.confirm("Ban")
        expect(shown.results).to_contain_text("Client 192.0.2.7 is banned at web for 10m.")
        assert banned() == ["192.0.2.7"]
        row = row_of("192.0.2.7")
        expect(row).to_contain_text("9 min")

        shown.button("Undo").click()
        expect(shown.results).to_contain_text("Undone: client 192.0.2.7 is banned no longer at web.")
        expect(row).to_have_count(0)
        assert banned() == []

        shown.button("Dismiss").click()
        admin.ask("POST", "/api/v1/bans", {"frontend": "web", "client": "192.0.2.8", "for": "1h"})
        shown.button("Lift: ban of 192.0.2.8 at web, by an operator").click()
        shown.confirm("Lift ban")
        expect(shown.results).to_contain_text("The ban of client 192.0.2.8 at web is lifted.")
        assert banned() == []
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("is banned again at web")
        assert banned() == ["192.0.2.8"]


@ONE_PROCESS
def test_the_undo_of_a_ban_goes_back_to_an_earlier_one(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        admin = Admin(daemon)

        def ban(time: str) -> None:
            shown.button("Ban a client…").click()
            shown.question.get_by_label("Client").fill("192.0.2.8")
            shown.question.get_by_label("For").fill(time)
            shown.confirm("Ban")

        def seconds() -> float:
            (found,) = admin.get("/api/v1/bans")["bans"]
            return float(found["seconds"])

        admin.ask("POST", "/api/v1/bans", {"client": "192.0.2.8", "for": "1h"})
        shown.page.get_by_role("heading", name="Bans").click()
        ban("2h")
        expect(shown.results).to_contain_text("Client 192.0.2.8 is banned at web for 2h.")
        assert seconds() > 3600
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("Undone: client 192.0.2.8 is banned for 59 min")
        assert 3500 < seconds() < 3600
        shown.button("Dismiss").click()

        # The later end counts, so that there is nothing to undo.
        ban("5m")
        expect(shown.results).to_contain_text("was banned at web already, and not for a shorter time")
        expect(shown.button("Undo")).to_have_count(0)
        shown.button("Dismiss").click()

        ban("2h")
        expect(shown.button("Undo")).to_be_visible()
        admin.ask("POST", "/api/v1/bans", {"client": "192.0.2.8", "for": "3h"})
        shown.button("Undo").click()
        expect(shown.results).to_contain_text("the ban of client 192.0.2.8 has been changed since")
        assert seconds() > 7200


def with_tokens(stage: Stage) -> str:
    for name, token in (("full", TOKEN), ("read-only", READ_ONLY)):
        path = stage.folder / name
        path.write_text(token)
        path.chmod(0o600)
    return f'{LOOPBACK}\ntoken_file = "full"\nread_only_token_file = "read-only"'


def give_token(shown: Dashboard, token: str) -> None:
    shown.page.get_by_label("Token", exact=True).fill(token)
    shown.button("Show the dashboard").click()


@ONE_PROCESS
def test_a_read_only_token_sees_no_button(stage: Stage, browser: Browser) -> None:
    with stage.daemon(with_tokens(stage), WITH_LIMITS) as daemon, connect(daemon.port):
        admin = Admin(daemon, READ_ONLY)
        until(lambda: admin.get("/api/v1/sessions")["sessions"], "a session")
        with Dashboard(browser, admin.port, may_fail=True) as shown:
            give_token(shown, READ_ONLY)
            expect(shown.backend("a")).to_contain_text("up")
            expect(shown.page.get_by_text("Read only")).to_be_visible()
            expect(shown.page.get_by_text("Live", exact=True)).to_be_visible()
            for heading in ("Sessions", "Bans"):
                shown.page.get_by_role("heading", name=heading).click()
            expect(shown.page.get_by_role("table", name="Sessions").get_by_role("row")).to_have_count(2)
            expect(shown.page.get_by_text("no client is banned")).to_be_visible()
            expect(shown.page.get_by_role("button")).to_have_count(0)


@ONE_PROCESS
def test_a_wrong_token_is_said_and_the_right_one_is_kept_for_the_tab_alone(
    stage: Stage, browser: Browser
) -> None:
    with stage.daemon(with_tokens(stage)) as daemon:
        admin = Admin(daemon, TOKEN)
        with Dashboard(browser, admin.port, may_fail=True) as shown:
            field = shown.page.get_by_label("Token", exact=True)
            expect(field).to_be_focused()
            expect(shown.page.get_by_role("heading", name="Pools")).to_be_hidden()
            give_token(shown, "wrong")
            error = shown.page.get_by_role("alert").filter(has_text="not one of this balancer's")
            expect(error).to_be_visible()
            give_token(shown, "w\u00f6rong")
            expect(shown.page.get_by_text("no characters beyond ASCII")).to_be_visible()
            give_token(shown, TOKEN)
            expect(shown.button("Drain: a of pool web")).to_be_visible()
            shown.page.reload()
            expect(shown.button("Drain: a of pool web")).to_be_visible()
            assert TOKEN not in shown.page.url
            kept = shown.page.evaluate("[document.cookie, JSON.stringify(localStorage)]")
            assert kept == ["", "{}"]

            # It is asked for again when it is not valid any more.
            (stage.folder / "full").write_text(TOKEN[::-1])
            expect(field).to_be_visible()
            expect(shown.button("Drain: a of pool web")).to_be_hidden()


def test_a_stream_that_is_lost_is_said_and_comes_back(stage: Stage, browser: Browser) -> None:
    where = f"127.0.0.1:{free_port()}"
    with stage.daemon(f'listen = "{where}"') as daemon:
        admin = Admin(daemon)
        with Dashboard(browser, admin.port, NARROW, may_fail=True) as shown:
            live = shown.page.get_by_text("Live", exact=True)
            lost = shown.page.get_by_role("alert").filter(has_text="Event stream lost since")
            expect(live).to_be_visible()
            expect(lost).to_be_hidden()
            assert daemon.stop() == 0
            expect(lost).to_be_visible()
            expect(live).to_be_hidden()
            # Wherever the page is scrolled to.
            shown.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            assert shown.page.evaluate("scrollY") > 0
            expect(lost).to_be_in_viewport()
            daemon.start()
            expect(live).to_be_visible()
            expect(lost).to_be_hidden()
            admin.ask("PATCH", BACKEND_A, {"state": "drain"})
            expect(shown.backend("a")).to_contain_text("draining")
            expect(
                shown.page.get_by_role("listitem").filter(has_text="backend state").filter(has_text="web/a")
            ).to_have_count(1)


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64")
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_a_worker_that_does_not_answer_is_named(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        with Dashboard(browser, admin.port, may_fail=True) as shown:
            live = shown.page.get_by_text("Live", exact=True)
            expect(live).to_be_visible()
            stopped = admin.get("/api/v1/status")["processes"][1]["pid"]
            os.kill(stopped, signal.SIGSTOP)
            try:
                alert = shown.page.get_by_role("alert").filter(has_text="Figures lost since")
                expect(alert).to_contain_text("worker 1 has not answered for 2 s")
                # What was seen last stays, and the stream goes on.
                expect(shown.backend("a")).to_contain_text("up")
                expect(alert).not_to_contain_text("Event stream")
            finally:
                os.kill(stopped, signal.SIGCONT)
            expect(live).to_be_visible()


def many(stage: Stage, number: int) -> str:
    """Tables that add a pool with so many backends, all of which are there."""
    addresses = "".join(
        f'{{ name = "app-{count:03}", address = "127.0.{1 + count % 9}.{1 + count // 9}:{stage.b.port}" }},\n'
        for count in range(number)
    )
    return (
        f'[frontends.many]\nlisten = "127.0.0.1:0"\npool = "many"\n[pools.many]\nbackends = [{addresses}]\n'
    )


VIEWS = 8

BUSY_FOR = 0.1
"""Seconds of processor time that the page may take to show a view, whatever else the machine does."""


class ProcessorTime:
    """The processor time that a page has taken, without what the browser does in other threads."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        (found,) = [metric["value"] for metric in metrics if metric["name"] == "TaskDuration"]
        return float(found)


@ONE_PROCESS
def test_it_keeps_up_with_200_backends(stage: Stage, browser: Browser) -> None:
    with stage.daemon(more=many(stage, 200)) as daemon:
        admin = Admin(daemon)
        with Dashboard(browser, admin.port) as shown:
            table = shown.page.get_by_role("table", name="Backends of pool many")
            expect(table.get_by_role("row")).to_have_count(201)
            processor_time = ProcessorTime(shown.page)
            before = processor_time.seconds()
            for _ in range(VIEWS):
                with shown.page.expect_response(lambda it: it.url.endswith("/api/v1/view")):
                    ask(daemon.ports["many"])
            assert processor_time.seconds() - before < VIEWS * BUSY_FOR
            admin.ask("PATCH", "/api/v1/pools/many/backends/app-199", {"state": "drain"})
            expect(table.get_by_role("row").filter(has_text="app-199")).to_contain_text("draining")
            shown.page.get_by_label("Filter").fill("draining")
            expect(shown.page.get_by_text("1 of 202 backends")).to_be_visible()
            expect(table.get_by_role("row")).to_have_count(2)


@ONE_PROCESS
def test_nothing_is_asked_for_while_the_page_is_not_seen(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port) as shown:
        expect(shown.page.get_by_text("Live", exact=True)).to_be_visible()
        asked: list[str] = []
        shown.page.on("request", lambda request: asked.append(request.url))
        # In this order: the clock that is installed does not know of timers before it, and cancels none.
        set_hidden(shown.page, hidden=True)
        shown.page.clock.install()
        asked.clear()
        shown.page.clock.run_for(60_000)
        assert asked == []
        set_hidden(shown.page, hidden=False)
        until(lambda: shown.page.evaluate("1") and len(asked) >= 3, lambda: f"questions again: {asked}")
        assert {url.rpartition("/")[2].partition("?")[0] for url in asked} == {"view", "status", "events"}


def set_hidden(page: Page, *, hidden: bool) -> None:
    word = str(hidden).lower()
    page.evaluate(
        f"Object.defineProperty(document, 'hidden', {{ value: {word}, configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


LONG_NAME = "a-backend-with-a-name-that-has-no-end-and-no-place-to-break-it.example.com"


@ONE_PROCESS
@pytest.mark.parametrize("size", [NARROW, (768, 900), (1440, 900)], ids=["narrow", "middle", "wide"])
def test_it_fits_each_screen(stage: Stage, browser: Browser, size: tuple[int, int]) -> None:
    table = f"""
{WITH_LIMITS}
[pools.long]
backends = [{{ name = "{LONG_NAME}", address = "{LONG_NAME}:80", backup = false }}]
[pools.long.health]
interval = "1h"
[frontends.{LONG_NAME.replace(".", "-")}]
listen = "127.0.0.1:0"
pool = "long"
"""
    with stage.daemon(more=table) as daemon, connect(daemon.ports["web"]):
        admin = Admin(daemon)
        admin.ask("POST", "/api/v1/bans", {"frontend": "web", "client": "2001:db8:1234:5678::", "for": "1h"})
        with Dashboard(browser, admin.port, size) as shown:
            for heading in ("Sessions", "Bans"):
                shown.page.get_by_role("heading", name=heading).click()
            expect(shown.page.get_by_role("table", name="Bans").get_by_role("row")).to_have_count(2)
            expect(shown.page.get_by_role("table", name="Sessions").get_by_role("row")).to_have_count(2)
            assert_fits(shown.page, size[0])
            shown.button(f"Drain: {LONG_NAME} of pool long").click()
            expect(shown.question).to_be_visible()
            assert_fits(shown.page, size[0])
            shown.confirm("Drain")
            expect(shown.button("Undo")).to_be_visible()
            assert_fits(shown.page, size[0])


def assert_fits(page: Page, width: int) -> None:
    """All of it is to be seen without scrolling to the side."""
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter((its) => its.checkVisibility()"
        " && its.getBoundingClientRect().right > innerWidth).map((its) => its.className)"
    )
    assert wide == []


@ONE_PROCESS
def test_a_screen_reader_finds_its_way(stage: Stage, browser: Browser) -> None:
    with stage.daemon() as daemon, Dashboard(browser, Admin(daemon).port, NARROW) as shown:
        page = shown.page
        expect(shown.backend("a")).to_be_visible()
        for heading in ("Overview", "Throughput", "Events", "Frontends", "Pools", "web", "Sessions", "Bans"):
            expect(page.get_by_role("heading", name=heading, exact=True)).to_have_count(1)
        for chart in ("Connections per second: now", "Throughput: now"):
            expect(page.get_by_role("img", name=chart)).to_have_count(1)
        # Also where each row looks like a card.
        columns = page.get_by_role("table", name="Backends of pool web").get_by_role("columnheader")
        assert columns.all_inner_texts()[:3] == ["Backend", "State", "Sessions"]
        expect(shown.backend("a").get_by_role("img", name=re.compile("Last minute: at most"))).to_have_count(
            1
        )
        expect(shown.backend("a").get_by_role("cell")).to_have_count(8)
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, input, select, a')].filter((its) => its.checkVisibility()"
            " && !(its.ariaLabel || its.textContent.trim() || its.labels?.length)).map((its) => its.id)"
        )
        assert nameless == []


@ONE_PROCESS
def test_mistakes_of_the_file_are_shown(stage: Stage, browser: Browser) -> None:
    with stage.daemon(may_fail=True) as daemon:
        admin = Admin(daemon)
        with Dashboard(browser, admin.port) as shown:
            expect(shown.page.get_by_text("Live", exact=True)).to_be_visible()
            good = daemon.config_file.read_text()
            daemon.config_file.write_text(good.replace("workers = 1", "workers = -1"))
            assert admin.ask("POST", "/api/v1/reload", {})[0] == 422
            notice = shown.page.get_by_role("status").filter(has_text="the earlier configuration serves")
            expect(notice).to_contain_text("workers: must")
            daemon.config_file.write_text(good)
            assert admin.ask("POST", "/api/v1/reload", {})[0] == 200
            expect(notice).to_be_hidden()


@ONE_PROCESS
def test_the_page_is_served_with_its_headers_and_without_a_token(stage: Stage) -> None:
    with stage.daemon(with_tokens(stage)) as daemon:
        connection = Admin(daemon).connection()
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, b"<title>tcpbalance</title>" in response.read()) == (200, True)
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers.get_all("Content-Security-Policy") is not None
        assert len(response.headers.get_all("Content-Security-Policy") or ()) == 1
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        connection = Admin(daemon).connection()
        connection.request("GET", "/", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
