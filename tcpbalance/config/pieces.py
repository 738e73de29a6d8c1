"""A document in pieces, so that a table whose text is the same as at the last read is not read again.

A piece holds one frontend, one pool or one other table with the tables in it, from its first header to that
of the next. Read apart, the pieces give what the whole document gives where each of them is valid on its own
and defines one table that no other piece defines: so each ends outside of all strings and lists, and no two
touch the same keys. A document that is written in another way, or has a mistake, is read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs
from attrs import define, frozen

Table: TypeAlias = dict[str, Any]
"""What TOML has in a table."""

_SECTIONS = ("frontends", "pools")
_HEADER_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\\\n]*"|'[^'\n]*')"""
_HEADER = re.compile(
    rf"^[ \t]*\[\[?[ \t]*({_HEADER_KEY})[ \t]*(?:\.[ \t]*({_HEADER_KEY})[ \t]*)?[.\]]", re.MULTILINE
)


@frozen(eq=False)
class KnownTable:
    """A frontend or pool that was read.

    :param section: ``frontends`` or ``pools``.
    :param name: its own.
    :param table: what TOML has in it.
    :param model: what was made of that; None where nothing was yet.
    """

    section: str
    name: str
    table: Table
    model: Any = None


NOTHING: Mapping[str, KnownTable] = {}


@define
class KnownTables:
    """The frontends and pools of one file as they were when it was last read without a mistake.

    :ivar by_text: each by its text; replaced as a whole.
    """

    by_text: Mapping[str, KnownTable] = NOTHING

    def keep(self, by_text: Mapping[str, KnownTable], config: Any) -> None:
        """Replace what is known.

        :param by_text: what was read last.
        :param config: what was made of that; has its sections as attributes.
        """
        self.by_text = {
            text: attrs.evolve(one, model=getattr(config, one.section)[one.name])
            for text, one in by_text.items()
        }


def read_pieces(
    text: str,
    known: Mapping[str, KnownTable],
    loads: Callable[[str], Table],
    rest: Callable[[], object] = lambda: None,
) -> tuple[Table, dict[str, KnownTable]] | None:
    """Read a document piece by piece.

    :param known: tables that have been read already, by their text.
    :param loads: reads TOML.
    :param rest: called often.
    :returns: the document, and its frontends and pools by their text; None where it has to be read whole.
    """
    begin, *pieces = _pieces(text)
    found: dict[str, KnownTable] = {}
    try:
        document = loads(begin.text)
        if not document.keys().isdisjoint(_SECTIONS):
            return None
        for piece in pieces:
            rest()
            if not piece.is_kept:
                _add_other(document, loads(piece.text))
                continue
            # A piece starts with its header, so the same text is the same table of the same name.
            one = found[piece.text] = known.get(piece.text) or _read(loads(piece.text))
            section = document.setdefault(one.section, {})
            if one.name in section:
                return None
            section[one.name] = one.table
    except (ValueError, RecursionError):
        return None
    return document, found


@frozen
class _Piece:
    """A part of the text.

    :param is_kept: whether it holds a frontend or pool.
    """

    text: str
    is_kept: bool


def _pieces(text: str) -> Iterator[_Piece]:
    """Give what stands before the first header, then the text of each table."""
    start, current, is_one = 0, "", False
    for header in _HEADER.finditer(text):
        first, second = header.groups()
        is_next_one = first in _SECTIONS and second is not None
        name = f"{first}.{second}" if is_next_one else first
        if name != current:
            yield _Piece(text[start : header.start()], is_one)
            start, current, is_one = header.start(), name, is_next_one
    yield _Piece(text[start:], is_one)


def _read(document: Table) -> KnownTable:
    """Give the one frontend or pool of a piece.

    :raises ValueError: it has others.
    """
    ((section, tables),) = document.items()
    ((name, table),) = tables.items()
    return KnownTable(section, name, table)


def _add_other(document: Table, piece: Table) -> None:
    """Add the one table of a piece that is no frontend and no pool.

    :raises ValueError: it has others, or another piece has the same.
    """
    ((name, table),) = piece.items()
    if name in document or name in _SECTIONS:
        raise ValueError(name)
    document[name] = table
