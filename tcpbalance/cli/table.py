"""Tables of text that fit a width: columns that matter less are left out, and long texts go on below.

Where that is not enough, each row is drawn in lines of its own, with the titles before its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from tcpbalance.config.messages import one_line

GAP = 2
"""Spaces between columns."""

INDENT = "  "
"""Of what goes on below."""

_NO_BREAK = "\N{NO-BREAK SPACE}"

MAX_CELL = 300
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
    :ivar shrinks_to: how narrow it may become, in characters; 0 for as wide as its values.
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
    """Draw a table, in which nothing is shortened.

    :param rows: each with a cell a column.
    :param width: in characters; None for as wide as it is.
    """
    cells = [[Cell(one_line(cell.text, MAX_CELL), cell.style) for cell in row] for row in rows]
    titles = [Cell(column.title, FAINT) for column in columns]
    lines = [titles, *cells]
    widths = fitting_widths(columns, lines, width)
    if width is not None and sum(widths.values()) + GAP * (len(widths) - 1) > width:
        return [line for row in cells for line in _record(columns, row, width, paint)]
    return [
        line
        for row in lines
        for line in _row([(columns[place], row[place], its) for place, its in widths.items()], paint)
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
        least = [_least(column, its) for column, its in zip(columns, widths, strict=True)]
        words = [
            max(_longest_word(line[place].text for line in lines), its) for place, its in enumerate(least)
        ]
        # A column less is better than names in two pieces.
        kept = _kept(columns, words, width)
        _shrink(widths, words, kept, width)
        _shrink(widths, least, kept, width)
    return {place: widths[place] for place in kept}


def _longest_word(texts: Iterable[str]) -> int:
    return max(text_width(_indent(text)) + max(map(text_width, text.split()), default=0) for text in texts)


def _whole(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[place] for place in kept) + GAP * (len(kept) - 1)


def _kept(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """Choose the columns that stay."""
    kept = list(range(len(columns)))
    while _whole(least, kept) > width:
        last = max(kept, key=lambda place: columns[place].optional)
        if not columns[last].optional:
            break
        kept.remove(last)
    return kept


def _least(column: Column, width: int) -> int:
    return min(width, max(column.shrinks_to, len(column.title))) if column.shrinks_to else width


def _shrink(widths: list[int], least: Sequence[int], kept: Sequence[int], width: int) -> None:
    """Make columns narrower, the widest first."""
    for _ in range(_whole(widths, kept) - width):
        able = [place for place in kept if widths[place] > least[place]]
        if not able:
            break
        widths[max(able, key=lambda place: widths[place])] -= 1


def _row(parts: Sequence[tuple[Column, Cell, int]], paint: Paint) -> list[str]:
    """Draw a row, in as many lines as its highest cell."""
    texts = [wrapped(cell.text, width, _indent(cell.text)) for _, cell, width in parts]
    height = max(map(len, texts))
    lines = []
    for number in range(height):
        line = []
        for (column, cell, width), its in zip(parts, texts, strict=True):
            text = its[number] if number < len(its) else ""
            space = " " * (width - text_width(text))
            line.append(space + paint(text, cell.style) if column.right else paint(text, cell.style) + space)
        lines.append((" " * GAP).join(line).rstrip())
    return lines


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _record(columns: Sequence[Column], row: Sequence[Cell], width: int, paint: Paint) -> list[str]:
    """Draw a row in lines of its own: the first value, and indented the others with their titles."""
    name, *cells = row
    values = [
        f"{column.title.lower()} {cell.text.strip()}".replace(" ", _NO_BREAK)
        for column, cell in zip(columns[1:], cells, strict=True)
        if cell.text.strip()
    ]
    lines = [paint(line, name.style or STRONG) for line in wrapped(name.text, width)]
    more = wrapped(f"{INDENT}{', '.join(values)}", width, INDENT)
    return [*lines, *(line.replace(_NO_BREAK, " ") for line in more)]


def text_width(text: str) -> int:
    """Count the columns of a terminal that a text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a text into lines, between words where they are not longer than a line.

    :param width: of a line, in columns of a terminal.
    :param indent: what each line but the first begins with.
    """
    lines: list[str] = []
    line = ""
    for number, word in enumerate(text.split(" ")):
        longer = f"{line} {word}" if number else word
        if text_width(longer) > width and line.strip():
            lines.append(line.rstrip())
            longer = indent + word
        while text_width(longer) > width:
            end = max(_fitting(longer, width), len(indent) + 1 if lines else 1)
            if end >= len(longer):
                break  # The indent alone is as wide.
            lines.append(longer[:end])
            longer = indent + longer[end:]
        line = longer
    return [*lines, line.rstrip()]


def wrapped_lines(lines: Iterable[str], width: int | None) -> list[str]:
    """Break the lines that are longer than a width; what goes on below is indented further.

    :param width: None for any.
    """
    if width is None:
        return list(lines)
    return [piece for line in lines for piece in wrapped(line, width, f"{_indent(line)}{INDENT}")]


def _fitting(text: str, width: int) -> int:
    """Count the characters at the begin of a text that fit."""
    taken = 0
    for number, character in enumerate(text):
        taken += _character_width(character)
        if taken > width:
            return number
    return len(text)


def shortened(text: str, width: int) -> str:
    """Cut a text to a width; an ellipsis says so."""
    if text_width(text) <= width:
        return text
    return f"{text[: _fitting(text, width - 1)]}…"
