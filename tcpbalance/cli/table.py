"""Tables of text that fit a width: columns that matter less are left out, and long texts are shortened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from tcpbalance.config.messages import one_line

GAP = 2
"""Spaces between columns."""

MAX_CELL = 120
"""Characters."""

GOOD, WARNING, BAD, STRONG, FAINT = "32", "33", "31", "1", "2"
"""Styles: what ECMA-48 calls them, SGR."""


class Cell(NamedTuple):
    """One value.

    :ivar text: what cannot be printed is escaped.
    :ivar style: one of those above, empty for none.
    """

    text: str
    style: str = ""


class Column(NamedTuple):
    """See above.

    :ivar title: in capitals.
    :ivar right: whether its values stand at the right.
    :ivar optional: left out where the width is short, those with a higher number first; 0 for never.
    :ivar shrinks_to: to how many characters it may be shortened; 0 for never.
    """

    title: str
    right: bool = False
    optional: int = 0
    shrinks_to: int = 0


Paint = Callable[[str, str], str]
"""Gives a text a style."""


def plain_text(text: str, style: str) -> str:
    """Leave a text without its style."""
    return text


def coloured(text: str, style: str) -> str:
    """Give a text its style."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


def table_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None, paint: Paint = plain_text
) -> list[str]:
    """Draw a table.

    :param rows: each with a cell a column.
    :param width: in characters; None for as wide as it is.
    """
    cells = [[Cell(one_line(cell.text, MAX_CELL), cell.style) for cell in row] for row in rows]
    titles = [Cell(column.title, FAINT) for column in columns]
    lines = [titles, *cells]
    widths = fitting_widths(columns, lines, width)
    return [
        _line([(columns[place], line[place], its) for place, its in widths.items()], paint) for line in lines
    ]


def fitting_widths(
    columns: Sequence[Column], lines: Sequence[Sequence[Cell]], width: int | None
) -> dict[int, int]:
    """Choose the columns that are shown, and how wide each is, by their places.

    :param lines: with the titles.
    :param width: of all together; None for any.
    """
    widths = [max(text_width(line[place].text) for line in lines) for place in range(len(columns))]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _kept(columns, widths, width)
        _shrink(columns, widths, kept, width)
    return {place: widths[place] for place in kept}


def _whole(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[place] for place in kept) + GAP * (len(kept) - 1)


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Choose the columns that stay."""
    kept = list(range(len(columns)))
    least = [_least(column, its) for column, its in zip(columns, widths, strict=True)]
    while _whole(least, kept) > width:
        last = max(kept, key=lambda place: columns[place].optional)
        if not columns[last].optional:
            break
        kept.remove(last)
    return kept


def _least(column: Column, width: int) -> int:
    return min(width, max(column.shrinks_to, len(column.title))) if column.shrinks_to else width


def _shrink(columns: Sequence[Column], widths: list[int], kept: Sequence[int], width: int) -> None:
    """Shorten the widest first."""
    for _ in range(_whole(widths, kept) - width):
        able = [place for place in kept if widths[place] > _least(columns[place], widths[place])]
        if not able:
            break
        widths[max(able, key=lambda place: widths[place])] -= 1


def _line(parts: Sequence[tuple[Column, Cell, int]], paint: Paint) -> str:
    texts = []
    for column, cell, width in parts:
        text = shortened(cell.text, width)
        space = " " * (width - text_width(text))
        texts.append(space + paint(text, cell.style) if column.right else paint(text, cell.style) + space)
    return (" " * GAP).join(texts).rstrip()


def text_width(text: str) -> int:
    """Count the columns of a terminal that a text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """Cut a text to a width; an ellipsis says so."""
    if text_width(text) <= width:
        return text
    taken = ""
    for character in text:
        if text_width(taken + character) > width - 1:
            break
        taken += character
    return f"{taken}…"
