"""What the output can show: how wide and high it is, and whether it has colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tcpbalance.cli.table import Paint, coloured, plain_text, wrapped_lines

MIN_WIDTH = 40
"""A table is not made to fit less."""


def is_terminal() -> bool:
    """Whether the output is a terminal."""
    return sys.stdout.isatty()


def terminal_size() -> os.terminal_size:
    """Ask the terminal, not ``COLUMNS``: a program that has begun this one may have exported it long ago."""
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return os.terminal_size((80, 24))


def table_width() -> int | None:
    """Give how wide a table may be; None for any width."""
    return max(terminal_size().columns, MIN_WIDTH) if is_terminal() else None


def paint_of_output() -> Paint:
    """Give how the output shows styles: https://no-color.org."""
    has_colours = is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return coloured if has_colours else plain_text


def redraw(lines: Sequence[str]) -> None:
    """Show lines in the place of what is on the terminal; those that do not fit are counted."""
    height = terminal_size().lines
    shown = list(lines)
    if len(lines) > height:
        shown = [*lines[: height - 1], f"… {len(lines) - height + 1} more lines"]
    # Over what is there, and no clearing before, so that nothing flickers.
    print("\x1b[H" + "\x1b[K\n".join(shown) + "\x1b[K\x1b[J", end="", flush=True)


def show(lines: Sequence[str]) -> None:
    """Print lines."""
    print("\n".join(lines), flush=True)


def say(*lines: str) -> None:
    """Print sentences: on a terminal, longer ones go on below, between words."""
    show(wrapped_lines(lines, table_width()))
