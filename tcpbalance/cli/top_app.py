"""The screen of ``tcpbalance top``, in textual.

What asks the admin side runs in threads of its own, which nothing waits for: neither the screen nor its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import Any, ClassVar, Final, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from tcpbalance.cli.command_error import CommandError
from tcpbalance.cli.snapshots import Snapshot
from tcpbalance.cli.table import (
    BAD,
    GAP,
    GOOD,
    MAX_CELL,
    WARNING,
    Cell,
    fitting_widths,
    shortened,
    text_width,
)
from tcpbalance.cli.top_table import COLUMNS, TopRow, TopTable
from tcpbalance.config.messages import one_line

REFRESH_EVERY: Final = 1.0
"""Seconds."""

LOST_AFTER: Final = 3.0
"""Seconds without an answer after which the screen says so."""

READ_ONLY: Final = "read-only: this token may look and change nothing"

NOT_CHOSEN: Final = "no backend is chosen: an arrow key or a click chooses one"

MAX_WEIGHT_DIGITS: Final = 3

_COLOURS: Final = {GOOD: "green", WARNING: "yellow", BAD: "red"}

_QUESTIONS: Final[Mapping[str, str]] = {
    "drain": "Drain {name}? Its {open} open sessions go on.",
    "maintenance": "Give {name} no clients at all? Its {open} open sessions go on.",
    "ready": "Let {name} serve again?",
}
"""By the state that is set."""

BeginCall = Callable[[Callable[[], None]], None]
"""Has something called, soon and elsewhere."""


class TopSource(Protocol):
    """The balancer that is looked at; each call may take long, and raises CommandError.

    :ivar where: its admin side, for people.
    """

    where: str

    def look(self) -> Snapshot:
        """Look at its pools."""
        ...

    def change(self, row: TopRow, wanted: Mapping[str, object]) -> str:
        """Change a backend, and say what it is then."""
        ...


def in_own_thread() -> BeginCall:
    """Give what calls one thing after the other, in a thread that ends with the process."""
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run() -> None:
        while True:
            calls.get()()

    Thread(target=run, daemon=True).start()
    return calls.put


class Looked(Message):
    """There is an answer, or none."""

    def __init__(self, found: Snapshot | CommandError) -> None:
        super().__init__()
        self.found = found


class Changed(Message):
    """A change is made, or refused."""

    def __init__(self, text: str, *, is_refused: bool = False) -> None:
        super().__init__()
        self.text = text
        self.is_refused = is_refused


class ConfirmScreen(ModalScreen[bool]):
    """Asks whether to go on.

    :param question: what is to be done.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Textual's call."""
        yield Vertical(Static(self._question, markup=False), Static("y: yes   n: no", markup=False))


class WeightScreen(ModalScreen[int | None]):
    """Asks for a weight.

    :param row: of the backend.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, row: TopRow) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        """Textual's call."""
        name = one_line(self._row.full_name)
        yield Vertical(
            Static(f"Weight of {name}, 1 to 256; it is {self._row.weight}.", markup=False),
            Input(type="integer", max_length=MAX_WEIGHT_DIGITS),
            Static("Enter: set   Escape: leave", markup=False),
        )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Textual's call: Enter."""
        self.dismiss(int(event.value) if event.value.isdigit() else None)


class _Backends(DataTable[Text]):
    """The table. Without a cursor no row is chosen; a key that moves it or a click brings it back."""

    def action_cursor_down(self) -> None:
        """Textual's call: the arrow key."""
        if self.show_cursor:
            super().action_cursor_down()
        self.show_cursor = True

    def action_cursor_up(self) -> None:
        """Textual's call: the arrow key."""
        if self.show_cursor:
            super().action_cursor_up()
        self.show_cursor = True

    def action_scroll_top(self) -> None:
        """Textual's call: ctrl+home."""
        self.show_cursor = True
        super().action_scroll_top()

    def action_scroll_bottom(self) -> None:
        """Textual's call: ctrl+end."""
        self.show_cursor = True
        super().action_scroll_bottom()

    def on_click(self, event: Click) -> None:
        """Textual's call, before the table's own: a click on a row chooses it, one on a title does not."""
        if event.style.meta.get("row", -1) >= 0:
            self.show_cursor = True


class TopApp(App[None]):
    """See above.

    :param source: what is looked at.
    :param looks: calls what looks.
    :param changes: calls what changes something.
    :param clock: seconds on a monotonic clock.
    """

    TITLE = "tcpbalance top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head, #said { height: 1; }
    #chosen { height: auto; max-height: 3; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    DataTable { height: 1fr; }
    ConfirmScreen, WeightScreen { align: center middle; }
    ConfirmScreen Vertical, WeightScreen Vertical {
        width: 90%; max-width: 60; height: auto; padding: 1; border: solid $primary; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "Quit"),
        Binding("d", "set_state('drain')", "Drain"),
        Binding("m", "set_state('maintenance')", "Maintenance"),
        Binding("r", "set_state('ready')", "Ready"),
        Binding("w", "set_weight", "Weight"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back", show=False),
        Binding("i", "invert", "Invert"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "end_filter", "All", show=False),
    ]

    def __init__(
        self,
        source: TopSource,
        looks: BeginCall,
        changes: BeginCall,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._source = source
        self._call_look = looks
        self._call_change = changes
        self._clock = clock
        self._table = TopTable()
        self._shown: list[TopRow] = []
        self._chosen: tuple[str, str] | None = None
        self._cells: list[list[Cell]] = []
        self._layout: object = None
        self._asked_at: float | None = None
        self._lost = ""
        self._width = 80

    def compose(self) -> ComposeResult:
        """Textual's call: what is on the screen."""
        yield Static(id="head", markup=False)
        yield Static(id="said", markup=False)
        yield Input(placeholder="part of a name or state; Enter keeps it, Escape shows all", id="filter")
        yield _Backends(cursor_type="row")
        yield Static(id="chosen", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Textual's call: the screen is there."""
        self.query_one(DataTable).focus()
        self.set_interval(REFRESH_EVERY, self.look)
        self.look()

    # Looking

    def look(self) -> None:
        """Have the balancer looked at, unless a look is under way."""
        if self._asked_at is None:
            self._asked_at = self._clock()
            self._call_look(self._look)
        elif self._clock() - self._asked_at >= LOST_AFTER:
            self._lost = f"no answer for {self._clock() - self._asked_at:.0f} s"
            self._show_head()

    def _look(self) -> None:
        """Look; called elsewhere."""
        try:
            self.post_message(Looked(self._source.look()))
        except CommandError as error:
            self.post_message(Looked(error))

    def on_looked(self, event: Looked) -> None:
        """Textual's call: there is an answer, or none."""
        self._asked_at = None
        try:
            if isinstance(event.found, CommandError):
                raise event.found
            self._table.add(event.found)
            self._lost = ""
        except CommandError as error:
            self._lost = str(error)
        self._show()

    def on_resize(self, event: Resize) -> None:
        """Textual's call: the terminal has another size."""
        self._width = event.size.width
        self._show()

    # Showing

    def _show(self) -> None:
        self._show_head()
        self._note_chosen()
        self._shown = self._table.rows()
        cells = [self._table.titles()]
        cells += [
            [Cell(one_line(cell.text, MAX_CELL), cell.style) for cell in row.cells()] for row in self._shown
        ]
        # Each column has GAP / 2 at both sides, and there may be a bar for scrolling.
        widths = fitting_widths(COLUMNS, cells, self._width - GAP - 2)
        titles, *rows = [[line[place] for place in widths] for line in cells]
        layout = (titles, tuple(widths.items()), len(rows))
        if layout != self._layout:
            self._rebuild(titles, rows, widths)
            self._layout = layout
        else:
            self._update(rows, [*widths.items()])
        self._cells = rows
        self._select_chosen()
        self._show_chosen()

    def _rebuild(self, titles: list[Cell], rows: list[list[Cell]], widths: Mapping[int, int]) -> None:
        table = self.query_one(DataTable)
        table.clear(columns=True)
        for title, (place, width) in zip(titles, widths.items(), strict=True):
            table.add_column(_text(title, place, width), width=width, key=str(place))
        for row in rows:
            table.add_row(*(_text(cell, *its) for cell, its in zip(row, widths.items(), strict=True)))

    def _update(self, rows: list[list[Cell]], widths: list[tuple[int, int]]) -> None:
        table = self.query_one(DataTable)
        for number, (before, row) in enumerate(zip(self._cells, rows, strict=True)):
            for column, (old, new) in enumerate(zip(before, row, strict=True)):
                if old != new:
                    table.update_cell_at(Coordinate(number, column), _text(new, *widths[column]))

    def _show_head(self) -> None:
        if self._lost:
            self._show_line("#head", f"LOST: {self._lost}", "red")
        else:
            self._show_line("#head", f"{self._table.summary()}, at {self._source.where}", "bold")

    def _show_line(self, name: str, text: str, colour: str) -> None:
        line = shortened(one_line(text), max(self._width, 1))
        self.query_one(name, Static).update(Text(line, colour))

    def _say(self, text: str, colour: str = "") -> None:
        self._show_line("#said", text, colour)

    # The chosen backend

    def _selected(self) -> TopRow | None:
        table = self.query_one(DataTable)
        is_chosen = table.show_cursor and 0 <= table.cursor_row < len(self._shown)
        return self._shown[table.cursor_row] if is_chosen else None

    def _note_chosen(self) -> None:
        """Remember where the operator has put the cursor; without a cursor, where it was."""
        row = self._selected()
        if row is not None:
            self._chosen = (row.pool, row.name)

    def _select_chosen(self) -> None:
        """Put the cursor on the chosen backend, wherever its row is now; while it is not shown, on none."""
        table = self.query_one(DataTable)
        chosen, names = self._chosen, [(its.pool, its.name) for its in self._shown]
        if chosen in names:
            place = names.index(chosen)
            if place != table.cursor_row:
                table.move_cursor(row=place, animate=False)
        table.show_cursor = chosen is None or chosen in names

    def on_data_table_row_highlighted(self) -> None:
        """Textual's call: the cursor is on another row."""
        self._show_chosen()

    def _show_chosen(self) -> None:
        """Show the chosen backend in full, whatever the table has no space for."""
        row = self._selected()
        text = (
            "" if row is None else f"{row.full_name}: {row.state_text}, weight {row.weight}, {row.open} open"
        )
        self.query_one("#chosen", Static).update(Text(one_line(text, MAX_CELL), "bold"))

    # Keys

    def _to_change(self) -> TopRow | None:
        """Give the chosen backend, where it may be changed."""
        if self._table.is_read_only:
            self._say(READ_ONLY, "red")
            return None
        row = self._selected()
        if row is None:
            self._say(NOT_CHOSEN, "red")
        return row

    def action_set_state(self, state: str) -> None:
        """Set the state of the chosen backend, once that is confirmed."""
        row = self._to_change()
        if row is not None:
            question = _QUESTIONS[state].format(name=one_line(row.full_name), open=row.open)
            self.push_screen(
                ConfirmScreen(question), lambda yes: self._change(row, {"state": state}) if yes else None
            )

    def action_set_weight(self) -> None:
        """Set the weight of the chosen backend."""
        row = self._to_change()
        if row is not None:
            self.push_screen(
                WeightScreen(row),
                lambda weight: self._change(row, {"weight": weight}) if weight is not None else None,
            )

    def _change(self, row: TopRow, wanted: Mapping[str, object]) -> None:
        self._say(f"{row.full_name} ...")

        def change() -> None:
            try:
                self.post_message(Changed(self._source.change(row, wanted)))
            except CommandError as error:
                self.post_message(Changed(str(error), is_refused=True))

        self._call_change(change)

    def on_changed(self, event: Changed) -> None:
        """Textual's call: a change is made, or refused."""
        self._say(event.text, "red" if event.is_refused else "green")
        self.look()

    def action_sort(self, step: int) -> None:
        """Sort by the next of the columns that are shown."""
        places: list[int | None] = [None, *self._places()]
        present = self._table.sorted_by if self._table.sorted_by in places else None
        self._table.sort_by(places[(places.index(present) + step) % len(places)])
        self._show()

    def action_invert(self) -> None:
        """Turn the order around."""
        self._table.sort_by(self._table.sorted_by)
        self._show()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Textual's call: a click on a title."""
        self._table.sort_by(int(event.column_key.value or 0))
        self._show()

    def _places(self) -> Iterator[int]:
        return (int(key.value or 0) for key in self.query_one(DataTable).columns)

    def action_filter(self) -> None:
        """Let a text be typed that what is shown has in it."""
        typed = self.query_one("#filter", Input)
        typed.display = True
        typed.focus()

    def action_end_filter(self) -> None:
        """Show all again."""
        typed = self.query_one("#filter", Input)
        typed.value = ""
        typed.display = False
        self.query_one(DataTable).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Textual's call: another text is typed."""
        if event.input.id == "filter":
            self._table.filter = event.value
            self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Textual's call: Enter."""
        if event.input.id == "filter":
            event.input.display = bool(event.value)
            table = self.query_one(DataTable)
            table.focus()
            table.show_cursor = True


def _text(cell: Cell, place: int, width: int) -> Text:
    """Draw a cell."""
    style = Style(color=_COLOURS.get(cell.style))
    text = shortened(cell.text, width)
    space = " " * (width - text_width(text)) if COLUMNS[place].right else ""
    return Text(space + text, style)


def run_top(source: TopSource) -> Any:
    """Show a balancer until the operator leaves."""
    return TopApp(source, in_own_thread(), in_own_thread()).run()
