"""The scanner finds the same keys as the standard library's reader, each on its line."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.toml_writer import Table, TomlWriter
from tcpbalance.config.errors import KeyPath
from tcpbalance.config.positions import Positions, locate

TEXTS = st.text(st.one_of(st.sampled_from("\"'\\\n\t #=[]{}.,ab"), st.characters(codec="utf-8")), max_size=8)
KEYS = st.one_of(st.sampled_from(["a", "b", "c", "1", "-"]), TEXTS)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.dates(min_value=date(1000, 1, 1)),
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001  # TOML has times without a zone
    st.times(min_value=time(1)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.lists(st.dictionaries(KEYS, inner, max_size=3), max_size=3),
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Give the path of everything below a value."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for part, item in items:
            yield (*path, part)
            yield from paths(item, (*path, part))


@given(document=DOCUMENTS, seed=st.integers(), crlf=st.booleans())
def test_finds_every_key_on_its_line(document: Table, seed: int, crlf: bool) -> None:
    writer = TomlWriter(random.Random(seed))
    writer.document(document)
    text = writer.text.replace("\n", "\r\n") if crlf and "\r" not in writer.text else writer.text
    read = tomllib.loads(text)
    assert read == document
    found = locate(text).lines
    assert set(found) == set(paths(read))
    assert found == writer.lines


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(["", "# c", "a = 1 # b = 2", "b = 2"], {("a",): 3, ("b",): 4}, id="comments"),
        pytest.param(
            ["a.'b.c'.\"d\\u0041\" = 1", "a.e = 2"],
            {("a",): 1, ("a", "b.c"): 1, ("a", "b.c", "dA"): 1, ("a", "e"): 2},
            id="dotted and quoted keys",
        ),
        pytest.param(
            ["[a.b]", "c = 1", "[a]", "d = 2"],
            {("a",): 3, ("a", "b"): 1, ("a", "b", "c"): 2, ("a", "d"): 4},
            id="a header is where its table stands",
        ),
        pytest.param(
            ["[[r]]", "a = 1", "[r.s]", "b = 1", "[[r]]", "[r.s]", "[[r.t]]", "[[r.t]]"],
            {
                ("r",): 1,
                ("r", 0): 1,
                ("r", 0, "a"): 2,
                ("r", 0, "s"): 3,
                ("r", 0, "s", "b"): 4,
                ("r", 1): 5,
                ("r", 1, "s"): 6,
                ("r", 1, "t"): 7,
                ("r", 1, "t", 0): 7,
                ("r", 1, "t", 1): 8,
            },
            id="arrays of tables",
        ),
        pytest.param(
            ["a = [ # [", "  1, {b = ']'},", "", "  [", "  2],", "]"],
            {("a",): 1, ("a", 0): 2, ("a", 1): 2, ("a", 1, "b"): 2, ("a", 2): 4, ("a", 2, 0): 5},
            id="arrays over several lines",
        ),
        pytest.param(
            ['a = """', "[no.table]", 'no = "key" \\""" """""', "b = '''", "'''''", "c = 1"],
            {("a",): 1, ("b",): 4, ("c",): 6},
            id="strings over several lines",
        ),
        pytest.param(
            ["a = 1979-05-27 07:32:00 # x", "b = { c = 1, d = { e = [] } }"],
            {("a",): 1, ("b",): 2, ("b", "c"): 2, ("b", "d"): 2, ("b", "d", "e"): 2},
            id="dates and inline tables",
        ),
    ],
)
def test_examples(lines: list[str], expected: dict[KeyPath, int]) -> None:
    text = "\n".join(lines)
    assert set(paths(tomllib.loads(text))) == set(expected)
    assert locate(text).lines == expected


def test_what_is_not_there_is_where_its_table_is() -> None:
    positions = Positions({("a",): 3, ("a", "b"): 5})
    assert positions.line_of(("a", "b")) == 5
    assert positions.line_of(("a", "b", 0, "c")) == 5
    assert positions.line_of(("a", "x")) == 3
    assert positions.line_of(("x", "b")) == 1
    assert positions.line_of(()) == 1
