"""The scripts of the dashboard, each alone in a browser, without a balancer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from support.browser import chromium
from tcpbalance.control.dashboard_files import FOLDER_OF_DASHBOARD

pytestmark = [pytest.mark.requires("chromium")]

ORIGIN = "http://dashboard.invalid/"


def serve(route: Route) -> None:
    """Answer with a file of the dashboard, or with a page that has nothing."""
    name = route.request.url.removeprefix(ORIGIN)
    if name:
        route.fulfill(path=FOLDER_OF_DASHBOARD / name, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html>", content_type="text/html")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        opened = browser.new_page()
        opened.route(f"{ORIGIN}**", serve)
        opened.goto(ORIGIN)
        yield opened


def run(page: Page, script: str, names: str, body: str, **arguments: Any) -> Any:
    """Give what the body of a function returns that knows some names of a script."""
    return page.evaluate(
        f"async (given) => {{ const {{ {names} }} = await import('{ORIGIN}{script}'); {body} }}", arguments
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("rate(null)", "\N{EN DASH}"),
        ("rate(0)", "0"),
        ("rate(0.04)", "0.0"),
        ("rate(9.94)", "9.9"),
        ("rate(9.96)", "10"),
        ("rate(3)", "3"),
        ("rate(1234567.8)", "1,234,568"),
        ("byteRate(null)", "\N{EN DASH}"),
        ("byteRate(0)", "0 B/s"),
        ("bytes(999)", "999 B"),
        ("bytes(999.6)", "1.0 kB"),
        ("bytes(1500)", "1.5 kB"),
        ("bytes(999600)", "1.0 MB"),
        ("bytes(12e9)", "12 GB"),
        ("bytes(5e18)", "5000 PB"),
        ("span(0)", "0 s"),
        ("span(-3)", "0 s"),
        ("span(59.9)", "59 s"),
        ("span(3600)", "1 h"),
        ("span(3725)", "1 h 2 min"),
        ("span(86405)", "1 d"),
        ("span(200000)", "2 d 7 h"),
        ("counted(1, 'process', 'processes')", "1 process"),
        ("counted(2, 'process', 'processes')", "2 processes"),
        ("counted(1000, 'session')", "1,000 sessions"),
    ],
)
def test_amounts_are_short(page: Page, call: str, text: str) -> None:
    names = "rate, bytes, byteRate, span, counted"
    assert run(page, "amounts.js", names, f"return {call};") == text


NOTES = """
const meter = new Meter(["n"]);
return given.counts.map(([at, n]) => {
  meter.note({ n }, at);
  return [meter.rates.n, meter.history.n.since(at).map((point) => point.value)];
});
"""


def notes(page: Page, *counts: tuple[float, int]) -> list[Any]:
    """Give the rate, and those of the last minute, after each time (milliseconds) and count."""
    noted: list[Any] = run(page, "meter.js", "Meter", NOTES, counts=[list(pair) for pair in counts])
    return noted


def test_a_rate_is_that_since_the_last_one(page: Page) -> None:
    assert notes(page, (0, 100), (1000, 105), (3000, 105)) == [[None, []], [5, [5]], [0, [5, 0]]]


def test_a_short_interval_makes_no_rate(page: Page) -> None:
    assert notes(page, (0, 0), (10, 1), (500, 2), (1000, 4))[1:] == [[None, []], [None, []], [4, [4]]]


def test_a_balancer_that_counts_anew_has_no_rate_at_first(page: Page) -> None:
    assert notes(page, (0, 50), (1000, 60), (2000, 3), (3000, 4))[2:] == [[None, []], [1, [1]]]


def test_a_machine_that_has_begun_anew_has_no_rate_at_first(page: Page) -> None:
    assert notes(page, (50_000, 50), (51_000, 60), (2000, 70), (3000, 71))[2:] == [[None, []], [1, [1]]]


def test_what_was_before_a_long_gap_is_not_shown(page: Page) -> None:
    assert notes(page, (0, 0), (1000, 5), (60_000, 900), (61_000, 902))[2:] == [[None, []], [2, [2]]]


def test_a_minute_is_kept(page: Page) -> None:
    rates = notes(page, *((1000 * second, second) for second in range(200)))[-1][1]
    assert rates == [1] * 60
    rates = notes(page, *((4000 * number, 0) for number in range(50)))[-1][1]
    assert len(rates) == 16


def test_a_line_goes_from_a_minute_ago_to_now(page: Page) -> None:
    body = """
        const history = new History();
        given.points.forEach(([at, value]) => history.add(at, value));
        const { line, areaUnder, ticks, roundedUp } = await import(given.drawing);
        const drawn = line(history, 60000, 10, 60, 22);
        return [drawn, areaUnder(drawn, 22), ticks(history, 60000, 60, 22), areaUnder("", 22), roundedUp(0),
          roundedUp(7), roundedUp(11), roundedUp(2000)];
    """
    given = {"points": [[0, 0], [30_000, 10], [60_000, 5]], "drawing": f"{ORIGIN}drawing.js"}
    drawn, area, ticks, *others = run(page, "meter.js", "History", body, **given)
    assert drawn == "M0.0 21.0L30.0 1.0L60.0 11.0"
    assert area == f"{drawn}L60.0 22L0.0 22Z"
    assert ticks == "M30.0 22V11M60.0 22V11"
    assert others == ["", 1, 10, 20, 2000]


POLL = """
const asked = [];
const poll = new Poll(given.interval, () => { asked.push(performance.now());
  return given.fails ? Promise.reject(new Error())
    : new Promise((resolve) => setTimeout(resolve, given.takes ?? 0));
}, { answer: () => {}, failure: () => {} });
window.poll = poll; window.asked = asked;
"""


@pytest.fixture
def paused(page: Page) -> Iterator[Page]:
    """The page, whose time goes on as the test says."""
    with page.context.browser.new_context() as context:
        opened = context.new_page()
        opened.route(f"{ORIGIN}**", serve)
        opened.clock.install(time=0)
        opened.goto(ORIGIN)
        opened.clock.pause_at(1_000)
        yield opened


def asked_after(page: Page, milliseconds: int) -> int:
    """How often something was asked for by then."""
    # In steps, because each answer comes a little later than its question.
    for _ in range(milliseconds // 50):
        page.clock.run_for(50)
    return int(page.evaluate("window.asked.length"))


def test_it_is_asked_in_intervals_and_at_once_where_something_has_happened(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=10_000, fails=False)
    paused.evaluate("poll.start()")
    assert asked_after(paused, 9_900) == 1
    assert asked_after(paused, 200) == 2
    assert asked_after(paused, 1_000) == 2
    paused.evaluate("poll.now()")
    assert asked_after(paused, 50) == 3
    # Often, but not each time.
    paused.evaluate("for (let count = 0; count < 1000; count++) poll.now()")
    assert asked_after(paused, 1_000) <= 5


def test_what_is_wanted_at_once_all_the_time_is_asked_for_once_a_second(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=10_000, fails=False)
    paused.evaluate("poll.start(); setInterval(() => poll.now(), 50)")
    # At the start, at the first wish, and then once a second.
    assert 8 <= asked_after(paused, 8_000) <= 10


def test_what_is_wanted_at_once_waits_where_answers_take_long(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=1_000, fails=False, takes=1_000)
    paused.evaluate("poll.start(); setInterval(() => poll.now(), 50)")
    # A second for each, and another between them.
    assert 7 <= asked_after(paused, 16_000) <= 9


def test_nothing_is_asked_for_that_is_not_wanted(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=1_000, fails=False)
    paused.evaluate("poll.now()")
    assert asked_after(paused, 5_000) == 0
    paused.evaluate("poll.start(); poll.stop()")
    assert asked_after(paused, 5_000) == 1
    paused.evaluate("poll.start(); poll.start()")
    assert asked_after(paused, 500) == 2


def test_after_a_failure_it_is_asked_again_a_little_later(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=100, fails=True)
    paused.evaluate("poll.start()")
    assert asked_after(paused, 1_900) == 1
    assert asked_after(paused, 200) == 2


def test_what_is_asked_for_rarely_is_asked_for_again_as_soon_after_a_failure(paused: Page) -> None:
    run(paused, "poll.js", "Poll", POLL, interval=10_000, fails=True)
    paused.evaluate("poll.start()")
    assert asked_after(paused, 1_900) == 1
    assert asked_after(paused, 200) == 2


def test_an_event_of_a_kind_that_is_not_known_is_worded(page: Page) -> None:
    event = {"number": 7, "time": "", "kind": "new_kind", "worker": 1, "speed": 3, "none": None}
    assert run(page, "event_words.js", "wordOf", "return wordOf(given);", **event) == "worker 1, speed 3"
    ban = {"kind": "ban", "frontend": "web", "client": "192.0.2.1", "seconds": 600.0, "count": 5}
    text = "frontend web, client 192.0.2.1, for 10 min, with 4 more"
    assert run(page, "event_words.js", "wordOf", "return wordOf(given);", **ban) == text


@pytest.mark.parametrize(
    ("event", "tone"),
    [
        ({"kind": "worker_ended", "cause": "it was ended by SIGKILL"}, "bad"),
        ({"kind": "worker_ended", "cause": ""}, "plain"),
        ({"kind": "backend_up", "cause": ""}, "good"),
    ],
)
def test_a_worker_that_has_failed_stands_out(page: Page, event: dict[str, str], tone: str) -> None:
    assert run(page, "event_words.js", "toneOf", "return toneOf(given);", **event) == tone


def test_responses_of_errors_are_errors_of_the_backend(page: Page) -> None:
    counters = {"connect_failures": 1, "responses.2xx": 5, "responses.5xx": 3}
    body = "return countsOfBackend({ counters: given }).errors;"
    assert run(page, "counts.js", "countsOfBackend", body, **counters) == 4


def test_names_in_paths_are_escaped(page: Page) -> None:
    body = 'return pathOf(["pools", "a/b", "x y"], { client: "", limit: 5, frontend: "f&g" });'
    assert run(page, "api.js", "pathOf", body) == "pools/a%2Fb/x%20y?limit=5&frontend=f%26g"


API = """
window.requests = [];
window.changes = {};
window.fetch = async (path, { method = "GET", body }) => {
  const key = `${method} ${path.replace("api/v1/", "").split("?")[0]}`;
  window.requests.push(body ? [key, JSON.parse(body)] : [key]);
  const [status, answer] = await window.answers[key];
  Object.assign(window.answers, window.changes[key]);
  return new Response(JSON.stringify(answer), { status });
};
null;
"""
"""Answers as the balancer would, by what is asked for."""


@pytest.fixture
def whole(page: Page) -> Iterator[Page]:
    """The whole page with an API of the test, without the script that asks for the figures."""
    markup = (FOLDER_OF_DASHBOARD / "index.html").read_text().replace("dashboard/main.js", "")
    with page.context.browser.new_context() as context:
        opened = context.new_page()
        opened.route(f"{ORIGIN}**", serve)
        opened.route(f"{ORIGIN}whole", lambda route: route.fulfill(body=markup, content_type="text/html"))
        opened.route("**/dashboard/**", lambda route: route.abort())
        opened.goto(f"{ORIGIN}whole")
        opened.evaluate(API)
        yield opened


def as_answers(those: dict[str, Any]) -> dict[str, Any]:
    """Give answers by what they are to; each name is a method and words of a path, such as `GET_bans`."""
    return {name.replace("_", " ", 1).replace("_", "/"): [200, answer] for name, answer in those.items()}


def answers(page: Page, **those: Any) -> None:
    """Have the API answer."""
    page.evaluate("(those) => { window.answers = those; }", as_answers(those))


def answers_after(page: Page, request: str, **those: Any) -> None:
    """Have the API answer in another way once this was asked for."""
    page.evaluate("([request, those]) => { window.changes[request] = those; }", [request, as_answers(those)])


def start(page: Page, call: str) -> None:
    """Ask what an operator would have asked for by a button."""
    body = "const acts = new Acts(() => {}); acts.update([{ name: 'web' }]); eval(given.call);"
    run(page, "acts.js", "Acts", body, call=call)


def requests(page: Page) -> list[Any]:
    made: list[Any] = page.evaluate("window.requests")
    return made


def confirm(page: Page, name: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


ROW = "{ name: 'a', state: 'up', admin_state: 'ready', weight: 1, counters: {} }"

POOL = "{ name: 'web', backends: [] }"


@pytest.mark.parametrize(
    ("before", "left", "state", "confirmed"),
    [
        ("ready", None, "maintenance", "Maintenance"),
        ("maintenance", None, "ready", "Ready"),
        # The drain ends when it would have ended.
        ("drain", 600, "ready", "Ready"),
    ],
)
def test_undo_goes_back_to_the_state_that_was_there_at_the_change(
    whole: Page, before: str, left: int | None, state: str, confirmed: str
) -> None:
    then = {"admin_state": before, "drain_deadline": left}
    now = {"admin_state": state, "drain_deadline": None}
    answers(whole, GET_pools_web_backends_a=then, PATCH_pools_web_backends_a=now)
    # What the row shows may be older.
    start(whole, f"acts.changeState({POOL}, {ROW}, '{state}')")
    confirm(whole, confirmed)
    expect(whole.get_by_role("button", name="Dismiss")).to_be_visible()
    answers(whole, GET_pools_web_backends_a=now, PATCH_pools_web_backends_a=then)
    whole.get_by_role("button", name="Undo").click()
    expect(whole.get_by_role("region", name="What was done")).to_contain_text("Undone")
    path, change = requests(whole)[-1]
    assert (path, change["state"]) == ("PATCH pools/web/backends/a", before)
    if left is not None:
        assert left - 5 <= change["deadline"] <= left


def test_a_change_to_the_state_that_was_there_has_nothing_to_undo(whole: Page) -> None:
    drained = {"admin_state": "drain", "drain_deadline": None}
    answers(whole, GET_pools_web_backends_a=drained, PATCH_pools_web_backends_a=drained)
    start(whole, f"acts.changeState({POOL}, {ROW}, 'drain')")
    confirm(whole, "Drain")
    expect(whole.get_by_role("button", name="Dismiss")).to_be_visible()
    expect(whole.get_by_role("button", name="Undo")).to_have_count(0)


def test_undo_goes_back_to_the_weight_that_was_there_at_the_change(whole: Page) -> None:
    answers(whole, GET_pools_web_backends_a={"weight": 5}, PATCH_pools_web_backends_a={})
    start(whole, f"acts.changeWeight({POOL}, {ROW})")
    whole.get_by_role("spinbutton", name="Weight").fill("9")
    confirm(whole, "Change weight")
    answers(whole, GET_pools_web_backends_a={"weight": 9}, PATCH_pools_web_backends_a={})
    whole.get_by_role("button", name="Undo").click()
    expect(whole.get_by_role("region", name="What was done")).to_contain_text("is 5 again")
    assert requests(whole)[-1] == ["PATCH pools/web/backends/a", {"weight": 5}]


CLIENT = "192.0.2.7"

BAN = {"client": CLIENT, "frontend": "web", "until": "2026-01-01T00:10:00.001Z", "seconds": 600}


@pytest.mark.parametrize(
    ("now", "is_lifted"),
    [
        ([{**BAN, "client": "192.0.2.0/24"}, {**BAN, "until": "2026-01-01T00:10:00.002Z"}], True),
        # Another operator has banned it for longer, or has lifted the ban.
        ([{**BAN, "until": "2026-01-01T01:00:00.000Z"}], False),
        ([{**BAN, "client": "192.0.2.0/24"}], False),
    ],
)
def test_undo_lifts_no_ban_of_another(whole: Page, now: list[Any], is_lifted: bool) -> None:
    answers(whole, GET_bans={"bans": [], "total": 0}, POST_bans=BAN)
    answers_after(whole, "POST bans", GET_bans={"bans": [BAN], "total": 1})
    start(whole, f"acts.ban('{CLIENT}')")
    confirm(whole, "Ban")
    undo = whole.get_by_role("button", name="Undo")
    expect(undo).to_be_visible()
    answers(whole, GET_bans={"bans": now, "total": len(now)}, **{f"DELETE_bans_{CLIENT}": {}})
    undo.click()
    said = "is banned no longer" if is_lifted else "could not be undone"
    expect(whole.get_by_role("region", name="What was done")).to_contain_text(said)
    assert ([f"DELETE bans/{CLIENT}"] in [each[:1] for each in requests(whole)]) == is_lifted


def test_undo_goes_back_to_the_ban_that_was_there(whole: Page) -> None:
    answers(whole, GET_bans={"bans": [BAN], "total": 1}, POST_bans=BAN)
    longer = {**BAN, "until": "2026-01-01T02:00:00.000Z", "seconds": 7200}
    answers_after(whole, "POST bans", GET_bans={"bans": [longer], "total": 1})
    start(whole, f"acts.ban('{CLIENT}')")
    confirm(whole, "Ban")
    whole.get_by_role("button", name="Undo").click()
    expect(whole.get_by_role("region", name="What was done")).to_contain_text("is banned for")
    path, change = requests(whole)[-1]
    assert (path, change["client"], change["replace"]) == ("POST bans", CLIENT, True)
    assert 590 <= float(str(change["for"]).removesuffix("s")) <= 600


def test_a_ban_of_a_client_that_was_banned_cannot_be_undone(whole: Page) -> None:
    answers(whole, GET_bans={"bans": [BAN], "total": 1}, POST_bans=BAN)
    start(whole, f"acts.ban('{CLIENT}')")
    confirm(whole, "Ban")
    expect(whole.get_by_role("region", name="What was done")).to_contain_text("was banned at web already")
    expect(whole.get_by_role("button", name="Undo")).to_have_count(0)


PATCH = "PATCH pools/web/backends/a"


def hold(page: Page) -> None:
    """Have the change of a backend not answered yet."""
    promise = "new Promise((resolve) => { window.release = resolve; })"
    page.evaluate(f"window.answers['{PATCH}'] = {promise}; null")


def test_a_question_stays_until_its_change_is_answered(whole: Page) -> None:
    answers(whole, GET_pools_web_backends_a={"admin_state": "ready"})
    hold(whole)
    start(whole, f"acts.changeState({POOL}, {ROW}, 'maintenance')")
    dialog = whole.get_by_role("dialog")
    confirm(whole, "Maintenance")
    whole.wait_for_function("window.requests.length === 2")
    for _ in range(3):
        whole.keyboard.press("Escape")
    # Also where the browser closes it.
    whole.evaluate("document.getElementById('question').close()")
    cancel = dialog.get_by_role("button", name="Cancel")
    expect(cancel).to_be_disabled()
    whole.evaluate("window.release([503, { error: { message: 'worker 2 does not answer' } }])")
    expect(dialog.get_by_role("alert")).to_have_text("worker 2 does not answer")
    cancel.click()
    expect(dialog).to_be_hidden()


def test_a_second_enter_undoes_nothing(whole: Page) -> None:
    answers(whole, GET_pools_web_backends_a={"admin_state": "ready"}, PATCH_pools_web_backends_a={})
    act = f"acts.changeState({POOL}, {ROW}, 'maintenance')"
    made = "const row = document.createElement('button'); row.id = 'row'; document.body.prepend(row);"
    start(whole, f"{made} row.focus(); row.addEventListener('click', () => {act})")
    whole.keyboard.press("Enter")
    expect(whole.get_by_role("dialog")).to_be_visible()
    whole.keyboard.press("Enter")
    expect(whole.get_by_role("button", name="Undo")).to_be_visible()
    expect(whole.locator("#row")).to_be_focused()
    # Held down, it does not even ask again.
    whole.keyboard.down("Enter")
    expect(whole.get_by_role("dialog")).to_be_visible()
    whole.keyboard.down("Enter")
    whole.keyboard.up("Enter")
    expect(whole.get_by_role("dialog")).to_be_visible()
    assert [made[0] for made in requests(whole)].count(PATCH) == 1


def test_it_is_live_for_as_long_as_the_last_figures_are_fresh(whole: Page) -> None:
    whole.clock.install(time=0)
    whole.clock.pause_at(1_000)
    body = "window.liveness = new Liveness();"
    run(whole, "liveness.js", "Liveness", body)
    live, lost = whole.locator("#live"), whole.locator("#lost")
    expect(live).to_have_text("Connecting")
    whole.evaluate("liveness.answered()")
    expect(live).to_have_text("Live")
    whole.clock.run_for(3_000)
    expect(live).to_have_text("Live")
    whole.clock.run_for(1_000)
    expect(live).to_have_text("4 s old")
    expect(whole.locator("body")).to_have_attribute("data-live", "no")
    whole.evaluate("liveness.answered()")
    expect(live).to_have_text("Live")
    whole.evaluate("liveness.lost('Status', { message: 'no answer' }); liveness.answered()")
    expect(live).to_have_text("Lost")
    expect(lost).to_contain_text("Status lost since")
    whole.evaluate("liveness.connecting()")
    whole.clock.run_for(10_000)
    expect(live).to_have_text("Connecting")
    expect(lost).to_be_hidden()


def test_backends_that_are_not_up_come_first(page: Page) -> None:
    backends = [
        {"name": name, "state": state}
        for name, state in [("a", "up"), ("b", "down"), ("c", "up"), ("d", "draining"), ("e", "up")]
    ]
    body = "return urgentFirst(given.backends).map(({ name }) => name).join('');"
    assert run(page, "states.js", "urgentFirst", body, backends=backends) == "bdace"


FRONTENDS = """
const frontends = new Frontends();
given.counts.forEach(([at, requests]) => {
  const counters = { connections_total: 1, requests_total: requests };
  frontends.update([{ name: given.name, listen: [], pools: [], tls: false, counters }], at);
});
"""


def test_requests_have_their_rate_where_there_are_any(whole: Page) -> None:
    for name, counts, shown in (("db", [[0, 0], [1000, 0]], ""), ("web", [[0, 10], [2000, 40]], "15 req/s")):
        run(whole, "frontends.js", "Frontends", FRONTENDS, name=name, counts=counts)
        row = whole.locator("#frontends tr", has_text=name)
        assert row.locator("[data-part=requests]").text_content() == shown
        assert row.locator("[data-part=connections]").text_content() == "0"


def test_a_row_that_moves_keeps_the_focus(whole: Page) -> None:
    body = """
      const make = () => {
        const element = document.createElement("button");
        return { element, update: (name) => { element.textContent = name; } };
      };
      const list = document.createElement("div");
      document.body.append(list);
      const rows = new Rows(list, (name) => name, make);
      rows.update(["a", "b", "c"]);
      list.lastChild.focus();
      rows.update(["c", "a", "b"]);
      return [list.textContent, document.activeElement.textContent];
    """
    assert run(whole, "elements.js", "Rows", body) == ["cab", "c"]
