"""A document in pieces, so that a table whose text is the same as at the last read is not read again.

A piece holds one frontend or one pool, from its first header to that of the next. Read apart, the pieces give
what the whole document gives where each of them is valid on its own and defines one table that no other piece
defines: so each ends outside of all strings and lists, and no two touch the same keys. A document that is
written in another way, or has a mistake, is read as a whole.
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
_HEADER = re.compile(
    r"""^\[\[?((?:frontends|pools)\.(?:[A-Za-z0-9_-]+|"[^"\\\n]*"|'[^'\n]*'))[.\]]""", re.MULTILINE
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
        document = loads(begin)
        if not document.keys().isdisjoint(_SECTIONS):
            return None
        for piece in pieces:
            rest()
            # A piece starts with its header, so the same text is the same table of the same name.
            one = found[piece] = known.get(piece) or _read(loads(piece))
            section = document.setdefault(one.section, {})
            if one.name in section:
                return None
            section[one.name] = one.table
    except (ValueError, RecursionError):
        return None
    return document, found


def _pieces(text: str) -> Iterator[str]:
    """Give what stands before the first frontend or pool, then the text of each."""
    start, current = 0, ""
    for header in _HEADER.finditer(text):
        if header[1] != current:
            yield text[start : header.start()]
            start, current = header.start(), header[1]
    yield text[start:]


def _read(document: Table) -> KnownTable:
    """Give the one table of a piece.

    :raises ValueError: it has others.
    """
    ((section, tables),) = document.items()
    ((name, table),) = tables.items()
    return KnownTable(section, name, table)
