"""Tables of the command line fit their width, and amounts are short."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.cli.amounts import bytes_text, rate_text, time_text
from tcpbalance.cli.table import GOOD, Cell, Column, coloured, shortened, table_lines, text_width, wrapped

COLUMNS = [
    Column("NAME", shrinks_to=6),
    Column("ADDRESS", optional=2, shrinks_to=8),
    Column("OPEN", right=True),
    Column("TOTAL", right=True, optional=1),
]
ROWS = [
    [Cell("a"), Cell("10.0.0.11:80"), Cell("12"), Cell("1204")],
    [Cell("a-rather-long-name"), Cell("10.0.0.12:80"), Cell("3"), Cell("7")],
]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            None,
            [
                "NAME                ADDRESS       OPEN  TOTAL",
                "a                   10.0.0.11:80    12   1204",
                "a-rather-long-name  10.0.0.12:80     3      7",
            ],
        ),
        (
            35,
            [
                "NAME                OPEN  TOTAL",
                "a                     12   1204",
                "a-rather-long-name     3      7",
            ],
        ),
        (
            25,
            [
                "NAME                OPEN",
                "a                     12",
                "a-rather-long-name     3",
            ],
        ),
        (
            14,
            [
                "NAME      OPEN",
                "a           12",
                "a-rather     3",
                "-long-na",
                "me",
            ],
        ),
    ],
)
def test_a_table_is_made_to_fit(width: int | None, lines: list[str]) -> None:
    assert table_lines(COLUMNS, ROWS, width) == lines


def test_where_columns_cannot_stand_side_by_side_each_row_has_lines_of_its_own() -> None:
    columns = [Column("NAME"), *COLUMNS[1:]]
    assert table_lines(columns, ROWS, 23) == [
        "a",
        "  address 10.0.0.11:80,",
        "  open 12, total 1204",
        "a-rather-long-name",
        "  address 10.0.0.12:80,",
        "  open 3, total 7",
    ]


def test_colours_take_no_width() -> None:
    rows = [[Cell("up", GOOD)], [Cell("maintenance")]]
    columns = [Column("STATE", right=True)]
    painted = table_lines(columns, rows, None, coloured)
    assert painted[1] == "         \x1b[32mup\x1b[0m"
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in painted] == table_lines(columns, rows, None)


def test_a_name_cannot_steer_the_terminal() -> None:
    assert table_lines([Column("N")], [[Cell("a\x1b[2Jb\n")]], None) == ["N", r"a\x1b[2Jb\n"]


def test_wide_characters_count_as_two() -> None:
    assert text_width("日本é") == 5
    assert shortened("日本語", 5) == "日本…"
    assert shortened("日本語", 4) == "日…"


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("", 5, [""]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "  two"]),
        ("  one two three", 9, ["  one two", "  three"]),
        ("abcdefgh ij", 4, ["abcd", "  ef", "  gh", "  ij"]),
        ("日本語", 5, ["日本", "  語"]),
    ],
)
def test_a_text_goes_on_below(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width, "  ") == lines


@given(st.text(max_size=40), st.integers(5, 30))
def test_nothing_is_lost_where_a_text_goes_on_below(text: str, width: int) -> None:
    lines = wrapped(text, width, "  ")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(text_width(line) <= width for line in lines)


def test_of_no_value_anything_is_lost_in_a_column_that_stays() -> None:
    columns = [Column("NAME", shrinks_to=6), Column("WHY", shrinks_to=10)]
    rows = [[Cell("a"), Cell("it has as many connections as it may", GOOD)]]
    assert table_lines(columns, rows, 24, coloured) == [
        "\x1b[2mNAME\x1b[0m  \x1b[2mWHY\x1b[0m",
        "a     \x1b[32mit has as many\x1b[0m",
        "      \x1b[32mconnections as it\x1b[0m",
        "      \x1b[32mmay\x1b[0m",
    ]


cells = st.text(max_size=30).map(Cell)


@given(st.lists(st.tuples(cells, cells, cells, cells), max_size=5), st.integers(1, 120))
def test_no_line_is_wider_than_the_terminal_where_columns_can_give_way(
    rows: list[tuple[Cell, ...]], width: int
) -> None:
    columns = [Column("A", shrinks_to=5), *(Column(title, optional=1, shrinks_to=3) for title in "BCD")]
    assert all(text_width(line) <= max(width, 5) for line in table_lines(columns, rows, width))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (10 * 1024, "10.0 KiB"),
        (1023 * 1024, "1.00 MiB"),
        (5 * 1024**3, "5.00 GiB"),
        (1024**6, "1024 PiB"),
    ],
)
def test_bytes_have_three_digits(count: int, text: str) -> None:
    assert bytes_text(count) == text


@given(st.integers(0, 10**17))
def test_bytes_are_short(count: int) -> None:
    assert len(bytes_text(count)) <= 8


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "-"), (0, "0"), (0.5, "0.50"), (12.34, "12.3"), (123.4, "123"), (4567, "4567")]
)
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86400 * 3 + 3600 * 4 + 5, "3 d 4 h"),
        (86400 + 60, "1 d"),
    ],
)
def test_times_have_two_parts(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
