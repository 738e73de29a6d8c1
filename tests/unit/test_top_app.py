"""The screen of `tcpbalance top`, on textual's terminal in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from textual.coordinate import Coordinate
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static
from unit.test_top_table import THREE, backend, look

from tcpbalance.cli import top_app
from tcpbalance.cli.command_error import UNREACHABLE, CommandError
from tcpbalance.cli.snapshots import Snapshot
from tcpbalance.cli.top_app import LOST_AFTER, NOT_CHOSEN, READ_ONLY, ConfirmScreen, TopApp, WeightScreen
from tcpbalance.cli.top_table import TopRow

Script = Callable[["Stage", Pilot[None]], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look only where a test does."""
    monkeypatch.setattr(top_app, "REFRESH_EVERY", 3600)


class Stage:
    """A balancer of a test's own, and the screen that shows it.

    :ivar found: what a look gives, or why it gives nothing.
    :ivar hangs: whether looks have no answer.
    """

    where = "unix:/run/admin.sock"

    def __init__(self) -> None:
        self.found: Snapshot | CommandError = look(1, *THREE)
        self.refusal: CommandError | None = None
        self.hangs = False
        self.looks = 0
        self.changes: list[tuple[str, Mapping[str, object]]] = []
        self.now = 0.0
        self.app = TopApp(self, self._call, lambda call: call(), lambda: self.now)

    def _call(self, call: Callable[[], None]) -> None:
        if not self.hangs:
            call()

    def look(self) -> Snapshot:
        self.looks += 1
        if isinstance(self.found, CommandError):
            raise self.found
        return self.found

    def change(self, row: TopRow, wanted: Mapping[str, object]) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.changes.append((row.full_name, wanted))
        return f"{row.full_name}: changed"

    @property
    def table(self) -> DataTable[Any]:
        return self.app.screen_stack[0].query_one(DataTable)

    def column(self, number: int) -> list[str]:
        return [
            str(self.table.get_cell_at(Coordinate(row, number))).strip()
            for row in range(self.table.row_count)
        ]

    @property
    def titles(self) -> list[str]:
        return [str(column.label).strip() for column in self.table.ordered_columns]

    def line(self, name: str) -> str:
        return str(self.app.screen_stack[0].query_one(name, Static).render())


def run(script: Script, width: int = 100, height: int = 20) -> Stage:
    stage = Stage()

    async def main() -> None:
        async with stage.app.run_test(size=(width, height)) as pilot:
            await pilot.pause()
            await script(stage, pilot)

    asyncio.run(main())
    return stage


async def see(stage: Stage, pilot: Pilot[None], *found: Mapping[str, Any], **options: Any) -> None:
    """Have a look made that finds this."""
    stage.found = look(stage.now, *found, **options)
    stage.app.look()
    await pilot.pause()


def test_all_columns_are_shown_where_there_is_space() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        assert stage.titles == [
            *("POOL", "BACKEND", "STATE", "WEIGHT", "OPEN", "CONN/S", "ERRORS", "MEDIAN", "QUEUE"),
        ]
        assert stage.column(1) == ["a", "b", "c"]
        assert stage.line("#head") == "1 of 3 up, 12 open, - conn/s, at unix:/run/admin.sock"

    run(script)


def test_a_narrow_terminal_shows_what_matters() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        assert stage.titles == ["POOL", "BACKEND", "STATE", "OPEN"]
        assert stage.column(3) == ["3/100", "9", "0"]
        assert stage.table.virtual_size.width <= 40
        await pilot.resize_terminal(120, 20)
        await pilot.pause()
        assert "MEDIAN" in stage.titles

    run(script, 40)


def test_what_changes_is_shown_and_the_cursor_stays_on_its_backend() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        await see(stage, pilot, backend("z"), *THREE)
        assert stage.column(1) == ["z", "a", "b", "c"]
        assert stage.table.cursor_row == 2
        await see(stage, pilot, *THREE)
        assert stage.table.cursor_row == 1
        await see(stage, pilot, THREE[0], backend("b", connections_active=1), THREE[2])
        assert stage.column(2) == ["up", "up", "draining"]
        await see(stage, pilot)
        await pilot.press("d")
        assert stage.changes == []
        assert stage.line("#said") == NOT_CHOSEN

    run(script)


def test_while_the_chosen_backend_is_not_shown_no_other_is_chosen() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        up = [backend(name) for name in "abc"]
        await see(stage, pilot, *up)
        await pilot.press("down", "down", "slash", "u", "p", "enter")
        await see(stage, pilot, *up[:2], backend("c", state="down"))
        assert stage.column(1) == ["a", "b"]
        for key in "dmrw":
            stage.app._say("")
            await pilot.press(key)
            assert len(stage.app.screen_stack) == 1
            assert stage.line("#said") == NOT_CHOSEN
        assert not stage.table.show_cursor
        await see(stage, pilot, *up[::-1])
        assert (stage.table.show_cursor, stage.table.cursor_row) == (True, 0)
        await pilot.press("d", "y")
        await pilot.pause()
        assert stage.changes == [("web/c", {"state": "drain"})]

    run(script)


@pytest.mark.parametrize("way", ["up", "down", "click"])
def test_another_backend_is_chosen_by_an_arrow_key_or_a_click(way: str) -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("down")
        await see(stage, pilot, backend("c"))
        await pilot.click(DataTable, offset=(2, 0))
        await pilot.pause()
        assert not stage.table.show_cursor
        if way == "click":
            await pilot.click(DataTable, offset=(2, 1))
        else:
            await pilot.press(way)
        await pilot.pause()
        await see(stage, pilot, *THREE)
        await pilot.press("d", "y")
        await pilot.pause()
        assert stage.changes == [("web/c", {"state": "drain"})]

    run(script)


def test_enter_is_no_answer_to_a_question() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        for key in "dmr":
            await pilot.press(key, "enter")
            assert isinstance(stage.app.screen, ConfirmScreen)
            await pilot.press("n")
        assert stage.changes == []

    run(script)


@pytest.mark.parametrize(("key", "state"), [("d", "drain"), ("m", "maintenance"), ("r", "ready")])
def test_a_state_is_set_once_that_is_confirmed(key: str, state: str) -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("down", key)
        assert isinstance(stage.app.screen, ConfirmScreen)
        await pilot.press("n")
        assert stage.changes == []
        await pilot.press(key, "escape", key, "y")
        await pilot.pause()
        assert stage.changes == [("web/b", {"state": state})]
        assert stage.line("#said") == "web/b: changed"
        assert stage.looks == 2

    run(script)


def test_a_weight_is_typed() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("w")
        assert isinstance(stage.app.screen, WeightScreen)
        await pilot.press("4", "x", "2", "enter")
        await pilot.pause()
        assert stage.changes == [("web/a", {"weight": 42})]
        await pilot.press("w", "enter")
        await pilot.press("w", "7", "escape")
        assert len(stage.changes) == 1

    run(script)


def test_a_refusal_is_shown() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        stage.refusal = CommandError("weight must be 1 to 256\x1b[2J")
        await pilot.press("w", "9", "9", "9", "enter")
        await pilot.pause()
        assert stage.line("#said") == "weight must be 1 to 256\\x1b[2J"

    run(script)


def test_a_token_that_may_only_look_gets_an_answer_at_once() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await see(stage, pilot, *THREE, status={"access": "read_only"})
        for key in "dmrw":
            await pilot.press(key)
            assert len(stage.app.screen_stack) == 1
            assert stage.line("#said") == READ_ONLY
        assert stage.changes == []

    run(script)


def test_a_balancer_that_is_lost_comes_back() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        stage.found = CommandError("cannot ask the admin side", UNREACHABLE)
        stage.app.look()
        await pilot.pause()
        assert stage.line("#head") == "LOST: cannot ask the admin side"
        assert stage.column(1) == ["a", "b", "c"]
        await see(stage, pilot, *THREE)
        assert stage.line("#head").startswith("1 of 3 up")

    run(script)


def test_a_balancer_that_does_not_answer_is_reported_meanwhile() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        stage.hangs = True
        stage.app.look()
        stage.now = LOST_AFTER
        stage.app.look()
        await pilot.pause()
        assert stage.line("#head") == "LOST: no answer for 3 s"
        await pilot.press("down", "s")
        assert stage.titles[0] == "POOL▲"
        assert stage.looks == 1

    run(script)


def test_an_answer_that_is_not_one_is_no_end() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        class Answer(dict[str, Any]):
            def __missing__(self, key: str) -> Any:
                raise CommandError("what answers there is not a balancer's admin side", UNREACHABLE)

        stage.found = Snapshot({}, (), [Answer()], 2)
        stage.app.look()
        await pilot.pause()
        assert stage.line("#head").startswith("LOST: what answers there")

    run(script)


def test_the_order_is_chosen_by_keys_and_by_clicks() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("s", "s", "s")
        assert (stage.titles[2], stage.column(1)) == ("STATE▲", ["b", "c", "a"])
        await pilot.press("i")
        assert (stage.titles[2], stage.column(1)) == ("STATE▼", ["a", "c", "b"])
        await pilot.press("S")
        assert stage.column(1) == ["a", "b", "c"]
        await pilot.click(DataTable, offset=(2, 0))
        await pilot.pause()
        assert stage.titles[0].startswith("POOL")
        await pilot.press("S")
        assert stage.titles[0] == "POOL"

    run(script)


def test_a_filter_is_typed_kept_and_left() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        await pilot.press("slash", "d", "r", "a")
        await pilot.pause()
        assert stage.column(1) == ["c"]
        assert stage.changes == []
        await pilot.press("enter", "r", "y")
        await pilot.pause()
        assert stage.changes == [("web/c", {"state": "ready"})]
        await pilot.press("escape")
        await pilot.pause()
        assert stage.column(1) == ["a", "b", "c"]
        assert not stage.app.query_one("#filter", Input).display

    run(script)


def test_many_backends_are_scrolled() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        many = [backend(f"b{number}") for number in range(300)]
        await see(stage, pilot, *many)
        await pilot.press("ctrl+end")
        await see(stage, pilot, *many[1:])
        assert stage.table.row_count == 299
        assert stage.column(1)[stage.table.cursor_row] == "b299"

    run(script)


def test_it_ends() -> None:
    async def script(stage: Stage, pilot: Pilot[None]) -> None:
        stage.hangs = True
        stage.app.look()
        await pilot.press("q")

    assert run(script).app.return_code == 0
