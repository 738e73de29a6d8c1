"""A document is read in pieces: they give what the whole gives, and known ones are not read again."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.configs import SMALLEST
from tcpbalance import Config, ConfigError, read_config
from tcpbalance.config.pieces import KnownTable, KnownTables, read_pieces

TWO = f"{SMALLEST}\n" + SMALLEST.replace("db", "web").replace("0.0.0.0:5432", "0.0.0.0:80")

LINES = [
    "[pools.a]",
    "[pools.b]",
    '[pools."a"]',
    "[pools.a] # again",
    "[pools.a.b]",
    "[pools.b.b]",
    "[[pools.a]]",
    "[[pools.a.list]]",
    "[[pools.b.list]]",
    "[pools]",
    "[other]",
    "[other.more]",
    "[[others]]",
    "[ pools . b ]",
    "\t[[ pools.a.list ]]",
    "[frontends.a]",
    "[frontends.'b']",
    " [frontends.c]",
    "a = 1",
    "b = {c = 1}",
    "b.c = 1",
    "pools.a.x = 1",
    "pools = {a = {}}",
    's = """',
    '"""',
    "s = '''",
    "'''",
    "l = [",
    '["a"],',
    "]",
    "# a comment",
    "",
]


def outcome(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_pieces_give_what_the_whole_document_gives(lines: list[str], end: str) -> None:
    text = end.join(lines)
    whole, read = outcome(text), read_pieces(text, {}, tomllib.loads)
    if read is not None:
        document, found = read
        assert document == whole
        assert list(document) == list(whole)
        assert all(piece in text for piece in found)
        known = read_pieces(text, found, tomllib.loads)
        assert known is not None
        assert known[0] == whole


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("a = 1\n[other]\nb = 2\n", 0),
        (SMALLEST, 2),
        (TWO, 4),
        ("[pools.a]\n[pools.a.health]\n[[pools.a.backends]]\n[[pools.a.backends]]\n[pools.b]\n", 2),
        ("[pools.a.health]\n[pools.a]\n[frontends.a]\n", 2),
        ("[pools.'a b']\n[pools.\"c d\"]\r\n", 2),
        ("[pools.a]\ntext = '''\n[pools.a]\n'''\n", 1),
        ("[one]\n[pools.a]\nx.y = 1\n[pools.b]\n[[other]]\n[other.more]\n[[other]]\n[pools.c]\n", 3),
        ("  [pools.a]\n\t[[ pools . a . list ]]\n[ frontends.b ]\n", 2),
    ],
    ids=[
        "empty",
        "none",
        "one",
        "two",
        "tables within",
        "table within first",
        "quoted",
        "text",
        "others",
        "blanks",
    ],
)
def test_each_frontend_and_pool_is_a_piece(text: str, count: int) -> None:
    read = read_pieces(text, {}, tomllib.loads)
    assert read is not None
    assert read[0] == tomllib.loads(text)
    assert len(read[1]) == count


@pytest.mark.parametrize(
    "text",
    [
        "[pools]\na = {}\n[pools.b]\n",
        "[pools.a]\n[pools.b]\n[pools.a.health]\n",
        "[other]\n[pools.b]\n[other.more]\n",
        '[pools.a]\nx.y = 1\n["pools".b]\n',
        "[pools.a]\ntext = '''\n[pools.b]\n'''\n",
        "[pools.a]\nlist = [\n[pools.b]\n]\n",
    ],
    ids=["section", "twice", "another table twice", "quoted section", "in a text", "mistake"],
)
def test_what_cannot_be_told_apart_is_read_whole(text: str) -> None:
    assert read_pieces(text, {}, tomllib.loads) is None


class Again:
    """A file that is read again and again."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tcpbalance.toml"
        self.known = KnownTables()

    def read(self, text: str) -> Config:
        self.file.write_text(text)
        config = read_config(self.file, known=self.known)
        assert config == read_config(self.file)
        return config


@pytest.fixture
def again(tmp_path: Path) -> Again:
    return Again(tmp_path)


def test_tables_with_the_same_text_are_the_same_objects(again: Again) -> None:
    first = again.read(TWO)
    second = again.read("shutdown_grace = '1s'\n" + TWO.replace(":80", ":81"))
    assert second.pools["db"] is first.pools["db"]
    assert second.pools["web"] is first.pools["web"]
    assert second.frontends["db"] is first.frontends["db"]
    assert second.frontends["web"] != first.frontends["web"]


def test_what_is_known_is_what_was_read_last(again: Again) -> None:
    again.read(TWO)
    again.read(SMALLEST)
    assert len(again.known.by_text) == 2


def test_a_value_that_only_equals_the_one_before_is_checked(again: Again) -> None:
    text = SMALLEST.replace('"10.0.0.11:5432"', '{ address = "10.0.0.11:5432", weight = 1 }')
    again.read(text)
    with pytest.raises(ConfigError, match="weight"):
        again.read(text.replace("weight = 1", "weight = true"))


def test_a_rule_between_tables_that_are_known_is_checked(again: Again) -> None:
    again.read(TWO)
    with pytest.raises(ConfigError, match='no pool is named "web"'):
        again.read(TWO.partition("[pools.web]")[0])
    again.read(TWO)


def test_mistakes_are_what_they_are_at_the_first_read(again: Again) -> None:
    again.read(TWO)
    texts = []
    for known in (again.known, None):
        again.file.write_text(TWO.replace("10.0.0.12", "10.0.0.x") + "\n[pools.web]\n")
        with pytest.raises(ConfigError) as refused:
            read_config(again.file, known=known)
        texts.append(str(refused.value))
    assert texts[0] == texts[1]


def test_one_read_may_end_during_another(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    again.read(TWO)

    def read(text: str, known: Mapping[str, KnownTable], loads: Any, rest: Any) -> Any:
        again.known.keep({}, None)
        return read_pieces(text, known, loads)

    monkeypatch.setattr("tcpbalance.config.source.read_pieces", read)
    config = read_config(again.file, known=again.known)
    assert [one.model for one in again.known.by_text.values()] == [
        *(config.frontends["db"], config.pools["db"]),
        *(config.frontends["web"], config.pools["web"]),
    ]
